"""A trained model on other data: figures as computed directly, and a threshold that is the model's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from lungvae_core.data.slices import DatasetInfo, SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.classify import CROSS_VALIDATED
from lungvae_core.evaluation.external import own_scores, seen_patients, threshold_at, validate
from lungvae_core.evaluation.report import load_report, save_report
from lungvae_core.statistics.calibration import apply, settle
from lungvae_core.statistics.roc import auc
from lungvae_core.training.attention import load_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import load_classifier
from lungvae_core.training.encode import encode_with_quality
from lungvae_core.vae.config import override
from tests.conftest import blobs


def others(count: int = 200, seed: int = 7, **columns: Any) -> SliceSet:
    """Discs of other patients, drawn as the models' own."""
    slices, masks, table = blobs(count, seed)
    table["patient_id"] = table["patient_id"].str.replace("TEST", "OTHER")
    info = DatasetInfo(name="other discs", source="made by the tests", rule="discs", generated=True)
    return SliceSet(Path("others"), slices, masks, table.assign(**columns), info)


@pytest.fixture(scope="module")
def run(tiny_models: Path) -> Run:
    return Run.open(tiny_models / "tiny-gvae")


@pytest.fixture(scope="module")
def report(run: Run) -> dict[str, Any]:
    return validate(run, others(), resamples=100)


def test_attention_that_was_saved_judges_the_nodules(run: Run, report: dict[str, Any]) -> None:
    data, attentions = others(), load_attentions(run)
    assert attentions is not None
    judged = validate(run, data, resamples=50, quick=True, nodule_rule="attention")
    assert (judged["nodule_rule"], report["nodule_rule"]) == ("attention", "mean")
    codes = encode_with_quality(run.load_model(), data.slices)[0]
    nodules = attentions.final.logits(codes, data.table)
    rating = data.table.groupby("patient_id")["malignancy"].first().to_numpy(int)
    assert np.isclose(
        judged["units"]["nodule"]["auc"]["value"],
        auc((rating > 3).astype(int)[rating != 3], nodules["logit"].to_numpy()[rating != 3]),
        atol=1e-6,
    )
    # The threshold is of own nodules, each by an attention that had not seen the patient.
    own = own_scores(run, "mvb", "median_high", "attention", attentions).frames["nodule"]
    table, own_codes = run.latents()
    for patient in own["patient_id"].iloc[:5]:
        rows = (table["patient_id"] == patient).to_numpy()
        alone = attentions.of(patient).logits(own_codes[rows], table[rows])
        logit = own.loc[own["patient_id"] == patient, "logit"].iloc[0]
        assert np.isclose(logit, alone["logit"].iloc[0], atol=1e-5)
        assert attentions.of(patient) is not attentions.final


def test_views_are_averaged(run: Run, report: dict[str, Any]) -> None:
    data = others()
    judged = validate(run, data, resamples=50, quick=True, views=8)
    vae, classifier = run.load_model(), load_classifier(run)
    turned = [np.rot90(data.slices, turns, axes=(1, 2)) for turns in range(4)]
    shown = [each for one in turned for each in (one, one[:, ::-1])]
    logits = np.mean([classifier.logits(vae.encode_hu(np.ascontiguousarray(each))) for each in shown], axis=0)
    known, truth = truth_of(data)
    expected = auc(truth, logits[known])
    assert np.isclose(judged["units"]["slice"]["auc"]["value"], expected, atol=1e-4)
    assert "8 mirrored and turned views" in judged["settings_chosen"][0]["notes"]
    with pytest.raises(UserError, match="choose 1, 4 or 8"):
        validate(run, data, resamples=50, quick=True, views=3)
    with pytest.raises(UserError, match="no nodule rule"):
        validate(run, data, resamples=50, quick=True, nodule_rule="median")


def truth_of(data: SliceSet) -> tuple[np.ndarray, np.ndarray]:
    """((N,) which slices have a label, their labels)."""
    rating = data.table["malignancy"].to_numpy(int)
    return rating != 3, (rating > 3).astype(int)[rating != 3]


def direct(run: Run, data: SliceSet) -> np.ndarray:
    classifier = load_classifier(run)
    assert classifier is not None
    return classifier.logits(encode_with_quality(run.load_model(), data.slices)[0]).astype(float)


