"""A job's keeper: it waits its turn, runs the command and records how it ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, STOPPED
from lungvae_core.training.checkpoints import Run
from tests.conftest import wait
from tests.serving.jobs.conftest import TINY, epochs, until_status


@pytest.mark.long
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


@pytest.mark.long
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
