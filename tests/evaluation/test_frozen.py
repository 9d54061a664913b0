"""Who tests whom: cross-validation without labels in the encoder, held-out patients alone with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.frozen import CROSS_VALIDATED, FITTED, SHAPED, TESTED, classify
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.encode import encode
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
    assert set(table["score_kind"][~labelled]) <= {FITTED}
    assert len(report["repeats"]["slice"]["auc"]) == 2


def test_without_labels_all_patients_are_cross_validated(tiny_models: Path, tmp_path: Path) -> None:
    import shutil

    run = Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "run"))
    report = classify(run, QUICK)
    assert (report["protocol"], report["transductive"]) == ("frozen", True)
    table, _ = run.latents()
    assert set(table["score_kind"]) == {CROSS_VALIDATED, FITTED}
    assert report["heldout"]["units"]["nodule"]["patients"] < report["units"]["nodule"]["patients"]


@pytest.mark.long
def test_the_released_choice_of_labels_says_that_it_leaks(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    run = run_with({"rounds": 1, "round_epochs": 1, "labels_of": "released"}, data, tmp_path / "run")
    report = classify(run, QUICK)
    assert report["protocol"] == "released"
    assert "LEAKS" in report["protocol_in_words"]
    assert report["heldout"] is None


def test_nothing_to_test_on_is_told(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    run = run_with({"rounds": 1, "round_epochs": 1}, data, tmp_path / "run")
    table, codes = run.latents()
    run.write_latents(table.assign(split="train"), codes)
    with pytest.raises(UserError, match="nothing to test on"):
        classify(run, QUICK)