def test_figures_are_those_computed_directly(run: Run, report: dict[str, Any]) -> None:
    data = others()
    logits = direct(run, data)
    known, truth = truth_of(data)
    assert np.isclose(report["units"]["slice"]["auc"]["value"], auc(truth, logits[known]), atol=1e-6)
    scored = data.table[known].assign(logit=logits[known], truth=truth)
    nodules = scored.groupby("patient_id")[["logit", "truth"]].mean()
    for unit in ("nodule", "patient"):  # every patient has one nodule
        value = report["units"][unit]["auc"]["value"]
        assert np.isclose(value, auc(nodules["truth"].to_numpy(), nodules["logit"].to_numpy()), atol=1e-6)
        assert report["units"][unit]["count"] == len(nodules)
    assert report["units"]["slice"]["count"] == known.sum()
    by_diameter = report["baselines"]["diameter"]["slice"]["auc"]["value"]
    assert np.isclose(by_diameter, auc(truth, data.table["diameter_mm"].to_numpy()[known]))


def test_threshold_and_calibration_come_from_the_models_own_scores(run: Run, report: dict[str, Any]) -> None:
    table, _ = run.latents()
    table = table[table["score_kind"] == CROSS_VALIDATED]
    own = logit(np.clip(table["score"].to_numpy(np.float64), 1e-7, 1 - 1e-7))
    settled = settle((table["malignancy"] > 3).to_numpy(int), own)
    chosen = next(one for one in report["settings_chosen"] if one["unit"] == "slice")
    assert chosen["threshold"] == settled.threshold
    assert chosen["temperature"] == settled.temperature
    data = others()
    known, truth = truth_of(data)
    _, called = apply(settled, direct(run, data)[known])
    confusion = report["units"]["slice"]["confusion"]
    assert confusion["tp"] == ((called == 1) & (truth == 1)).sum()
    assert confusion["fp"] == ((called == 1) & (truth == 0)).sum()


def test_labels_of_the_new_data_change_nothing_but_the_judgement(run: Run, report: dict[str, Any]) -> None:
    malignancy = others().table["malignancy"]
    turned = validate(run, others(malignancy=6 - malignancy), resamples=50, quick=True)
    fixed = ("unit", "temperature", "bias", "threshold", "patients", "units")
    for ours, theirs in zip(report["settings_chosen"], turned["settings_chosen"], strict=True):
        assert {name: ours[name] for name in fixed} == {name: theirs[name] for name in fixed}
        for a, b in zip(ours["threshold_by_own_scores"], theirs["threshold_by_own_scores"], strict=True):
            assert a["threshold"] == b["threshold"]
    before, after = report["units"]["slice"]["auc"]["value"], turned["units"]["slice"]["auc"]["value"]
    assert np.isclose(before, 1 - after)


def test_the_report_is_one_and_can_be_read_again(report: dict[str, Any], tmp_path: Path) -> None:
    save_report(tmp_path / "report.json", report)
    read = load_report(tmp_path / "report.json")
    assert read.protocol == "external"
    assert read.leaks == []
    assert read.external is not None
    assert read.external.calibration is not None
    assert [row.specificity for row in read.external.sensitivity_at_specificity] == [0.80, 0.90, 0.95]


def test_labels_at_random_by_patient_score_a_half(run: Run) -> None:
    data = others(400)
    patients = pd.factorize(data.table["patient_id"])[0]
    chance = np.random.default_rng(11).choice([1, 5], patients.max() + 1)[patients]
    found = validate(run, others(400, malignancy=chance), resamples=50, quick=True)
    area = found["units"]["nodule"]["auc"]
    assert area["low"] < 0.5 < area["high"]
    assert abs(area["value"] - 0.5) < 0.15


def test_an_offset_in_hu_shows_in_the_codes(run: Run, report: dict[str, Any]) -> None:
    data = others()
    moved = validate(run, replace(data, slices=data.slices + np.int16(400)), resamples=50, quick=True)
    before, after = (one["external"]["code_shift"] for one in (report, moved))
    assert before["auc_of_origin"]["low"] < 0.6
    assert after["auc_of_origin"]["low"] > 0.7
    assert after["far"] > before["far"] + 0.2
    assert after["mean_difference"] > 2 * before["mean_difference"]


