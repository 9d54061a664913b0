"""The joint phase: which labels it sees, what guides it, and that it does what it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from lungvae_core.data.slices import DatasetInfo, SliceSet, malignant, write
from lungvae_core.data.splits import grouped_folds, share_of_patients
from lungvae_core.errors import UserError
from lungvae_core.training.classifier import Classifier, ClassifierConfig, class_weights
from lungvae_core.training.fit import _Fit, fit
from lungvae_core.training.inputs import Inputs
from lungvae_core.training.joint import (
    RELEASED_SHARE,
    Labels,
    empty_guide,
    fit_guide,
    guidance,
    labels_for,
)
from lungvae_core.training.weights_file import load_tensors
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.model import VAE
from tests.conftest import blobs

SMALL = {"width": 4, "dimensions": 4, "batch_size": 20, "epochs": 1, "rounds": 1, "round_epochs": 1}


pytestmark = pytest.mark.usefixtures("one_thread")


def small(name: str = "gvae", **changes: Any) -> Config:
    return override(preset(name), {**SMALL, **changes})


def labelled(folder: Path, malignancy: np.ndarray | None = None) -> SliceSet:
    """80 slices of 16 patients, with other ratings if given."""
    slices, masks, table = blobs(80)
    if malignancy is not None:
        table["malignancy"] = pd.array(malignancy, dtype="Int64")
        table["malignancy_all"] = [f"{rating}|{rating}" for rating in malignancy]
    return write(
        folder, slices, masks, table, DatasetInfo(name="discs", source="tests", rule="discs in noise")
    )


def rating(data: SliceSet) -> np.ndarray:
    return data.table["malignancy"].to_numpy(dtype=int)


def one_split(data: SliceSet) -> tuple[np.ndarray, np.ndarray]:
    return next(iter(grouped_folds(data.table, 4, seed=1)))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_honest_variant_never_looks_at_a_held_out_label(tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    train, held_out = one_split(data)
    labels = labels_for(small(), data.table, train)
    np.testing.assert_array_equal(labels.rows, train)
    assert np.isnan(labels.labels[held_out]).all()
    assert np.isin(malignant(data.table)[held_out], [0, 1]).any()  # there was something to look at
    np.testing.assert_array_equal(labels.labels[train], malignant(data.table)[train].astype(np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_other_labels_of_held_out_patients_change_nothing_at_all(name: str, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    train, held_out = one_split(data)
    changed = rating(data)
    changed[held_out] = 6 - changed[held_out]
    other = labelled(tmp_path / "other", changed)
    assert (malignant(other.table)[held_out] != malignant(data.table)[held_out]).any()
    config = small(name, class_balanced=True)
    for each, out in ((data, "a"), (other, "b")):
        fit(config, each, tmp_path / out, device="cpu", split=(train, held_out))
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    # While those of training patients do count.
    changed = rating(data)
    changed[train] = 6 - changed[train]
    fit(config, labelled(tmp_path / "third", changed), tmp_path / "c", device="cpu", split=(train, held_out))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_the_released_variant_looks_at_a_random_70_percent_of_all_patients(tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    train, held_out = one_split(data)
    patients = data.table["patient_id"].to_numpy()
    seen_held_out = 0
    drawn = set()
    for seed in range(4):
        labels = labels_for(small(labels_of="released", seed=seed), data.table, train)
        chosen = set(patients[labels.rows])
        assert len(chosen) == round(RELEASED_SHARE * len(set(patients))) == 11
        assert len(labels.rows) == np.isin(patients, list(chosen)).sum()  # all slices of them
        np.testing.assert_array_equal(
            labels.rows, share_of_patients(data.table, share=RELEASED_SHARE, seed=seed)
        )
        outside = np.setdiff1d(np.arange(len(data)), labels.rows)
        assert np.isnan(labels.labels[outside]).all()
        seen_held_out += bool(set(labels.rows) & set(held_out))
        drawn.add(frozenset(chosen))
    assert seen_held_out
    assert len(drawn) > 1


def test_malignancy_3_and_unknown_ratings_have_no_label(tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    table = data.table.copy()
    table.loc[:4, "malignancy"] = pd.NA
    rows = np.arange(len(table))
    labels = labels_for(small(), table, rows).labels
    ratings = table["malignancy"].to_numpy(dtype=float, na_value=np.nan)
    assert (ratings == 3).any()
    assert np.isnan(labels[(ratings == 3) | np.isnan(ratings)]).all()
    assert (labels[ratings > 3] == 1).all()
    assert (labels[ratings < 3] == 0).all()


def test_slices_of_malignancy_3_train_the_vae_and_not_its_guide(tmp_path: Path) -> None:
    """Other pixels there leave a round's classifier as it is; they are among the rows that are trained on."""
    data = labelled(tmp_path / "data")
    rows = np.arange(len(data))
    labels = labels_for(small(), data.table, rows)
    torch.manual_seed(0)
    vae = VAE(small().model)
    guides = []
    for change in (0, 200):
        hu = np.array(data.slices)
        hu[rating(data) == 3] += change
        guides.append(fit_guide(vae, torch.tensor(hu), labels, small(), round_=0).state_dict())
    assert same(*guides)
    assert set(np.flatnonzero(rating(data) == 3)) <= set(labels.rows)
    codes = torch.tensor(vae.eval().encode_hu(np.array(data.slices)), requires_grad=True)
    guide = empty_guide(small(), guides[0], torch.device("cpu"))
    guide.load_state_dict(guides[0])
    guidance(guide, codes, torch.tensor(labels.labels), labels.weights, small()).backward()
    assert codes.grad is not None
    pulled = (codes.grad != 0).any(1).numpy()
    np.testing.assert_array_equal(pulled, ~np.isnan(labels.labels))


