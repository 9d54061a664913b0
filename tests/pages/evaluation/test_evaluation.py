"""The Evaluation page without a browser: what it shows of each protocol, its warning, its form, its jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.diagnosis import against_diagnosis
from lungvae_core.evaluation.report import Report, save_report
from lungvae_core.serving.jobs.evaluations import default_report
from tests.evaluation.made_up import made_up
from tests.evaluation.test_diagnosis import made as patients_with_diagnoses
from tests.pages.conftest import html, open_page, run, text


def charts(app: AppTest) -> dict[str, dict]:
    """The page's figures by key."""
    found = {}
    for element in app.get("plotly_chart"):
        key = next(part for part in element.proto.id.split("-", 3)[-1:])
        found[key] = json.loads(element.proto.spec)
    return found


@pytest.fixture
def reports(models: Path) -> Path:
    """Three MADE-UP reports where the page finds them."""
    for name in ("nested", "paper", "external"):
        save_report(default_report(name), made_up(name))
    return models


def test_without_a_report_it_says_how_to_make_one(models, monkeypatch, tmp_path):
    monkeypatch.setenv("LUNGVAE_MODELS", str(tmp_path / "none"))
    app = open_page("evaluation/evaluation.py", {"evaluation-view": "Reports"})
    assert "lungvae evaluate --preset dirvae" in text(app)
    assert "What this does not mean" in [expander.label for expander in app.expander]


def test_an_honest_report_has_everything_beside_it(reports):
    app = open_page("evaluation/evaluation.py", report="nested")
    said = text(app)
    assert words.LEAKS not in html(app)
    assert "ahead of mask area alone by 0.024 (0.009 to 0.038" in said
    assert "includes 0, so no difference is shown" in said
    for named in ("median_high", "n = 1,378", "681 patients", "seeds 0, 1, 2", "95 %", "whole patients"):
        assert named in said
    for heading in (
        "The model beside simpler ways",
        "All figures, per nodule",
        "Curves and confusion, per nodule",
        "Compared with the baselines",
        "Subgroups",
        "Calibration",
        "At equal size",
        "Folds and seeds",
        "Before and after labels",
        "Reconstruction of held-out patients",
        "What these figures do not mean",
    ):
        assert heading in said
    assert "What the leak is worth" not in said
    assert "−1000 to 400 HU" in said
    table = next(frame.value for frame in app.dataframe if "Per nodule" in frame.value)
    assert len(table) == 10
    assert table["Per nodule"][0] == "0.941 (0.927 to 0.952)"
    assert len(app.get("download_button")) == 2
    assert app.query_params["report"] == "nested"
    assert app.query_params["unit"] == "nodule"


def test_a_models_own_report_comes_last_and_is_shown(reports):
    app = open_page("evaluation/evaluation.py", report="tiny-gvae-evaluation")
    assert app.selectbox(key="evaluation-report").options[-2:] == [
        f"{name}-evaluation: Tiny {name.removeprefix('tiny-')}, transductive, tiny discs"
        for name in ("tiny-dirvae", "tiny-gvae")
    ]
    said = text(app)
    for named in ("transductive", "Per nodule: n =", "Diameter alone", "held-out slices"):
        assert named in said


def test_the_unit_is_in_the_address_and_changes_the_figures(reports):
    app = open_page("evaluation/evaluation.py", report="nested", unit="patient")
    assert "Per patient: n = 681" in text(app)
    assert app.segmented_control(key="evaluation-unit").value == "patient"
    # Patients have no baselines: those of nodules stand below, never the model alone.
    forest = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert "<b>Per nodule</b>" in forest["layout"]["yaxis"]["ticktext"]
    assert "Diameter alone" in forest["layout"]["yaxis"]["ticktext"]
    run(app.segmented_control(key="evaluation-unit").set_value("slice"))
    assert app.query_params["unit"] == "slice"
    assert "Per slice: n = 8,494" in text(app)


def test_a_leak_cannot_be_missed(reports):
    app = open_page("evaluation/evaluation.py", report="paper", unit="slice")
    band, said = html(app), text(app)
    assert words.LEAKS in band
    assert "70 % of the tested patients" in band
    assert "What the leak is worth" in said
    assert "0.067" in said
    assert "chosen on the folds that it is tested on" in said
    assert words.LEAK_SENTENCE in app.warning[0].value
    assert not app.success
    assert "LEAKS" in app.selectbox(key="evaluation-report").options[1]


def test_other_data_show_calibration_and_sensitivity(reports):
    said = text(open_page("evaluation/evaluation.py", report="external"))
    assert "Calibration slope **0.84 (0.71 to 0.97)**" in said
    assert "On other data" in said
    assert "Reconstruction" not in said


def test_a_damaged_report_is_a_sentence(reports):
    default_report("torn").parent.mkdir()
    default_report("torn").write_text('{"format": 1}')
    app = open_page("evaluation/evaluation.py", report="nested")
    assert any("is damaged" in warning.value for warning in app.warning)
    assert "All figures, per nodule" in text(app)


@pytest.mark.parametrize("protocol", ["nested", "paper"])
def test_a_bare_report_is_shown(models, protocol):
    report = made_up(protocol)
    for name in list(report):
        if not Report.model_fields[name].is_required():
            del report[name]
    report["units"] = {"nodule": report["units"]["nodule"]}
    report["units"]["nodule"] |= {"curves": None, "confusion": None, "ece": {"value": None}}
    save_report(default_report("bare"), report)
    said = text(open_page("evaluation/evaluation.py", report="bare"))
    assert "nothing says what size alone gives" in said


def test_opinion_and_diagnosis_stand_beside_each_other(models):
    table, nodules, diagnoses = patients_with_diagnoses()
    part = against_diagnosis(nodules, table, diagnoses, resamples=50)
    save_report(default_report("nested"), made_up("nested"))
    assert "Opinion and diagnosis" not in headings(open_page("evaluation/evaluation.py", report="nested"))
    save_report(default_report("diagnosed"), {**made_up("nested"), "diagnosis": part})
    app = open_page("evaluation/evaluation.py", report="diagnosed")
    assert "Opinion and diagnosis" in headings(app)
    assert "truth.csv" in text(app)


def headings(app: AppTest) -> list[str]:
    return [element.value for element in app.subheader]
