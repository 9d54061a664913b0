"""The head that learns with the VAE: what it may see, that it repeats and resumes, and what it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.labels import reader_mean
from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run, load_checkpoint
from lungvae_core.training.classifier import load_classifier
from lungvae_core.training.fit import fit
from lungvae_core.training.joint import begin_head, empty_guide, guidance, labels_for
from lungvae_core.training.weights_file import load_tensors
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.sync import Share
from tests.conftest import blobs

SMALL = {"width": 4, "dimensions": 4, "batch_size": 20, "epochs": 1, "round_epochs": 2, "spacing_mm": 0}


pytestmark = pytest.mark.usefixtures("one_thread")


def small(name: str = "gvae-joint", **changes: Any) -> Config:
    return override(preset(name), {**SMALL, **changes})


def labelled(folder: Path, **columns: Any) -> SliceSet:
    slices, masks, table = blobs(80)
    info = DatasetInfo(name="discs", source="tests", rule="discs in noise")
    return write(folder, slices, masks, table.assign(**columns), info)


def split(data: SliceSet) -> tuple[np.ndarray, np.ndarray]:
    return next(iter(grouped_folds(data.table, 4, seed=1)))


def weights(run: Run) -> dict[str, torch.Tensor]:
    both = (load_tensors(run.folder / name)[0] for name in ("model.safetensors", "classifier.safetensors"))
    return {f"{number}.{key}": value for number, part in enumerate(both) for key, value in part.items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gvae-joint", "dirvae-joint"])
def test_nothing_that_readers_said_of_held_out_patients_reaches_the_weights(
    name: str, tmp_path: Path
) -> None:
    data = labelled(tmp_path / "data")
    train, held_out = split(data)

    def changed(rows: np.ndarray) -> dict[str, Any]:
        table = data.table.copy()
        for column in ("malignancy_all", "texture_all", "spiculation_all"):
            table.loc[rows, column] = "1|5"
        table.loc[rows, "diameter_mm"] *= 3
        table["malignancy"] = table["malignancy"].to_numpy(int)
        table.loc[rows, "malignancy"] = 6 - table.loc[rows, "malignancy"]
        return {column: table[column] for column in table}

    runs = [
        fit(
            small(name), labelled(tmp_path / f"data-{which}", **columns), tmp_path / which, split=split(data)
        )[0]
        for which, columns in (("as-is", {}), ("held-out", changed(held_out)), ("train", changed(train)))
    ]
    assert same(weights(runs[0]), weights(runs[1]))
    assert not same(weights(runs[0]), weights(runs[2]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gvae-joint", "dirvae-joint"])
def test_a_training_stopped_in_the_joint_phase_goes_on_as_if_it_had_not(name: str, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    whole, finished = fit(small(name), data, tmp_path / "whole", split=split(data))
    assert finished
    steps = iter(range(100))
    run, finished = fit(
        small(name), data, tmp_path / "parts", split=split(data), should_stop=lambda: next(steps) == 4
    )
    assert not finished
    assert load_tensors(run.folder / "last.safetensors")[1]["epoch"] == 1  # in the joint phase
    run, finished = fit(small(name), data, tmp_path / "parts", resume=True)
    assert finished
    assert same(weights(whole), weights(run))
    assert [row["phase"] for row in run.metrics()] == ["vae", "joint", "joint"]


def test_the_head_is_the_runs_classifier_afterwards(tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    run, _ = fit(small(), data, tmp_path / "run", split=split(data))
    classifier = load_classifier(run)
    assert classifier is not None
    guide = load_checkpoint(run)[0]["guide"]
    head = empty_guide(run.config, guide, torch.device("cpu")).eval()
    head.load_state_dict(guide)
    codes = torch.randn(7, 4)
    with torch.no_grad():
        logits, ratings = head(codes)
    np.testing.assert_array_equal(classifier.logits(codes.numpy()), logits.numpy())
    assert ratings is not None
    assert ratings.shape == (7, 3)  # texture, spiculation, diameter


def test_soft_labels_are_the_readers_mean_and_teach_of_indeterminate_lesions(tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    train, held_out = split(data)
    found = labels_for(small(), data.table, train)
    expected = (reader_mean(data.table, "malignancy") - 1) / 4
    np.testing.assert_allclose(found.labels[train], expected[train], rtol=1e-6)
    assert np.isnan(found.labels[held_out]).all()
    assert found.ratings is not None
    assert np.isnan(found.ratings[held_out]).all()
    np.testing.assert_allclose(found.ratings[train].mean(0), 0, atol=1e-5)
    hard = labels_for(small(soft_labels=False, ratings_weight=0), data.table, train)
    assert hard.ratings is None
    np.testing.assert_array_equal(hard.labels[train], labels_by(data.table)[train])
    rest = labels_for(small(soft_labels=False, task="mvr"), data.table, train).labels[train]
    assert (rest[data.table["malignancy"].to_numpy(int)[train] == 3] == 0).all()


def test_a_missing_rating_pulls_at_nothing() -> None:
    config, data = small(), blobs(20)[2]
    vae = VAE(config.model)
    hu = torch.tensor(blobs(20)[0])
    labels = labels_for(config, data, np.arange(20))
    head = begin_head(vae, hu, labels, config, round_=0).eval()
    codes = torch.randn(20, 4, requires_grad=True)
    ratings = torch.tensor(labels.ratings)
    ratings[3] = torch.nan
    unlabelled = torch.full((20,), torch.nan)
    guidance(head, codes, unlabelled, (1, 1), config, ratings=ratings).backward()
    assert codes.grad is not None
    assert (codes.grad[3] == 0).all()
    assert (codes.grad[4] != 0).any()


def test_dropout_is_drawn_for_the_global_batch() -> None:
    config = small()
    labels = labels_for(config, blobs(20)[2], np.arange(20))
    head = begin_head(VAE(config.model), torch.tensor(blobs(20)[0]), labels, config, round_=0).train()
    for module in head.modules():  # whose statistics are those of what it is given
        if isinstance(module, torch.nn.BatchNorm1d):
            module.eval()
    codes = torch.randn(8, 4)
    torch.manual_seed(1)
    whole, _ = head(codes, Share(0, 8, 8))
    torch.manual_seed(1)
    part, _ = head(codes[2:5], Share(2, 5, 8))
    torch.testing.assert_close(part, whole[2:5])


def test_ratings_without_a_head_are_refused() -> None:
    with pytest.raises(UserError, match="ratings_weight needs head=trained"):
        override(preset("gvae"), {"ratings_weight": 1.0})


def test_data_without_any_rating_are_reported_so(tmp_path: Path) -> None:
    table = blobs(80)[2]
    few = table.drop(columns=["texture_all", "spiculation_all", "diameter_mm"])
    with pytest.raises(UserError, match="ratings_weight=0"):
        labels_for(small(), few, np.arange(80))


def test_classify_tests_the_head_itself(tmp_path: Path) -> None:
    from lungvae_core.evaluation.classify import TESTED, classify
    from lungvae_core.training.encode import encode

    data = labelled(tmp_path / "data")
    run, _ = fit(small(), data, tmp_path / "run", split=split(data))
    before = (run.folder / "classifier.safetensors").read_bytes()
    encode(run, data)
    report = classify(run)
    assert report["protocol"] == "joint"
    assert report["classifier"]["hidden"] == (64,)
    table, codes = run.latents()
    classifier = load_classifier(run)
    assert classifier is not None
    assert load_tensors(run.folder / "classifier.safetensors")[0].keys() == classifier.state_dict().keys()
    assert (run.folder / "classifier.safetensors").read_bytes() == before
    tested = (table["score_kind"] == TESTED).to_numpy()
    assert tested.any()
    expected = 1 / (1 + np.exp(-classifier.logits(codes[tested]).astype(float)))
    np.testing.assert_allclose(table["score"].to_numpy()[tested], expected, rtol=1e-5)
