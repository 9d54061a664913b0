"""A backup's database, rebuilt: its rows and nothing else, with jobs that name the folders in use."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.export.restored_database import rebuild
from lungvae_core.serving.jobs.kinds import Training
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def database(job_folders: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace's database with a line of the audit log and a training in it."""
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    settings = Settings()
    audit.record(settings, audit.SIGN_IN, who="a@b.org")
    Jobs().start(Training.of, "mine", tiny_data, "gvae", {}, device="cpu")
    file = settings.workspace / "workspace.db"
    change(file, "PRAGMA journal_mode=DELETE")  # all of it in one file, as in a backup
    return file


def change(file: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(file)) as opened:
        for statement in statements:
            opened.execute(statement)
        opened.commit()


def one(file: Path, query: str) -> tuple:
    with contextlib.closing(sqlite3.connect(file)) as opened:
        (row,) = opened.execute(query).fetchall()
    return row


def test_rows_come_back_and_what_named_processes_and_commands_does_not(database):
    change(database, "UPDATE jobs SET pid = 7, keeper = 8, argv = '[\"rm\"]', log = '/etc/passwd'")
    assert rebuild(database, {}, Settings()) == []
    assert one(database, "SELECT name, pid, keeper, argv, log FROM jobs") == ("mine", None, None, "[]", "")
    assert one(database, "SELECT who, what FROM audit WHERE what = 'sign-in'") == ("a@b.org", audit.SIGN_IN)


def test_absolute_paths_of_the_old_folders_become_those_in_use(database):
    change(
        database,
        "UPDATE jobs SET folder = '/old/runs/mine'",
        "UPDATE jobs SET request = replace(request, 'data/tiny', '/old/data/tiny')",
    )
    assert rebuild(database, {"runs": "/old/runs", "data": "/old/data"}, Settings()) == []
    (job,) = Jobs().all()
    assert job.folder == str(Settings().runs.resolve() / "mine")
    assert f"--data={(Settings().data / 'tiny').resolve()}" in job.argv


def test_a_job_of_a_folder_elsewhere_is_left_out_with_a_sentence(database):
    change(database, "UPDATE jobs SET folder = '/elsewhere/mine'")
    (reason,) = rebuild(database, {"runs": "/old/runs"}, Settings())
    assert reason.startswith("Job 1 ")
    assert one(database, "SELECT count(*) FROM jobs") == (0,)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE jobs SET attempt = 'many'", "jobs, row 1, attempt"),
        ("UPDATE jobs SET request = '{'", "jobs, row 1, request"),
        ("UPDATE audit SET who = printf('%.*c', 300, 'x')", "audit, row 1, who"),
        ("CREATE VIEW more AS SELECT 1", "more than tables"),
        ("CREATE TRIGGER each AFTER INSERT ON audit BEGIN DELETE FROM jobs; END", "more than tables"),
    ],
)
def test_what_this_product_cannot_have_written_is_refused_and_stays_as_it_is(database, statement, reason):
    change(database, statement)
    before = database.read_bytes()
    with pytest.raises(UserError, match=reason):
        rebuild(database, {}, Settings())
    assert database.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(database):
    other = database.with_name("other.db")
    other.write_bytes(b"this is no database, but long enough " * 100)
    with pytest.raises(UserError, match="cannot be read"):
        rebuild(other, {}, Settings())
