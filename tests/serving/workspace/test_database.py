"""The workspace's database: made, renewed, and refused in a sentence."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.database import database_url, session
from lungvae_core.serving.workspace.settings import Settings

LINE = text("INSERT INTO audit (at, who, what, detail) VALUES ('2026-01-01', 'a@b.org', 'upload', :detail)")


@pytest.fixture
def settings(job_folders: Path) -> Settings:
    """Folders of the test's own."""
    return Settings()


def test_a_database_of_an_earlier_version_is_given_the_columns_it_lacks(settings, monkeypatch):
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, lock: None)
    Jobs().start(Phantom.of, "old", 3)
    file = settings.workspace / "workspace.db"
    with contextlib.closing(sqlite3.connect(file)) as database:
        database.execute("ALTER TABLE jobs DROP COLUMN who")
        database.commit()
    monkeypatch.setattr("lungvae_core.serving.workspace.database._made", {})
    (job,) = Jobs().all()
    assert (job.name, job.who) == ("old", "")
    assert Jobs().start(Phantom.of, "new", 3).who


def test_damaged_database_and_bad_url_are_sentences(settings, tmp_path, monkeypatch):
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


def test_a_transaction_is_kept_whole_or_undone(settings):
    with session(settings) as opened:
        opened.execute(LINE, {"detail": "kept"})
    with pytest.raises(IntegrityError), session(settings) as opened:
        opened.execute(LINE, [{"detail": "undone"}, {"detail": None}])
    assert [line.detail for line in audit.read(settings)] == ["kept"]


def test_a_workspace_that_cannot_be_made_names_the_variable(settings, tmp_path):
    (tmp_path / "file").touch()
    below = Settings(workspace=tmp_path / "file" / "below")
    with pytest.raises(UserError, match="LUNGVAE_WORKSPACE"), session(below):
        pass


def test_the_variable_names_another_database(settings, monkeypatch):
    assert database_url(settings) == f"sqlite:///{settings.workspace.resolve() / 'workspace.db'}"
    monkeypatch.setenv("LUNGVAE_DATABASE", "sqlite:///elsewhere.db")
    assert database_url(settings) == "sqlite:///elsewhere.db"
    monkeypatch.delenv("LUNGVAE_DATABASE")
