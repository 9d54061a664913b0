"""The locks of jobs: held by whoever has them open, in this process or another."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.locks import Locks


@pytest.fixture
def locks(tmp_path) -> Locks:
    return Locks(tmp_path / "jobs")


def test_a_job_is_alive_while_its_lock_is_held_and_no_other_is(locks):
    assert not locks.alive(1)  # nobody ever had it
    with locks.hold(1):
        assert locks.alive(1)
        assert not locks.alive(2)
    assert not locks.alive(1)


def test_closing_it_does_not_free_it_while_another_handle_is_open(locks):
    with locks.hold(1) as stream:
        inherited = os.dup(stream.fileno())  # as a command started by the keeper has it
    assert locks.alive(1)
    os.close(inherited)
    assert not locks.alive(1)


def test_who_waits_for_a_lock_in_vain_gets_a_message(locks, monkeypatch):
    moments = iter((0.0, 1.0, 9.0))
    with locks.hold(1):
        monkeypatch.setattr(time, "monotonic", lambda: next(moments))
        with pytest.raises(UserError, match="Job 1 still has a process"), locks.hold(1):
            pass


def test_only_a_process_that_has_the_file_open_has_the_lock(locks):
    with locks.hold(1):
        assert locks.has(os.getpid(), 1)
    if Path("/proc/self/fd").is_dir():  # where there is none, no process can be ruled out
        assert not locks.has(os.getpid(), 1)
    assert locks.has(2**22 + 1, 1)  # no such process: the system cannot tell


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="LUNGVAE_WORKSPACE"), Locks(tmp_path / "file" / "below").hold(1):
        pass
