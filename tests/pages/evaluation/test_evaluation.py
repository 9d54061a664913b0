"""The Evaluation page without a browser: what it shows of each protocol, its warning, its form, its jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.diagnosis import against_diagnosis
from lungvae_core.evaluation.report import Report, save_report
from lungvae_core.evaluation.report_view.blocks import Beside, Figure, Panels
from lungvae_core.evaluation.report_view.sections import sections
from lungvae_core.serving.jobs.evaluations import default_report
from lungvae_core.serving.jobs.kinds import Evaluation
from lungvae_core.serving.jobs.locks import Locks
from lungvae_core.serving.jobs.queue import Jobs
from pages.evaluation import figures
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


def test_figures_hold_what_the_report_says():
    report = Report.model_validate(made_up("paper"))
    blocks = {
        block.name: block
        for section in sections(report, "nodule")
        for part in section.blocks
        for block in ([*part.left, *part.right] if isinstance(part, Beside) else [part])
        if isinstance(block, Figure)
    }
    forest = figures.forest(blocks["forest"])
    shapes = {trace.marker.symbol for trace in forest.data}
    assert shapes == set(figures.SHAPES.values())
    assert forest.data[0].x[0] == report.units.nodule.auc.value
    leak = figures.steps(blocks["leak-slice"])
    ends = [bar.base[0] + bar.x[0] for bar in leak.data]
    assert ends == pytest.approx([step.slice for step in report.leak.steps])
    assert leak.data[1].base[0] == pytest.approx(report.leak.steps[0].slice)  # it hangs where the first ended
    [panels] = [
        block
        for section in sections(report, "nodule")
        for block in section.blocks
        if isinstance(block, Panels)
    ]
    drawn = figures.confusion(panels.confusion)
    counts = report.units.nodule.confusion
    assert any(f"<b>{counts.tp:,}</b>" in note.text for note in drawn.layout.annotations)
    assert figures.forest(blocks["differences"]).layout.shapes[0].x0 == 0


def test_form_starts_an_evaluation(models, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    app = open_page("evaluation/evaluation.py")
    assert app.segmented_control(key="evaluation-view").value == "New evaluation"
    assert app.selectbox(key="evaluation-protocol").value == "nested"
    app.selectbox(key="evaluation-preset").select("gvae")
    app.selectbox(key="evaluation-rule").select("strict")
    app.number_input(key="evaluation-seeds").set_value(2)
    app.toggle(key="evaluation-quick").set_value(True)
    run(app.button(key="evaluation-start").click())
    (job,) = Jobs().all()
    assert job.kind == Evaluation.kind
    assert {"--preset=gvae", "--label-rule=strict", "--seeds=2", "--quick"} <= set(job.argv)
    # Nobody keeps it, so it has failed: that is said, with Resume and its output.
    assert "evaluation-1" in text(app)
    assert app.button(key=f"evaluation-resume-{job.id}").label == "Resume"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("patient_id,diagnosis\nTEST-0001,1\nTEST-0002,2\n", None),
        ("patient_id,diagnosis\nTEST-0001,1\nTEST-0002,1\n", "2 benign and 0 malignant"),
        ("patient_id\nTEST-0001\n", "diagnosis"),
    ],
)
def test_form_takes_a_table_of_diagnoses_below_the_owners_folders(
    models, monkeypatch, tmp_path, content, message
):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    monkeypatch.setenv("LUNGVAE_SOURCES", str(tmp_path / "tables"))
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "diagnosis.csv"
    for path in (table, tmp_path / "elsewhere.csv"):
        path.write_text(content)
    app = open_page("evaluation/evaluation.py")
    app.text_input(key="evaluation-diagnoses").set_value(str(tmp_path / "elsewhere.csv"))
    app = app.button(key="evaluation-start").click().run()
    assert "is not below a folder that this server reads" in app.error[0].value
    assert Jobs().all() == []
    app.text_input(key="evaluation-diagnoses").set_value(f" {table} ")
    run(app.button(key="evaluation-start").click())
    if message is not None:
        assert message in app.error[0].value
        assert Jobs().all() == []
    else:
        (job,) = Jobs().all()
        assert f"--diagnoses={table.resolve()}" in job.argv


def test_form_tells_what_is_wrong(models):
    app = open_page("evaluation/evaluation.py")
    (name,) = [field for field in app.text_input if field.label == "Name of the evaluation"]
    name.set_value("../up")
    app = app.button(key="evaluation-start").click().run()
    assert "cannot be the name" in app.error[0].value
    assert Jobs().all() == []


def test_progress_is_shown(models, monkeypatch, tiny_data):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    monkeypatch.setattr(Locks, "alive", lambda self, job_id: True)
    job = Jobs().start(Evaluation.of, "slow", tiny_data, "dirvae", device="cpu")
    work = Path(job.folder) / "report.work"
    work.mkdir(parents=True)
    told = {"what": "training", "done": 2, "total": 5, "seconds_left": 600}
    (work / "progress.json").write_text(json.dumps(told))
    app = open_page("evaluation/evaluation.py")
    assert "waiting for its turn" in text(app)
    assert app.get("progress")[0].text.startswith("Training the folds' models: 2 of 5")
    assert app.get("progress")[0].value == 40
    assert app.button(key=f"evaluation-stop-{job.id}").label == "Stop"


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
