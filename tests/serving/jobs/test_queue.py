"""Background jobs with real processes: they outlive their starter, wait their turn, stop, die and go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Phantom, Preparation, Training
from lungvae_core.serving.jobs.progress import read_state
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, Job
from lungvae_core.serving.workspace.datasets import find_data
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.validate import signs_of_collapse
from lungvae_core.vae.config import preset
from tests.conftest import wait
from tests.serving.jobs.conftest import ENDLESS, TINY, epochs, until_status


@pytest.mark.long
def test_progress_stop_and_resume_to_the_end(workspace):
    job = workspace("first", {**TINY, "epochs": 30})
    assert job.status == QUEUED
    wait(lambda: epochs(job) >= 2)
    state = read_state(job.folder)
    assert state is not None
    assert 0 < state.fraction < 1
    assert state.phase == "training"
    assert state.seconds_left is not None
    assert state.samples is not None
    assert state.samples.startswith(b"\x89PNG")
    assert Jobs().stop(job.id).status == STOPPING
    Jobs().stop(job.id)  # once more changes nothing
    stopped = until_status(job, STOPPED)
    assert stopped.pid is None
    assert Run.open(job.folder).has("last.safetensors")
    kept = Run.open(job.folder).metrics()
    assert 2 <= len(kept) < 30

    resumed = Jobs().resume(job.id)
    assert resumed.attempt == 2
    assert "--resume" in resumed.argv
    with pytest.raises(UserError, match="nothing to resume"):
        Jobs().resume(job.id)
    until_status(job, DONE)
    rows = Run.open(job.folder).metrics()
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    assert rows[: len(kept)] == kept
    state = read_state(job.folder)
    assert state is not None
    assert (state.fraction, state.phase) == (1.0, "encoding")
    assert "trained for 30 epochs" in Jobs().output(job)


@pytest.mark.slow
@pytest.mark.long
def test_death_of_every_process_is_found_on_reading(workspace):
    job = until_status(workspace("dead"), RUNNING)
    assert job.keeper is not None
    os.killpg(job.keeper, signal.SIGKILL)
    failed = until_status(job, FAILED)
    assert "ended without a word" in failed.message
    assert failed.ended is not None
    again = workspace("dead-2", {**TINY, "epochs": 1})  # its lane is free again
    until_status(again, DONE)


def test_two_of_one_name_at_once_one_wins(workspace):
    def attempt(_: int) -> Job | str:
        try:
            return workspace("twice")
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(attempt, range(6)))
    assert sum(isinstance(result, Job) for result in results) == 1
    assert all("Choose another name" in result for result in results if isinstance(result, str))
    assert len(Jobs().all()) == 1
    assert Jobs().suggest("twice") == "twice-1"


@pytest.mark.slow
@pytest.mark.long
def test_job_outlives_the_process_that_started_it(workspace, tiny_data):
    code = (
        "from lungvae_core.serving.jobs.queue import Jobs\n"
        "from lungvae_core.serving.jobs.kinds import Training\n"
        f"Jobs().start(Training.of, 'outlives', {str(tiny_data)!r}, 'gvae', {ENDLESS!r}, device='cpu')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    (job,) = Jobs().all()
    until_status(job, RUNNING)
    wait(lambda: epochs(job) >= 1)
    Jobs().stop(job.id)
    until_status(job, STOPPED)


@pytest.mark.long
def test_finished_training_is_a_model_of_the_registry(workspace):
    from lungvae_core.serving.models.registry import Registry

    job = workspace("whole", {**TINY, "epochs": 1}, finish=True, title="-- A title with 'quotes'")
    wait(lambda: not Jobs().get(job.id).active, seconds=280)
    until_status(job, DONE)
    state = read_state(job.folder)
    assert state is not None
    assert state.phase == "finished"
    (entry,) = Registry().entries()
    assert (entry.name, entry.title) == ("whole", "-- A title with 'quotes'")


def test_phantom_job_makes_a_data_set(workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "data"))
    until_status(Jobs().start(Phantom.of, "made", 8), DONE)
    found, broken = find_data(Settings())
    assert [(data.folder.name, data.slices, data.generated) for data in found] == [("made", 8, True)]
    assert broken == {}
    with pytest.raises(UserError, match="already a data set 'made'"):
        Jobs().start(Phantom.of, "made", 8)


@pytest.mark.long
def test_preparation_of_real_dicom_is_a_job(workspace, tmp_path, monkeypatch, lidc):
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LUNGVAE_SOURCES", str(lidc))
    job = until_status(Jobs().start(Preparation.of, "lidc", lidc / "dicom", workers=1), DONE)
    assert job.who.startswith("command line")
    ((data,), broken) = find_data(Settings())
    assert (data.folder.name, data.patients, data.generated) == ("lidc", 1, False)
    assert broken == {}


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "-flag", ".hidden", "a b", "ü", "x" * 65, "a\n"])
def test_bad_names_are_refused(workspace, name):
    with pytest.raises(UserError, match="cannot be the name"):
        workspace(name)


def test_bad_input_is_a_sentence_and_leaves_nothing(workspace, tmp_path, tiny_data, monkeypatch):
    monkeypatch.setenv("LUNGVAE_SOURCES", str(tmp_path))
    jobs = Jobs()
    (tmp_path / "runs" / "there").mkdir(parents=True)
    (tmp_path / "models" / "shipped").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for (data, start, changes, name), options, words in [
        ((tiny_data, "gvae", {}, "there"), {}, "already a run 'there'"),
        ((tiny_data, "gvae", {}, "shipped"), {}, "ships with the project"),
        ((tmp_path / "nowhere", "gvae", {}, "new"), {}, "There is no data set at"),
        ((tmp_path / "empty", "gvae", {}, "new"), {}, "is not a data set"),
        ((tiny_data, "vae", {}, "new"), {}, "There is no preset 'vae'"),
        ((tiny_data, "gvae", {"epoch": 3}, "new"), {}, "There is no setting 'epoch'"),
        ((tiny_data, "gvae", {"epochs": 0}, "new"), {}, "epochs"),
        ((tiny_data, "gvae", {"hu_low": 500.0}, "new"), {}, "hu_low must be below hu_high"),
        ((tiny_data, "gvae", {}, "new"), {"device": "tpu"}, "There is no device 'tpu'"),
        ((tiny_data, "gvae", {}, "new"), {"threads": -1}, "threads"),
    ]:
        with pytest.raises(UserError, match=words):
            jobs.start(Training.of, name, data, start, changes, **options)
    assert jobs.all() == []
    assert not (tmp_path / "runs" / "new").exists()
    with pytest.raises(UserError, match="There is no job 7"):
        jobs.get(7)


def test_command_line_lists_shows_and_stops(workspace, monkeypatch):
    from typer.testing import CliRunner

    import lungvae_core.cli.jobs  # noqa: F401  it adds its commands to the app
    from lungvae_core.cli import app

    def lungvae(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["jobs", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "There is no job yet" in lungvae("list")
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    workspace("lost")
    listed = lungvae("list")
    assert "lost" in listed
    assert "failed" in listed  # without a keeper
    shown = lungvae("show", "1")
    assert "lungvae train --data=" in shown
    assert "waited for its turn" in shown
    assert "failed" in lungvae("stop", "1")  # it has ended; nothing changes
    with pytest.raises(UserError, match="There is no job 9"):
        lungvae("stop", "9")


def test_signs_of_collapse_are_named():
    config = preset("gvae")
    k = config.model.dimensions
    assert signs_of_collapse(config, {"active_units": k, "dead_columns": 0}) == []
    (partial,) = signs_of_collapse(config, {"active_units": 3, "dead_columns": 0})
    assert f"only 3 of {k}" in partial
    whole, dead = signs_of_collapse(config, {"active_units": 0, "dead_columns": 2})
    assert "has collapsed" in whole
    assert "2 of" in dead