def test_data_without_labels_of_both_classes_are_refused(tmp_path: Path) -> None:
    benign = labelled(tmp_path / "benign", np.full(80, 2))
    unsure = labelled(tmp_path / "unsure", np.full(80, 3))
    for number, data in enumerate((benign, unsure)):
        with pytest.raises(UserError, match=r"needs labels of both classes.*rounds=0"):
            fit(small(), data, tmp_path / f"{number}", device="cpu")
        _, finished = fit(small(rounds=0), data, tmp_path / f"without-{number}", device="cpu")
        assert finished
    with pytest.raises(UserError, match="needs labels"):
        labels_for(small(), benign.table.drop(columns="malignancy"), np.arange(80))
    # Labels that held-out patients alone have do not help the honest variant.
    data = labelled(tmp_path / "data")
    train, _ = one_split(data)
    changed = rating(data)
    changed[train] = 2
    with pytest.raises(UserError, match="among the training patients"):
        labels_for(small(), labelled(tmp_path / "train-benign", changed).table, train)


@pytest.mark.slow
def test_the_joint_phase_lowers_the_label_loss(tmp_path: Path) -> None:
    """The guide is fixed in a round, so what falls is what the encoder does about it."""
    data = labelled(tmp_path / "data")
    config = small(epochs=2, round_epochs=6, learning_rate=0.01, label_weight=500, schedule="constant")
    run, _ = fit(config, data, tmp_path / "a", device="cpu")
    rows = run.metrics()
    assert [row["phase"] for row in rows] == ["vae"] * 2 + ["joint"] * 6
    losses = [row["train"]["label_loss"] for row in rows[2:]]
    assert losses[-1] < 0.7 * losses[0]
    assert all("label_loss" not in row["train"] for row in rows[:2])


@pytest.mark.slow
def test_rounds_may_be_any_number_and_each_has_its_own_guide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a round it is fixed: the checkpoints of a round hold the same classifier, others another."""
    data = labelled(tmp_path / "data")
    config = small(rounds=3, round_epochs=2)
    assert config.epochs == 7
    held: list[dict[str, torch.Tensor]] = []
    checkpoint = _Fit._checkpoint

    def keep(self: _Fit) -> None:
        checkpoint(self)
        tensors, _ = load_tensors(self.run_.folder / "last.safetensors")
        held.append({name: tensor for name, tensor in tensors.items() if name.startswith("guide.")})

    monkeypatch.setattr(_Fit, "_checkpoint", keep)
    run, finished = fit(config, data, tmp_path / "a", device="cpu")
    assert finished
    assert [row["phase"] for row in run.metrics()] == ["vae"] + ["joint"] * 6
    before, rounds = held[:2], [held[2:4], held[4:6], held[6:8]]
    assert len(held) == 8  # the first of all, and one an epoch
    assert not any(before)
    assert all(all(round_) and same(*round_) for round_ in rounds)
    assert not same(rounds[0][0], rounds[1][0])
    assert not same(rounds[1][0], rounds[2][0])
    rates = [row["learning_rate"] for row in run.metrics()]
    assert max(rates[1:]) <= config.joint.round_rate * config.training.learning_rate


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_a_guide_repeats_by_seed_and_round_and_is_fixed(name: str, tmp_path: Path) -> None:
    data = labelled(tmp_path / "data")
    config = small(name)
    labels = labels_for(config, data.table, np.arange(len(data)))
    torch.manual_seed(0)
    vae, hu = VAE(config.model), torch.tensor(np.array(data.slices))
    state = torch.get_rng_state()
    first = fit_guide(vae, hu, labels, config, round_=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert same(first.state_dict(), fit_guide(vae, hu, labels, config, round_=0).state_dict())
    assert not same(first.state_dict(), fit_guide(vae, hu, labels, config, round_=1).state_dict())
    restored = empty_guide(config, first.state_dict(), torch.device("cpu"))
    restored.load_state_dict(first.state_dict())
    codes = vae.latent.code(vae.latent.posterior(torch.randn(5, vae.latent.heads * 4)))
    torch.testing.assert_close(restored(codes), first(codes), rtol=0, atol=0)


def test_balanced_classes_pull_alike_whatever_their_numbers(tmp_path: Path) -> None:
    ratings = np.where(np.arange(80) < 15, 4, 2)
    data = labelled(tmp_path / "data", ratings)
    rows = np.arange(80)
    plain = labels_for(small(), data.table, rows)
    balanced = labels_for(small(class_balanced=True), data.table, rows)
    assert plain.weights == (1.0, 1.0)
    assert balanced.weights == class_weights(balanced.labels) == pytest.approx((40 / 65, 40 / 15))
    guide = Classifier(4, ClassifierConfig(), inputs=Inputs()).eval()
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.zero_()  # logits of 0: each slice's cross-entropy is the same

    def pull(labels: Labels, kind: float) -> float:
        only = torch.tensor(np.where(labels.labels == kind, labels.labels, np.nan))
        return float(guidance(guide, torch.randn(80, 4), only, labels.weights, small()).detach())

    assert pull(balanced, 1) == pytest.approx(pull(balanced, 0))
    assert pull(plain, 0) == pytest.approx(65 / 15 * pull(plain, 1))
    expected = small().joint.label_weight * np.log(2) * 15 / 80
    assert pull(plain, 1) == pytest.approx(expected, rel=1e-5)
