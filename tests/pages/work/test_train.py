"""The Train page without a browser: its form, its refusals, and what it says of a job."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Training
from lungvae_core.serving.jobs.progress import TrainingState, read_state
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import FAILED, QUEUED, RUNNING, STOPPED, STOPPING, Job
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import Person, Role
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training import fit as engine
from lungvae_core.vae.config import override, preset
from pages.work import train_curves
from tests.conftest import wait
from tests.pages.conftest import open_page, run, text
from tests.pages.work.conftest import fill

TINY = {"epochs": 10_000, "width": 4, "dimensions": 4, "batch_size": 16}


@pytest.mark.long
def test_start_watch_leave_return_stop(folders):
    app = open_page("work/train.py")
    app = run(app.selectbox(key="train-preset").select("gvae"))
    fill(app, "mine", **TINY)
    app = run(app.button(key="train-start").click())
    (job,) = Jobs().all()
    assert job.status in (QUEUED, RUNNING)
    assert job.request["changes"] == TINY  # what the preset says already is not repeated
    assert "mine" in text(app)

    wait(lambda: (state := read_state(job.folder)) and len(state.rows) >= 2)
    app = open_page("work/train.py")  # another tab: the training is found again
    said = text(app)
    assert "You can close this tab" in said
    assert "held-out patients" in said
    assert "nats" in said
    assert "Epoch" in app.get("progress")[0].text
    assert len(app.get("plotly_chart")) == 2
    assert "On the CPU" in said
    assert re.search(r"(float32|bfloat16), chosen by auto", said)
    assert "an epoch" in app.get("progress")[0].text
    app = run(app.button(key=f"train-stop-{job.id}").click())
    assert Jobs().get(job.id).status in (STOPPING, STOPPED)
    wait(lambda: Jobs().get(job.id).status == STOPPED)
    app = run(app)
    assert "stopped" in text(app)
    assert f"train-resume-{job.id}" in [button.key for button in app.button]


def test_failed_job_says_why_and_what_to_do(folders, tiny_data, monkeypatch):
    # Its keeper never comes to life.
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    Jobs().start(Training.of, "lost", tiny_data, "gvae", {}, device="cpu")
    app = watch()
    assert "lost" in app.error[0].value
    assert "Resume" in app.error[0].value


def test_collapse_is_named(folders, tiny_models, tiny_data, monkeypatch):
    run_folder = folders / "runs" / "flat"
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    Jobs().start(Training.of, "flat", tiny_data, "gvae", {}, device="cpu")
    shutil.copytree(tiny_models / "tiny-gvae", run_folder)
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    rows[-1]["validation"] |= {"active_units": 1, "dead_columns": 2}
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    warnings = " ".join(str(warning.value) for warning in watch().warning)
    assert "only 1 of 4 dimensions" in warnings
    assert "does not use 2 of 4" in warnings


def test_a_run_is_deleted_from_the_page_by_researchers_only(folders, tiny_models, tiny_data, monkeypatch):
    run_folder = folders / "runs" / "old"
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    job = Jobs().start(Training.of, "old", tiny_data, "gvae", {}, device="cpu")
    shutil.copytree(tiny_models / "tiny-gvae", run_folder)
    monkeypatch.setattr("pages.shared.access.person", lambda: Person("v@example.org", Role.VIEWER))
    app = run(watch().button(key=f"train-delete-{job.id}").click())
    assert "Only researchers may delete" in app.error[0].value
    assert run_folder.exists()
    monkeypatch.setattr("pages.shared.access.person", lambda: Person("r@example.org", Role.RESEARCHER))
    app = run(app.button(key=f"train-delete-{job.id}").click())
    assert not run_folder.exists()
    assert f"train-delete-{job.id}" not in [button.key for button in app.button]
    assert audit.read(Settings(), what=audit.DELETE)[0].who == "r@example.org"


def watch() -> AppTest:
    app = open_page("work/train.py")
    app.segmented_control(key="train-view").set_value("Jobs")
    return run(app)


def state_of(folder: Path) -> TrainingState:
    state = read_state(folder)
    assert state is not None
    return state


@pytest.fixture
def stillborn(folders, tiny_data, monkeypatch):
    """start(name, preset, changes) queues a job whose process never comes to life."""
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)

    def start(name: str, preset_name: str, changes: dict) -> Job:
        return Jobs().start(Training.of, name, tiny_data, preset_name, changes, device="cpu")

    return start


JOINT = {"width": 4, "dimensions": 4, "batch_size": 64, "epochs": 2, "rounds": 2, "round_epochs": 1}


@pytest.fixture(scope="module")
def joint_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Path:
    """A Dirichlet run of two epochs and two joint rounds of one."""
    folder = tmp_path_factory.mktemp("joint") / "run"
    engine.fit(override(preset("dirvae"), JOINT), SliceSet.open(tiny_data), folder, device="cpu")
    return folder


def test_joint_rounds_are_named_and_marked(folders, joint_run, stillborn):
    job = stillborn("joint", "dirvae", JOINT)
    shutil.copytree(joint_run, job.folder)
    said = text(watch())
    assert "held-out patients" in said
    assert "never trained on" in said
    assert "label loss" in said
    assert "α₀" in said
    figure = train_curves.curves(state_of(joint_run))
    words = [note.text for note in figure.layout.annotations]
    assert {"joint round 1", "joint round 2"} <= set(words)
    assert "Classifier's label loss (nats a slice)" in words
    assert "Gradient norm (log scale)" in words
    assert {shape.x0 for shape in figure.layout.shapes} == {2.5, 3.5}
    label = next(trace for trace in figure.data if list(trace.x) == [3, 4])  # only joint epochs have it
    assert label.y[0] == pytest.approx(state_of(joint_run).rows[2]["train"]["label_loss"] / 20)


def test_a_network_that_is_fitted_first_shows_its_progress(folders, joint_run, stillborn):
    job = stillborn("first", "gvae", JOINT)
    Path(job.folder).mkdir(parents=True)
    shutil.copy(joint_run / "config.json", job.folder)
    at = {"epoch": 1, "batch": 0, "batches": 1, "preparing": "the networks that read ratings"}
    (Path(job.folder) / "progress.json").write_text(json.dumps({**at, "prepared": 0.41}))
    progress = watch().get("progress")[0]
    assert progress.proto.text == "Before the first epoch: the networks that read ratings, 41%"


def test_released_labels_are_said_to_leak(folders, joint_run, stillborn):
    job = stillborn("leaks", "dirvae", {**JOINT, "labels_of": "released"})
    shutil.copytree(joint_run, job.folder)
    path = Path(job.folder) / "config.json"
    info = json.loads(path.read_text())
    info["config"]["joint"]["labels_of"] = "released"
    path.write_text(json.dumps(info))
    app = watch()
    assert any("every figure of such a run leaks" in warning.value for warning in app.warning)
    said = text(app)
    assert "never trained on" not in said
    assert "held out until epoch 2" in said


def test_loss_that_is_not_finite_offers_half_the_rate(folders, tiny_data, stillborn, monkeypatch):
    changes = {"width": 4, "dimensions": 4, "batch_size": 32, "epochs": 2}
    job = stillborn("broken", "gvae", changes)
    plain = engine.objective

    def broken(*arguments, **named):
        terms = plain(*arguments, **named)
        return dataclasses.replace(terms, loss=terms.loss * float("nan"))

    monkeypatch.setattr(engine, "objective", broken)
    with pytest.raises(UserError) as found:
        engine.fit(
            override(preset("gvae"), changes), SliceSet.open(tiny_data), Path(job.folder), device="cpu"
        )
    Jobs().end(job.id, FAILED, str(found.value))
    slices = state_of(Path(job.folder)).not_finite.slices
    assert len(slices) == 32

    app = watch()
    assert "not a finite number" in app.error[0].value
    assert any(all(key in code.value for key in slices) for code in app.code)
    assert f"train-resume-{job.id}" in [button.key for button in app.button]
    app = run(app.button(key=f"train-halve-{job.id}").click())
    argv = Jobs().get(job.id).argv
    assert "--resume" in argv
    assert argv[-1] == '--set=on_nonfinite="halve"'


def test_runs_older_than_the_new_figures_still_show(folders, tiny_models, stillborn):
    job = stillborn("old", "gvae", {})
    shutil.copytree(tiny_models / "tiny-gvae", job.folder)
    path = Path(job.folder) / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        for name in ("units", "phase"):
            del row[name]
        del row["validation"]["loss"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = watch()
    assert len(app.get("plotly_chart")) == 1
    assert "held-out patients" in text(app)
