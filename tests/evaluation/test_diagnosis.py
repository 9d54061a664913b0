"""Model, readers and size against the confirmed diagnosis and against the opinion, on the same patients."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.columns import patient_key
from lungvae_core.data.diagnoses import Diagnoses, read_diagnoses
from lungvae_core.errors import UserError
from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.classify import classify
from lungvae_core.evaluation.diagnosis import against_diagnosis, check_diagnoses
from lungvae_core.evaluation.html import to_html
from lungvae_core.evaluation.report import DiagnosisPart, Report, load_report, load_run_report
from lungvae_core.serving.http.routes import registry
from lungvae_core.statistics.roc import auc
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from tests.conftest import ROOT
from tests.pages.conftest import open_page


def made(patients: int = 40, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, Diagnoses]:
    """(slices, judged nodules, diagnoses): a third of the patients have two nodules, some no diagnosis."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        for nodule in range(2 if number % 3 == 0 else 1):
            rating, diameter = int(generator.integers(1, 6)), float(generator.uniform(4, 30))
            for at in range(2):
                rows.append((f"P-{number:03d}", nodule, at, rating, f"{rating}|{rating}", diameter))
    names = ["patient_id", "nodule", "slice", "malignancy", "malignancy_all", "diameter_mm"]
    table = pd.DataFrame(rows, columns=names)
    nodules = table.groupby(["patient_id", "nodule"], as_index=False)["malignancy"].first()
    nodules["logit"] = nodules["malignancy"] + generator.normal(0, 1, len(nodules))
    kinds = {f"p-{number}": int(generator.integers(1, 4)) for number in range(patients) if number % 10}
    return table, nodules.drop(columns="malignancy"), Diagnoses("truth.csv", pd.Series(kinds), 3)


def test_all_scores_are_of_the_same_patients_by_their_highest_nodule() -> None:
    table, nodules, diagnoses = made()
    part = DiagnosisPart.model_validate(against_diagnosis(nodules, table, diagnoses, resamples=200))
    everyone, single = part.groups
    assert (everyone.patients, part.diagnosed, part.unknown) == (36, 36, 3)
    assert part.benign + part.primary + part.metastatic == 36
    assert single.patients == sum(number % 3 != 0 for number in range(40) if number % 10)
    assert [one.name for one in everyone.scores] == ["model", "readers_mean", "readers_median", "diameter"]
    of_patient = nodules.groupby("patient_id")["logit"].max()
    kinds = diagnoses.of(pd.Series(of_patient.index))
    rows = kinds.notna().to_numpy()
    expected = auc((kinds[rows] != 1).to_numpy(int), of_patient.to_numpy()[rows])
    model = everyone.scores[0]
    assert model.diagnosis.value == pytest.approx(expected)
    assert model.diagnosis.low < expected < model.diagnosis.high
    opinion = table.groupby("patient_id")["malignancy"].max().to_numpy()[rows] > 3
    assert model.opinion.value == pytest.approx(auc(opinion.astype(int), of_patient.to_numpy()[rows]))
    assert everyone.agree == int((opinion == (kinds[rows] != 1).to_numpy()).sum())
    assert everyone.scores[1].opinion is None


def test_the_report_shows_it_everywhere_and_older_reports_still_read(tmp_path: Path) -> None:
    table, nodules, diagnoses = made()
    shipped = ROOT / "models" / "reports" / "dirvae-nested-mvb.json"
    assert load_report(shipped).diagnosis is None or load_report(shipped).diagnosis.groups
    raw = json.loads(shipped.read_text(encoding="utf-8"))
    raw["diagnosis"] = against_diagnosis(nodules, table, diagnoses, resamples=100)
    report = Report.model_validate(raw)
    document = to_html(report)
    assert "Opinion and diagnosis" in document
    assert "truth.csv" in document
    assert "Opinion is not diagnosis" in report_words.diagnosis_verdict(report.diagnosis)
    raw.pop("diagnosis")
    assert "Opinion and diagnosis" not in to_html(Report.model_validate(raw))


def test_classify_judges_its_own_scores_and_home_says_it_in_a_sentence(
    tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "models" / "tiny-gvae"))
    table, _ = run.latents()
    patients = sorted(set(table["patient_id"]))
    kinds = pd.Series({patient_key(one): 1 + at % 3 for at, one in enumerate(patients)})
    classify(run, ClassifierConfig(hidden=(8,), epochs=2), diagnoses=Diagnoses("truth.csv", kinds, 0))
    part = load_run_report(run).diagnosis
    assert part.groups[0].patients == len(patients)
    for name, folder in (("MODELS", tmp_path / "models"), ("RUNS", tmp_path / "r"), ("DATA", tmp_path / "d")):
        monkeypatch.setenv(f"LUNGVAE_{name}", str(folder))
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "w"))
    registry.cache_clear()
    app = open_page("home.py")
    registry.cache_clear()
    assert any("Opinion is not diagnosis" in element.value for element in app.markdown)


def test_patients_who_are_not_in_the_data_are_reported_before_anything_is_trained() -> None:
    table, nodules, diagnoses = made()
    strangers = table.assign(patient_id="X-" + table["patient_id"])
    with pytest.raises(UserError, match="0 benign and 0 malignant"):
        check_diagnoses(strangers, diagnoses)
    check_diagnoses(table, diagnoses)
    assert (
        against_diagnosis(nodules.assign(patient_id="X-" + nodules["patient_id"]), table, diagnoses) is None
    )


@pytest.mark.long
def test_lidcs_own_table_reads(lidc: Path) -> None:
    diagnoses = read_diagnoses(lidc / "diagnosis.csv")
    assert diagnoses.kinds.value_counts().to_dict() == {1: 25, 2: 26, 3: 38}
    assert diagnoses.unknown == 20
