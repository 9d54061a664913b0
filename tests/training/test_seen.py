"""Patients that a run has learned from are recognised by their slices, whatever they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import DatasetInfo, SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import classify
from lungvae_core.evaluation.external import seen_patients, validate
from lungvae_core.evaluation.protocols.evaluate import evaluate
from lungvae_core.evaluation.protocols.plan import EvaluationConfig
from lungvae_core.training.checkpoints import FINGERPRINTS, Run
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.encode import encode
from lungvae_core.training.seen import keep_apart, learned, recognised, same_in_run
from tests.data.test_fingerprints import crop, textures

PATIENTS = 24


def scanned(rename: str = "{}", seed: int = 0) -> SliceSet:
    """Two slices each of 24 patients, who are numbers under `rename`."""
    images = textures(2 * PATIENTS, seed)
    patients = np.arange(2 * PATIENTS) // 2
    table = pd.DataFrame(
        {
            "patient_id": [rename.format(number) for number in patients],
            "nodule": 0,
            "slice": np.arange(2 * PATIENTS) % 2,
            "malignancy": pd.array(np.where(patients % 2, 5, 1), dtype="Int64"),
            "pixel_spacing_mm": 0.7,
        }
    )
    info = DatasetInfo(
        name="textures", source="made by the tests", rule="fields", content_hash=rename + str(seed)
    )
    slices = crop(images)
    return SliceSet(Path("textures"), slices, np.zeros(slices.shape, np.uint8), table, info)


@pytest.fixture(scope="module")
def run(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run as if it had been trained on `scanned()`."""
    folder = copytree(tiny_models / "tiny-gvae", tmp_path_factory.mktemp("seen") / "run")
    data = scanned("LIDC-{}")
    names = sorted(set(data.table["patient_id"]))
    info = Run.open(folder).info.model_copy(
        update={"data": data.info, "trained": names[4:], "held_out": names[:4]}
    )
    run = Run(folder, info)
    encode(run, data)
    classify(run, ClassifierConfig(hidden=(4,), epochs=2), members=3)
    return run


@pytest.mark.parametrize("rename", ["LIDC-{}", "LIDC-{} ", "lidc-{}", "{}", "someone else {}"])
def test_training_slices_are_refused_under_any_id(run: Run, rename: str) -> None:
    data = scanned(rename)
    data = replace(data, info=data.info.model_copy(update={"content_hash": "written anew"}))
    with pytest.raises(UserError, match=f"has learned from {PATIENTS} of the {PATIENTS} patients"):
        validate(run, data, quick=True)
    with pytest.raises(UserError, match="leaves nothing to test on"):
        validate(run, data, seen="leave_out", quick=True)
    with_them = validate(run, data, seen="include", resamples=20, quick=True)
    assert "are the same pictures" in with_them["leaks"][0]
    assert with_them["transductive"]


def test_other_patients_are_not(run: Run) -> None:
    report = validate(run, scanned("new {}", seed=9), resamples=20, quick=True)
    assert report["leaks"] == []
    assert "no slice is the same picture" in report["external"]["seen"]


def test_a_run_without_fingerprints_says_that_pixels_were_not_compared(run: Run, tmp_path: Path) -> None:
    old = Run(copytree(run.folder, tmp_path / "old"), run.info)
    (old.folder / FINGERPRINTS).unlink()
    report = validate(old, scanned("new {}"), resamples=20, quick=True)
    assert "pixels were not compared" in report["external"]["seen"]
    assert same_in_run(old, old.latents()[0]) is None
    assert not classify(old, ClassifierConfig(hidden=(4,), epochs=2), members=3)["pixels_compared"]


def test_slices_of_the_training_are_kept_when_other_data_are_encoded(run: Run, tmp_path: Path) -> None:
    copy = Run(copytree(run.folder, tmp_path / "copy"), run.info)
    encode(copy, scanned("new {}", seed=9))
    assert len(seen_patients(copy, scanned("other {}")).by_pixels) == PATIENTS - 4  # the VAE's alone are left


def test_an_uploaded_slice_is_recognised(run: Run) -> None:
    own = recognised(run, scanned().slices[3:4, :, ::-1])
    assert own == {"patient_id": "LIDC-1", "nodule": 0, "slice": 1}
    assert recognised(run, scanned(seed=9).slices[3:4]) is None


def test_owners_of_stored_slices_are_known_however_their_ids_are_spelled(run: Run) -> None:
    found = learned(run, scanned("X-{}"), {f"lidc_{number:04d}" for number in range(PATIENTS)})
    assert not found.by_id
    assert len(found.by_pixels) == PATIENTS


def twice() -> SliceSet:
    """Every patient of `scanned()`, and two of them again under other ids."""
    data = scanned("A-{}")
    rows = np.r_[np.arange(2 * PATIENTS), 0, 1, 2, 3]
    table = data.table.iloc[rows].reset_index(drop=True)
    table.loc[2 * PATIENTS :, "patient_id"] = ["B-0", "B-0", "B-1", "B-1"]
    return replace(data, slices=data.slices[rows], masks=data.masks[rows], table=table)


def test_folds_with_the_same_slices_on_both_sides_are_refused(run: Run, tmp_path: Path) -> None:
    folder = copytree(run.folder, tmp_path / "twice")
    data = twice()
    names = sorted(set(data.table["patient_id"]))
    copy = Run(folder, run.info.model_copy(update={"data": data.info, "trained": names, "held_out": []}))
    encode(copy, data)
    config = ClassifierConfig(hidden=(4,), epochs=2)
    with pytest.raises(UserError, match=r"8 of the 52 slices .* same pictures .* A-0 and B-0"):
        classify(copy, config, members=3)
    included = classify(copy, config, members=3, seen="include")
    assert "8 of the 52 slices" in included["leaks"][0]
    assert included["units"]["slice"]["patients"] == PATIENTS + 2
    left = classify(copy, config, members=3, seen="leave_out")
    assert left["leaks"] == []
    assert left["units"]["slice"]["patients"] == PATIENTS
    with pytest.raises(UserError, match="same pictures as slices of another patient"):
        evaluate(EvaluationConfig(preset="gvae", folds=2), data, tmp_path / "report.json")


def test_of_a_group_that_shares_slices_the_first_stays() -> None:
    patients = pd.Series(["c", "b", "a", "d"])
    same_as = pd.Series(["b", "a", "b", None], dtype="string")
    kept, leaks = keep_apart(patients, same_as, "leave_out", where="it")
    assert kept.tolist() == [False, False, True, True]
    assert leaks == []
