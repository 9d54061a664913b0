"""Who tests whom: cross-validation without labels in the encoder, held-out patients alone with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import CROSS_VALIDATED, FITTED, SHAPED, TESTED, classify
from lungvae_core.statistics.roc import auc
from lungvae_core.training.attention import load_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.encode import encode
from lungvae_core.training.ensemble import FOLDS, load_ensemble
from lungvae_core.training.fit import fit
from lungvae_core.vae.config import override, preset

TINY = {"width": 4, "dimensions": 4, "epochs": 1, "batch_size": 32, "validation_fraction": 0.4}
QUICK = ClassifierConfig(hidden=(8,), epochs=3)


def run_with(changes: dict, data: SliceSet, out: Path) -> Run:
    run, _ = fit(override(preset("gvae"), {**TINY, **changes}), data, out, device="cpu")
    encode(run, data)
    return run


@pytest.mark.long
def test_labels_in_the_encoder_leave_only_held_out_patients_to_test_on(
    tiny_data: Path, tmp_path: Path
) -> None:
    data = SliceSet.open(tiny_data)
    run = run_with({"rounds": 1, "round_epochs": 1}, data, tmp_path / "run")
    report = classify(run, QUICK, seeds=2)
    assert report["protocol"] == "joint"
    assert not report["transductive"]
    table, _ = run.latents()
    held_out = table["split"] == "validation"
    labelled = ~np.isnan(data.labelled())
    assert report["units"]["slice"]["count"] == int((held_out & labelled).sum())
    assert set(table["score_kind"][labelled & held_out]) == {TESTED}
    assert set(table["score_kind"][labelled & ~held_out]) == {SHAPED}
    assert set(table["score_kind"][~labelled & ~held_out]) <= {SHAPED}
    assert_strangers(run)
    assert [row["seed"] for row in report["per_seed"]] == [0, 1]


def test_without_labels_all_patients_are_cross_validated(tiny_models: Path, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))
    report = classify(run, QUICK)
    assert (report["protocol"], report["transductive"]) == ("transductive", True)
    table, _ = run.latents()
    assert set(table["score_kind"]) == {CROSS_VALIDATED, FITTED}
    assert report["heldout"]["units"]["nodule"]["patients"] < report["units"]["nodule"]["patients"]
    assert_strangers(run)
    rules = report["nodule_rules"]
    assert set(rules) == {"mean", "max", "top3", "largest", "attention"}
    assert rules["mean"]["auc"] == report["units"]["nodule"]["auc"]
    attentions = load_attentions(run)
    assert attentions is not None
    folds = load_ensemble(run, FOLDS)
    for patient, fold in attentions.fold_of.items():
        assert folds.stranger_to(patient) is folds.members[fold]  # the same folds for both


def test_views_are_judged_by_the_same_classifiers(tiny_models: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))
    data = SliceSet.open(tiny_data)
    part = classify(run, QUICK, views=8, data=data)["views"]
    assert (part["count"], set(part["nodule_rules"])) == (8, {"mean", "max", "top3", "largest", "attention"})
    table, _ = run.latents()
    folds, vae = load_ensemble(run, FOLDS), run.load_model()
    rows = np.flatnonzero(~np.isnan(data.labelled()))
    turned = [np.rot90(data.slices, turns, axes=(1, 2)) for turns in range(4)]
    codes = [vae.encode_hu(np.ascontiguousarray(one[:, ::way])) for one in turned for way in (1, -1)]
    logits = np.empty(len(table))
    for patient, each in table.groupby("patient_id"):
        own = folds.stranger_to(str(patient))
        if own is not None:
            logits[each.index] = np.mean([own.logits(view[each.index]) for view in codes], axis=0)
    assert part["units"]["slice"]["auc"]["value"] == pytest.approx(
        auc(data.labelled()[rows], logits[rows]), abs=1e-3
    )
    with pytest.raises(UserError, match="--data"):
        classify(run, QUICK, views=8)


def assert_strangers(run: Run) -> None:
    """Every labelled patient's score is that of the one kept classifier that did not learn from it."""
    folds = load_ensemble(run, FOLDS)
    assert folds is not None
    np.testing.assert_array_equal((~folds.drew).sum(0), 1)
    table, codes = run.latents()
    judged = 0
    for patient, part in table.groupby("patient_id"):
        own = folds.stranger_to(str(patient))
        if own is not None:
            scores = expit(own.logits(codes[part.index]))
            np.testing.assert_allclose(part["score"].to_numpy(float), scores, atol=1e-5)
            judged += 1
    assert judged == len(folds.patients) > 0


@pytest.mark.long
def test_the_released_choice_of_labels_says_that_it_leaks(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    run = run_with({"rounds": 1, "round_epochs": 1, "labels_of": "released"}, data, tmp_path / "run")
    report = classify(run, QUICK)
    assert report["protocol"] == "released"
    assert "LEAKS" in report["protocol_in_words"]
    assert report["heldout"] is None
    assert report["leaks"]


def test_nothing_to_test_on_is_reported(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    run = run_with({"rounds": 1, "round_epochs": 1}, data, tmp_path / "run")
    table, codes = run.latents()
    run.write_latents(table.assign(split="train"), codes)
    with pytest.raises(UserError, match="nothing to test on"):
        classify(run, QUICK)
