"""The audit log: what is written, by whom, and that nothing happens without it."""

from __future__ import annotations

import os
import threading

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "models", tmp_path / "runs", tmp_path / "data", tmp_path / "workspace")


def test_lines_are_read_newest_first_and_filtered(settings):
    audit.record(settings, audit.SIGN_IN, "viewer", who="a@b.org")
    audit.record(settings, audit.UPLOAD, "1 file, 7 bytes", who="a@b.org")
    audit.record(settings, audit.SIGN_IN, who="c@d.org")
    assert [line.who for line in audit.read(settings)] == ["c@d.org", "a@b.org", "a@b.org"]
    assert [line.what for line in audit.read(settings, who="a@b.org")] == [audit.UPLOAD, audit.SIGN_IN]
    assert len(audit.read(settings, what=audit.SIGN_IN, most=1)) == 1
    assert audit.read(settings, since="2999-01-01") == []
    assert len(audit.read(settings, since="2000-01-01T00:00+05:00")) == 3
    for wrong in ({"since": "yesterday"}, {"what": "dreams"}):
        with pytest.raises(UserError):
            audit.read(settings, **wrong)


def test_who_acts_is_named_in_this_thread_only(settings):
    with audit.acting("a@b.org"):
        audit.record(settings, audit.DELETE, "x")
        other = threading.Thread(target=audit.record, args=(settings, audit.DELETE, "y"))
        other.start()
        other.join()
    named = {line.detail: line.who for line in audit.read(settings)}
    assert named["x"] == "a@b.org"
    assert named["y"].startswith("command line")


def test_a_line_cannot_pass_for_another(settings):
    audit.record(settings, audit.DELETE, "x\n2026-01-01 sign-in admin\x1b[31m" + "y" * 900, who="a\r\nb")
    line = audit.read(settings)[0]
    assert line.who == "a  b"
    assert line.detail.isprintable()
    assert len(line.detail) == audit.LONGEST_DETAIL


def test_jobs_are_on_record_with_the_transaction_that_makes_them(settings, monkeypatch):
    held = []  # as the job's process would hold the lock
    monkeypatch.setattr(Jobs, "_launch", lambda _self, _id, lock: held.append(os.dup(lock.fileno())))
    jobs = Jobs(settings)
    with audit.acting("a@b.org"):
        job = jobs.start(Phantom.of, "made", 4)
        with pytest.raises(UserError):
            jobs.start(Phantom.of, "made", 4)  # refused: no second line
        jobs.stop(job.id)
        jobs.stop(job.id)  # changes nothing: no second line
    os.close(held[0])
    found = [(line.what, line.who, line.detail) for line in audit.read(settings)]
    assert found == [
        (audit.JOB_STOP, "a@b.org", f"phantom made, job {job.id}"),
        (audit.JOB_START, "a@b.org", f"phantom made, job {job.id}"),
    ]
