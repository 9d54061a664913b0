"""The table of jobs: rows are checked, and neither a path nor a command is read from a column."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, JobRow, as_job, change, place
from lungvae_core.serving.workspace.database import session
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(job_folders) -> Settings:
    return Settings()


def row(**changes: Any) -> JobRow:
    """A row of a phantom job that this product could have written, but for the changes."""
    good: dict[str, Any] = {
        "id": 7,
        "kind": "phantom",
        "name": "made",
        "folder": "data/made",
        "who": "a@b.org",
        "lane": "data",
        "argv": ["rm", "-rf", "/"],
        "request": {"count": 3},
        "status": FAILED,
        "attempt": 1,
        "message": "It failed.",
        "log": "/etc/passwd",
        "created": 1.0,
        "queued": 1.0,
    }
    return JobRow(**good | changes)


def test_command_and_output_come_from_the_request_and_the_folders_in_use(settings):
    job = as_job(settings, row())
    assert job.folder == str(settings.data.resolve() / "made") == str(place(settings, "phantom", "made"))
    assert job.argv[:2] == ["phantom", f"--out={job.folder}"]
    assert "--count=3" in job.argv
    assert job.log == str(settings.workspace.resolve() / "jobs" / "7.log")


@pytest.mark.parametrize(("status", "active"), [(QUEUED, True), (RUNNING, True), (DONE, False)])
def test_a_job_is_active_until_it_has_ended(settings, status, active):
    assert as_job(settings, row(status=status)).active == active


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "shell"}, "kind"),
        ({"name": "../up"}, "name"),
        ({"status": "lost"}, "status"),
        ({"pid": 1}, "pid"),
        ({"created": float("nan")}, "created"),
        ({"attempt": 0}, "attempt"),
        ({"request": {"count": "many"}}, "count"),
        ({"request": None}, "in the workspace's database cannot be used"),
        ({"folder": "data/other"}, "jobs of its kind write"),
        ({"folder": "/etc"}, "Job 7"),
    ],
)
def test_a_row_that_this_product_cannot_have_written_is_named(settings, changes, reason):
    with pytest.raises(UserError, match=reason) as refused:
        as_job(settings, row(**changes))
    assert str(refused.value).startswith("Job 7 ")


def test_text_of_a_row_becomes_one_printable_line(settings):
    job = as_job(settings, row(message="It\x1b[31m failed\nbadly", who="a\r\nb"))
    assert job.message.isprintable()
    assert job.who.isprintable()


def test_only_jobs_for_which_all_holds_are_changed(settings):
    with session(settings) as db:
        db.add(row(status=QUEUED))
    with session(settings) as db:
        assert not change(db, JobRow.id == 7, JobRow.status == RUNNING, status=DONE)
        assert change(db, JobRow.id == 7, JobRow.status == QUEUED, status=RUNNING, started=2.0)
    with session(settings) as db:
        (changed,) = db.scalars(select(JobRow))
    assert (changed.status, changed.started, changed.name) == (RUNNING, 2.0, "made")
