"""The Evaluation page's form and its jobs, without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungvae_core.serving.jobs.kinds import Evaluation
from lungvae_core.serving.jobs.locks import Locks
from lungvae_core.serving.jobs.queue import Jobs
from tests.pages.conftest import open_page, run, text


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
    progress = {"what": "training", "done": 2, "total": 5, "seconds_left": 600}
    (work / "progress.json").write_text(json.dumps(progress))
    app = open_page("evaluation/evaluation.py")
    assert "waiting for its turn" in text(app)
    assert app.get("progress")[0].text.startswith("Training the folds' models: 2 of 5")
    assert app.get("progress")[0].value == 40
    assert app.button(key=f"evaluation-stop-{job.id}").label == "Stop"
