"""`lungvae jobs` and `lungvae delete`: list, show, stop, and remove a run of one's own."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Folders of the test's own, where a job's process is only a lock that is held."""
    for name in ("models", "runs", "data", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    locks: list[int] = []
    monkeypatch.setattr(Jobs, "_launch", lambda _self, _id, lock: locks.append(os.dup(lock.fileno())))
    yield
    for lock in locks:
        os.close(lock)


@pytest.mark.usefixtures("held")
def test_jobs_are_listed_shown_and_stopped(printed, refused) -> None:
    assert "There is no job yet" in printed("jobs", "list")
    job = Jobs().start(Phantom.of, "made", 4)
    assert "made" in printed("jobs", "list")
    shown = printed("jobs", "show", job.id, "--lines", 0)
    assert shown.startswith(f"Job {job.id}, phantom made: ")
    assert "Command  lungvae phantom" in shown
    assert printed("jobs", "stop", job.id).startswith(f"Job {job.id}, made: stop")
    refused("", "jobs", "show", 999)


@pytest.mark.usefixtures("held")
def test_only_a_run_of_ones_own_is_deleted(
    printed, refused, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused("absent", "delete", "absent", "--yes")
    folder = tmp_path / "runs" / "own"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, _, _ = run("delete", "own")
    assert code == 1
    assert folder.is_dir()
    assert printed("delete", "own", "--yes") == "own is deleted.\n"
    assert not folder.exists()