def test_patients_that_the_model_knows_are_refused(run: Run, tiny_data: Path) -> None:
    assert run.info.trained is not None
    data = others()
    assert seen_patients(run, data).patients == set()
    table = data.table.copy()
    table.loc[:4, "patient_id"] = run.info.trained[0]
    mixed = replace(data, table=table)
    with pytest.raises(UserError, match="has learned from 1 of the 40 patients"):
        validate(run, mixed, quick=True)
    with_them = validate(run, mixed, seen="include", resamples=20)
    assert with_them["reconstruction"]["patients"] == 39  # a patient redrawn by heart says nothing
    assert "learned from 1 of the 40 patients" in with_them["leaks"][0]
    assert with_them["transductive"]
    without = validate(run, mixed, seen="leave_out", resamples=20, quick=True)
    assert without["leaks"] == []
    assert without["data"]["patients"] == 39
    own = SliceSet.open(tiny_data)
    renamed = replace(own, table=own.table.assign(patient_id="X" + own.table["patient_id"]))
    with pytest.raises(UserError, match="has learned from 24 of the 24 patients"):
        validate(run, renamed, quick=True)  # the same content, whatever its patients are called
    with pytest.raises(UserError, match="leaves nothing to test on"):
        validate(run, own, seen="leave_out", quick=True)


def test_a_phantom_with_a_patients_name_is_nobody(run: Run) -> None:
    assert run.info.trained is not None
    data = others()
    data.table.loc[:4, "patient_id"] = run.info.trained[0]
    scanned = replace(data, info=data.info.model_copy(update={"generated": False}))
    assert seen_patients(run, data).patients == {run.info.trained[0]}
    assert seen_patients(run, scanned).patients == set()


def test_held_out_patients_whose_labels_fitted_the_classifier_are_known(run: Run) -> None:
    assert run.info.held_out is not None
    data = others()
    data.table.loc[:4, "patient_id"] = run.info.held_out[0]
    assert seen_patients(run, data).patients == {run.info.held_out[0]}


def test_what_is_missing_is_reported(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks lesions of both classes"):
        validate(run, others(malignancy=3))
    copy = copytree(run.folder, tmp_path / "copy")
    (copy / "classifier.safetensors").unlink()
    with pytest.raises(UserError, match="no classifier"):
        validate(Run.open(copy), others())
    unscored = Run.open(copytree(run.folder, tmp_path / "unscored"))
    table, codes = unscored.latents()
    unscored.write_latents(table.drop(columns=["score", "score_kind"]), codes)
    with pytest.raises(UserError, match="no scores of its own"):
        validate(unscored, others())
    at_one_spacing = run.info.model_copy(update={"config": override(run.config, {"spacing_mm": 0.7})})
    with pytest.raises(UserError, match="pixel spacing is not known"):
        validate(replace(run, info=at_one_spacing), others(pixel_spacing_mm=np.nan))


def test_a_threshold_has_the_specificity_that_was_asked() -> None:
    benign = np.arange(10) / 10
    assert threshold_at(benign, np.ones(10), 0.8) == np.nextafter(0.7, 1)
    assert (benign < threshold_at(benign, np.ones(10), 0.9)).mean() == 0.9
    assert threshold_at(np.full(5, 0.3), np.ones(5), 0.8) > 0.3  # ties are all below
    twice = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 4.0])
    assert threshold_at(benign, twice, 0.5) == np.nextafter(0.9, 1)
    assert np.isnan(threshold_at(benign, np.zeros(10), 0.5))


def test_sensitivity_at_a_specificity_is_counted_as_it_says(run: Run, report: dict[str, Any]) -> None:
    own = own_scores(run, "mvb", "median_high", "mean").frames["slice"]
    settled = settle(own["label"].to_numpy(), own["logit"].to_numpy())
    benign = apply(settled, own["logit"].to_numpy())[0][own["label"] == 0]
    data = others()
    known, truth = truth_of(data)
    probability = apply(settled, direct(run, data)[known])[0]
    chosen = next(one for one in report["settings_chosen"] if one["unit"] == "slice")
    for row in chosen["threshold_by_own_scores"]:
        assert (benign < row["threshold"]).mean() >= row["specificity"]
        assert np.isclose(row["sensitivity"]["value"], (probability[truth == 1] >= row["threshold"]).mean())
        below = (probability[truth == 0] < row["threshold"]).mean()
        assert np.isclose(row["specificity_found"]["value"], below)
    for row in chosen["threshold_by_the_new_data_optimistic"]:
        assert row["specificity_found"]["value"] >= row["specificity"]
