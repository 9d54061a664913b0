"""Background jobs with real processes: they outlive their starter, wait their turn, stop, die and go on."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.form import describe_preset, settings_of
from lungvae_core.serving.jobs.kinds import Phantom, Preparation, Training
from lungvae_core.serving.jobs.progress import read_state
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, Job
from lungvae_core.serving.workspace.datasets import find_data
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.validate import signs_of_collapse
from lungvae_core.vae.config import PRESETS, preset
from tests.conftest import wait

TINY = {"width": 4, "dimensions": 2, "batch_size": 32}
ENDLESS = {**TINY, "epochs": 10_000}


@pytest.fixture
def workspace(job_folders: Path, tiny_data: Path) -> Callable[..., Job]:
    """start(name, changes) starts a tiny training in folders of the test's own; what is left is killed."""

    def start(name: str, changes: dict | None = None, **options: object) -> Job:
        options = {"device": "cpu", "threads": 1, "finish": False, **options}
        return Jobs().start(Training.of, name, tiny_data, "gvae", changes or ENDLESS, **options)

    return start


def until_status(job: Job, *statuses: str) -> Job:
    wait(lambda: Jobs().get(job.id).status in statuses or not Jobs().get(job.id).active)
    found = Jobs().get(job.id)
    assert found.status in statuses, (found.status, found.message, Jobs().output(found))
    return found


def epochs(job: Job) -> int:
    state = read_state(job.folder)
    return 0 if state is None else len(state.rows)


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
def test_only_a_command_that_was_killed_outright_counts_as_failed(workspace):
    job = workspace("killed")
    wait(lambda: epochs(job) >= 1)
    pid = Jobs().get(job.id).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    failed = until_status(job, FAILED)
    assert "SIGKILL" in failed.message
    assert "Resume" in failed.message


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


@pytest.mark.slow
@pytest.mark.long
def test_keeper_killed_alone_leaves_a_job_that_can_still_be_stopped(workspace):
    job = workspace("orphan")
    wait(lambda: epochs(job) >= 1)
    keeper = Jobs().get(job.id).keeper
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    time.sleep(1)
    assert Jobs().get(job.id).status == RUNNING
    Jobs().stop(job.id)
    until_status(job, STOPPED)
    assert Run.open(job.folder).has("last.safetensors")


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


@pytest.mark.long
def test_second_waits_for_the_first_and_starts_by_itself(workspace):
    first = until_status(workspace("one"), RUNNING)
    second = workspace("two", {**TINY, "epochs": 1})
    third = workspace("three")
    time.sleep(2)
    assert [Jobs().get(job.id).status for job in (second, third)] == [QUEUED, QUEUED]
    assert not Path(second.folder).exists()
    assert Jobs().stop(third.id).status == STOPPED  # one that waits is taken back at once
    Jobs().stop(first.id)
    assert until_status(second, DONE).started >= until_status(first, STOPPED).started
    assert Jobs().get(third.id).status == STOPPED
    assert not Path(third.folder).exists()
    # Stopped before it had a run: it goes on from the beginning.
    assert "--resume" not in Jobs().resume(third.id).argv
    until_status(third, RUNNING)


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


@pytest.mark.slow
def test_preparation_of_real_dicom_is_a_job(workspace, tmp_path, monkeypatch, lidc):
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LUNGVAE_SOURCES", str(lidc))
    job = until_status(Jobs().start(Preparation.of, "lidc", lidc / "dicom", workers=1), DONE)
    assert job.who.startswith("command line")
    ((data,), broken) = find_data(Settings())
    assert (data.folder.name, data.patients, data.generated) == ("lidc", 1, False)
    assert broken == {}


@pytest.mark.parametrize("folder", ["", "relative/folder", "/no/such/folder", "/etc/hostname"])
def test_only_a_folder_of_the_server_is_prepared(workspace, folder):
    with pytest.raises(UserError, match="is not below a folder"):
        Jobs().start(Preparation.of, "lidc", folder)
    assert Jobs().all() == []


def test_a_database_of_an_earlier_version_is_given_the_columns_it_lacks(workspace, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    workspace("old")
    file = Settings().workspace / "workspace.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN who")
        database.commit()
    monkeypatch.setattr("lungvae_core.serving.workspace.database._made", {})
    (job,) = Jobs().all()
    assert (job.name, job.who) == ("old", "")
    assert workspace("new").who


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


@pytest.mark.slow
def test_error_of_the_command_is_the_job_s_message(workspace):
    until_status(workspace("blocker"), RUNNING)
    job = workspace("late")
    # A run of that name comes to be while the job waits.
    Path(job.folder).mkdir(parents=True)
    (Path(job.folder) / "notes.txt").write_text("mine")
    Jobs().stop(1)
    failed = until_status(job, FAILED)
    assert "is not empty and is not a run" in failed.message
    assert [path.name for path in Path(job.folder).iterdir()] == ["notes.txt"]


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


def test_damaged_database_and_bad_url_are_sentences(workspace, tmp_path, monkeypatch):
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "workspace.db").write_bytes(b"this is no database, but long enough " * 100)
    with pytest.raises(UserError, match="cannot be used"):
        Jobs().all()
    monkeypatch.setenv("LUNGVAE_DATABASE", "nonsense://user:secret@host/name")
    with pytest.raises(UserError, match="LUNGVAE_DATABASE") as caught:
        Jobs().all()
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("LUNGVAE_DATABASE", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    assert Jobs().all() == []
    assert (tmp_path / "elsewhere.db").exists()
    (tmp_path / "elsewhere.db").unlink()
    assert Jobs().all() == []  # made again


def test_signs_of_collapse_are_named():
    config = preset("gvae")
    k = config.model.dimensions
    assert signs_of_collapse(config, {"active_units": k, "dead_columns": 0}) == []
    (partial,) = signs_of_collapse(config, {"active_units": 3, "dead_columns": 0})
    assert f"only 3 of {k}" in partial
    whole, dead = signs_of_collapse(config, {"active_units": 0, "dead_columns": 2})
    assert "has collapsed" in whole
    assert "2 of" in dead


@pytest.mark.parametrize("name", PRESETS)
def test_form_has_words_and_a_range_for_every_setting(name):
    settings = settings_of(PRESETS[name])
    assert all(setting.help and setting.label != setting.name for setting in settings)
    names = {setting.name for setting in settings}
    assert ("prior_alpha" in names) == (PRESETS[name].model.prior == "dirichlet")
    for setting in settings:
        if setting.kind == "choice":
            assert setting.default in setting.choices
        elif setting.kind != "switch":
            assert setting.minimum is None or setting.minimum <= setting.default
            assert setting.maximum is None or setting.default <= setting.maximum
    assert str(PRESETS[name].model.dimensions) in describe_preset(name)
