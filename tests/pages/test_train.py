"""The Train page without a browser: its form, its refusals, and what it says of a job."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.jobs import PHANTOM, QUEUED, RUNNING, STOPPED, STOPPING, Jobs
from lungvae_core.serving.progress import read_state
from lungvae_core.serving.routes import registry
from lungvae_core.vae.config import preset

ROOT = Path(__file__).resolve().parents[2]
TINY = {"epochs": 10_000, "width": 4, "dimensions": 4, "batch_size": 32}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_data: Path) -> Iterator[Path]:
    """Folders of the test's own; jobs that are left are killed."""
    for name in ("models", "runs", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("LUNGVAE_DATA", str(tiny_data.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    registry.cache_clear()
    yield tmp_path
    registry.cache_clear()
    for job in Jobs().all():
        if job.active and job.keeper:
            os.killpg(job.keeper, signal.SIGKILL)
        elif job.active:
            Jobs().stop(job.id)


def open_page() -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=60).run()
    return run(app.switch_page("train.py"))


def run(widget) -> AppTest:
    """Run the page after `widget` (or the whole page) was changed."""
    app = widget.run()
    assert not app.exception
    return app


def text(app: AppTest) -> str:
    kinds = (app.markdown, app.info, app.warning, app.error, app.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def wait(condition, seconds: float = 90) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


def fill(app: AppTest, name: str, **settings: float) -> None:
    (field,) = [field for field in app.text_input if field.label == "Name of the run"]
    field.set_value(name)
    chosen = app.selectbox(key="train-preset").value
    for setting, value in settings.items():
        app.number_input(key=f"train-{chosen}-{setting}").set_value(value)


def test_form_has_the_presets_settings_within_their_ranges(folders):
    app = open_page()
    assert "Not for clinical use" in text(app)
    assert "What this does not mean" in [expander.label for expander in app.expander]
    app = run(app.selectbox(key="train-preset").select("gvae"))
    epochs = app.number_input(key="train-gvae-epochs")
    assert epochs.value == preset("gvae").training.epochs
    assert (epochs.min, epochs.max) == (1, 10_000)
    assert "train-gvae-prior_alpha" not in [field.key for field in app.number_input]
    assert app.number_input(key="train-threads").value == max(
        1, app.number_input(key="train-threads").max - 1
    )
    app = run(app.selectbox(key="train-preset").select("dirvae"))
    assert app.number_input(key="train-dirvae-prior_alpha").value == preset("dirvae").model.prior_alpha
    # The data set is named with its size.
    (label,) = app.selectbox(key="train-data").options
    assert "120 slices, 24 patients" in label


def test_without_data_it_says_how_to_get_some_and_can_make_some(folders, monkeypatch):
    monkeypatch.setenv("LUNGVAE_DATA", str(folders / "no-data"))
    monkeypatch.setattr("lungvae_core.serving.jobs.Jobs._launch", lambda self, job_id, lock: None)
    app = open_page()
    assert "There is no data set" in text(app)
    assert any("lungvae phantom" in code.value for code in app.code)
    run(app.button(key="train-phantom").click())
    (job,) = Jobs().all()
    assert (job.kind, job.name) == (PHANTOM, "phantom")


def test_bad_names_and_settings_are_sentences_and_start_nothing(folders):
    app = open_page()
    fill(app, "../up")
    app = run(app.button(key="train-start").click())
    assert "cannot be the name of a run" in app.error[0].value
    fill(app, "fine", hu_low=900.0)
    app = run(app.button(key="train-start").click())
    assert "hu_low must be below hu_high" in app.error[0].value
    assert len(app.error) == 1
    assert Jobs().all() == []
    assert not (folders / "runs").exists()


@pytest.mark.slow
def test_start_watch_leave_return_stop(folders):
    app = open_page()
    app = run(app.selectbox(key="train-preset").select("gvae"))
    fill(app, "mine", **TINY)
    app = run(app.button(key="train-start").click())
    (job,) = Jobs().all()
    assert job.status in (QUEUED, RUNNING)
    assert job.request["changes"] == TINY  # what the preset says already is not repeated
    assert "mine" in text(app)

    wait(lambda: (state := read_state(job.folder)) and len(state.rows) >= 2)
    app = open_page()  # another tab: the training is found again
    said = text(app)
    assert "You may close this tab" in said
    assert "held-out patients" in said
    assert "nats" in said
    assert "Epoch" in app.get("progress")[0].text
    assert len(app.get("plotly_chart")) == 1
    app = run(app.button(key=f"train-stop-{job.id}").click())
    assert Jobs().get(job.id).status in (STOPPING, STOPPED)
    wait(lambda: Jobs().get(job.id).status == STOPPED)
    app = run(app)
    assert "stopped" in text(app)
    assert f"train-resume-{job.id}" in [button.key for button in app.button]


def test_failed_job_says_why_and_what_to_do(folders, tiny_data, monkeypatch):
    # Its keeper never comes to life.
    monkeypatch.setattr("lungvae_core.serving.jobs.Jobs._launch", lambda self, job_id, lock: None)
    Jobs().start_training(tiny_data, "gvae", {}, "lost", device="cpu")
    app = open_page()
    app.segmented_control(key="train-view").set_value("Trainings")
    app = run(app)
    assert "lost" in app.error[0].value
    assert "Resume" in app.error[0].value


def test_collapse_is_named(folders, tiny_models, tiny_data, monkeypatch):
    import json
    import shutil

    run_folder = folders / "runs" / "flat"
    monkeypatch.setattr("lungvae_core.serving.jobs.Jobs._launch", lambda self, job_id, lock: None)
    Jobs().start_training(tiny_data, "gvae", {}, "flat", device="cpu")
    shutil.copytree(tiny_models / "tiny-gvae", run_folder)
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    rows[-1]["validation"] |= {"active_units": 1, "dead_columns": 2}
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    app = open_page()
    app.segmented_control(key="train-view").set_value("Trainings")
    warnings = " ".join(str(warning.value) for warning in run(app).warning)
    assert "only 1 of 4 dimensions" in warnings
    assert "does not use 2 of 4" in warnings
