"""Tiny trainings and evaluations as jobs, in folders of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lungvae_core.serving.jobs.kinds import Evaluation, Training
from lungvae_core.serving.jobs.progress import read_state
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import Job
from lungvae_core.serving.workspace.settings import Settings
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


@pytest.fixture
def folders(job_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Folders of the test's own; jobs that are left are killed."""
    monkeypatch.setenv("LUNGVAE_SOURCES", str(job_folders))
    return Settings()


def start_evaluation(data: Path, name: str = "mine", **options) -> Job:
    return Jobs().start(Evaluation.of, name, data, "dirvae", device="cpu", **options)
