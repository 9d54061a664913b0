"""A workspace's database that somebody else wrote: nothing outside is read, run or signalled, no crash.

Every column of every table takes every hostile value, in the database itself and in a backup of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from lungvae_core.cli import main
from lungvae_core.errors import UserError
from lungvae_core.serving.export import backup
from lungvae_core.serving.http.routes import registry, routes
from lungvae_core.serving.jobs import queue as jobs
from lungvae_core.serving.jobs.kinds import KINDS
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.lesions import sets
from lungvae_core.serving.workspace import audit, places
from lungvae_core.serving.workspace.database import Base, session
from lungvae_core.serving.workspace.settings import Settings
from tests.conftest import ROOT

SECRET = "what nobody may read"
GOOD: dict[str, dict[str, Any]] = {
    "jobs": {
        "kind": "training",
        "name": "mine",
        "folder": "runs/mine",
        "who": "a@b.org",
        "lane": "cpu",
        "argv": "[]",
        "status": "failed",
        "attempt": 1,
        "message": "It failed.",
        "log": "",
        "created": 1.0,
        "queued": 1.0,
    },
    "audit": {"at": "2026-01-01T00:00:00.000+00:00", "who": "a@b.org", "what": "upload", "detail": "one"},
    "named_sets": {"name": "mine", "count": 2, "rows": "[0,1]", "created": "2026-01-01", "note": ""},
}
REQUESTS = {
    "training": {"data": "data/tiny", "preset": "gvae", "changes": {}, "device": "cpu"},
    "phantom": {"count": 3},
    "search": {"source": "--data=data/tiny", "space": "gvae", "device": "cpu"},
    "evaluation": {
        "data": "data/tiny",
        "preset": "gvae",
        "task": "mvb",
        "label_rule": "median_high",
        "protocol": "nested",
        "device": "cpu",
    },
    "preparation": {"folder": "data/scans"},
    "map": {"unit": "slice", "method": "pca", "dims": 2, "run": "runs/mine"},
}
PLACES = {
    "evaluation": "workspace/evaluations/",
    "map": "workspace/cache/maps/",
    "training": "runs/",
    "search": "runs/",
}


def good_job(kind: str) -> dict[str, Any]:
    end = ".npy" if kind == "map" else ""
    folder = f"{PLACES.get(kind, 'data/')}mine{end}"
    return GOOD["jobs"] | {"kind": kind, "folder": folder, "request": json.dumps(REQUESTS[kind])}


def hostile(outside: Path) -> list[Any]:
    """What a column can be made to hold: paths, arguments, shell, HTML, other types, too much."""
    return [
        *(None, "", 0, -1, 1, 2**62, 1.5, float("inf"), b"\xff\xfe\x00", "\x00", "a\x00b", "x" * 200_000),
        *(
            str(outside),
            "/etc/passwd",
            "../../etc/passwd",
            "runs/../../outside",
            "runs/link/x",
            "file:///etc",
        ),
        *(
            "\x1b[2J\x1b]0;x\x07",
            "<script>alert(1)</script>",
            "=cmd|' /C calc'!A0",
            "$(touch /tmp/x)",
            "--help",
        ),
        *(
            '["python","-c","print(1)"]',
            "{}",
            "[" * 100_000,
            "9" * 5_000,
            "NaN",
            '{"data": 5}',
            '"' + "\\ud800" + '"',
        ),
        *(f'["project", "--out={outside}"]', "(?:a+)+$", "1; DROP TABLE jobs", "{0.__class__}", "%s%n"),
    ]


def hostile_requests(outside: Path) -> list[tuple[str, Any]]:
    """Requests whose single values are hostile, of every kind of job."""
    values = [
        "--help",
        f"/{'x' * 5000}",
        str(outside),
        "runs/../../etc",
        5,
        None,
        [],
        {"a": 1},
        "a b",
        "-x",
        "$(x)",
    ]
    return [
        (kind, json.dumps(request | {name: value}))
        for kind, request in REQUESTS.items()
        for name in request
        for value in values
    ]


@pytest.fixture
def place(tiny_models, tiny_data, tmp_path, monkeypatch) -> Iterator[Path]:
    """Folders of a server of the test's own, beside a file that must never be read."""
    base = tmp_path / "server"
    for name in ("runs", "workspace"):
        (base / name).mkdir(parents=True)
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(base / name))
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    monkeypatch.setenv("LUNGVAE_DATA", str(tiny_data.parent))
    monkeypatch.setenv("LUNGVAE_SOURCES", "")
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.log").write_text(SECRET)
    (base / "runs" / "link").symlink_to(outside)
    registry.cache_clear()
    yield base
    registry.cache_clear()


@pytest.fixture
def nothing_outside(monkeypatch) -> list[Any]:
    """Every program that is started and every signal that is sent; none really is."""
    done: list[Any] = []
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *given, **_: done.append(given) or _Started())
    monkeypatch.setattr(jobs.os, "kill", lambda *given: done.append(("kill", *given)))
    return done


class _Started:
    """A process that was not started."""

    pid = 99

    def wait(self) -> int:
        return 0


def insert(table: Table, row: dict[str, Any]) -> int:
    """Write a row past all checks, in a database without its own; gives its number."""
    file = Settings().workspace / "workspace.db"
    with sqlite3.connect(file) as opened:
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        return int(
            opened.execute(
                f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(row.values())
            ).lastrowid
        )


def without_rules() -> None:
    """The database's tables, with every column taking anything."""
    with session(Settings()):
        pass
    with sqlite3.connect(Settings().workspace / "workspace.db") as opened:
        for table in Base.metadata.sorted_tables:
            columns = ["id INTEGER PRIMARY KEY", *(c.name for c in table.columns if c.name != "id")]
            opened.execute(f"DROP TABLE {table.name}")
            opened.execute(f"CREATE TABLE {table.name} ({', '.join(columns)})")


def of_model() -> dict[str, Any]:
    model = registry().load("tiny-gvae")
    return {"data_hash": model.entry.data.content_hash, "table_size": len(model.table)}


def fill(outside: Path, step: int = 1) -> list[int]:
    """A database in which every column of every table has every hostile value, or one in `step` of them.

    Gives the jobs' numbers.
    """
    without_rules()
    numbers = []
    for table in Base.metadata.sorted_tables:
        good = good_job("training") if table.name == "jobs" else GOOD[table.name]
        good = good | (of_model() if table.name == "named_sets" else {})
        for column in table.columns:
            for value in hostile(outside)[::step] if column.name != "id" else []:
                number = insert(table, good | {column.name: value})
                numbers += [number] if table.name == "jobs" else []
    rows = [good_job(kind) | {"request": request} for kind, request in hostile_requests(outside)[::step]]
    numbers += [insert(Base.metadata.tables["jobs"], row) for row in rows]
    return numbers


def run(*arguments: str) -> int:
    """The command line, in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lungvae", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def test_all_tables_are_tried():
    assert set(Base.metadata.tables) == set(GOOD)
    assert set(REQUESTS) == set(KINDS)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.long)])
def test_commands_and_routes_over_hostile_columns(place, tmp_path, nothing_outside, capsys, step):
    numbers = fill(tmp_path / "outside", step)
    assert len(numbers) > 500 // step
    known = Jobs()
    usable = {job.id for job in known.all()}
    refused = known.refused()
    assert len(usable) + len(refused) == len(numbers)
    assert all(reason.startswith("Job ") and len(reason) < 700 and reason.isprintable() for reason in refused)
    for number in numbers:
        for act in (known.get, known.stop, known.resume):
            try:
                job = act(number)
            except UserError:
                continue
            assert SECRET not in known.output(job)
            assert all(str(tmp_path / "outside") not in word for word in job.argv)
            own = places.roots(Settings()).values()
            assert any(Path(job.folder).resolve().is_relative_to(root) for root in own)
            assert Path(job.log).is_relative_to(place.resolve())
    # What was started is this module's keeper with a number, and nothing was signalled.
    for given in nothing_outside:
        assert given[0][1:3] == ["-m", "lungvae_core.serving.jobs.keeper"], given
    assert run("jobs", "list") == 0
    assert run("audit") == 0
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert "\x1b]0;" not in said.out
    model = registry().load("tiny-gvae")
    for kept in sets.sets(Settings(), model):
        try:
            assert all(0 <= row < len(model.table) for row in sets.load(Settings(), model, kept.id))
        except UserError:
            continue
    assert audit.read(Settings())
    client = TestClient(Starlette(routes=routes()))
    assert client.get("/api/health").status_code == 200


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", ["work/train.py", "map/latent_map.py"])
@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.long)])
def test_pages_over_hostile_columns(place, tmp_path, nothing_outside, page, step):
    fill(tmp_path / "outside", step)
    app = AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=240)
    app.run().switch_page(page)
    app.run()
    assert not app.exception
    assert not [each for each in app.error if "fault of the program" in each.value]
    if page == "work/train.py":
        assert len(app.warning) > 1  # which jobs cannot be used, and why; the first is the standing notice


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_row_of_each_kind_is_a_job_whose_command_is_of_its_request(place, kind):
    without_rules()
    number = insert(Base.metadata.tables["jobs"], good_job(kind) | {"argv": '["evil"]', "log": "/etc/passwd"})
    job = Jobs().get(number)
    assert "evil" not in job.argv
    assert job.log == str(place.resolve() / "workspace" / "jobs" / f"{number}.log")


def test_a_log_that_is_a_link_is_not_read(place, tmp_path):
    without_rules()
    number = insert(Base.metadata.tables["jobs"], good_job("training"))
    (place / "workspace" / "jobs").mkdir()
    (place / "workspace" / "jobs" / f"{number}.log").symlink_to(tmp_path / "outside" / "secret.log")
    assert Jobs().output(Jobs().get(number)) == ""


@pytest.mark.parametrize("pid", [1, 0, -1, 2**40, "own"])
def test_a_forged_process_is_never_signalled(place, monkeypatch, pid):
    """Not even where its session is named too, and a lock is held under the job's number."""
    sent = []
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        number = stranger.pid if pid == "own" else pid
        without_rules()
        row = good_job("training") | {"status": "running", "pid": number, "keeper": number}
        job_id = insert(Base.metadata.tables["jobs"], row)
        with monkeypatch.context() as patch, Jobs()._locks.hold(job_id), contextlib.suppress(UserError):
            patch.setattr(jobs.os, "kill", lambda *given: sent.append(given))
            Jobs().stop(job_id)  # a number that no process has is refused
        assert sent == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_whole_paths_of_earlier_versions_are_understood(place, tiny_data):
    without_rules()
    row = good_job("training") | {"folder": str(place / "runs" / "mine")}
    row["request"] = json.dumps(REQUESTS["training"] | {"data": str(tiny_data)})
    job = Jobs().get(insert(Base.metadata.tables["jobs"], row))
    assert f"--data={tiny_data.resolve()}" in job.argv


# ---- backups ---------------------------------------------------------------------------------------


def archive(path: Path, database: bytes, folders: dict[str, str] | None = None, more: str = "") -> Path:
    """A backup whose list and hashes are right, around any database."""
    files = {"workspace/workspace.db": database} | ({more: b"x"} if more else {})
    manifest = {
        "format": 1,
        "version": "0.1.0",
        "created": "2026-01-01",
        "folders": folders or {},
        "files": {name: sha256(content).hexdigest() for name, content in files.items()},
    }
    with tarfile.open(path, "w") as made:
        for name, content in [*files.items(), (backup.MANIFEST, json.dumps(manifest).encode())]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return path


def elsewhere(tmp_path: Path, name: str) -> Settings:
    base = tmp_path / name
    return Settings(base / "models", base / "runs", base / "data", base / "workspace")


def database() -> bytes:
    """The database as one file, as backups have it."""
    file = Settings().workspace / "copy.db"
    file.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(Settings().workspace / "workspace.db")) as opened,
        contextlib.closing(sqlite3.connect(file)) as into,
    ):
        opened.backup(into)
        into.execute("PRAGMA journal_mode=DELETE")
    return file.read_bytes()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_backup_is_refused_or_made_harmless_for_every_hostile_value(place, tmp_path, nothing_outside):
    outside = tmp_path / "outside"
    for table in Base.metadata.sorted_tables:
        good = good_job("training") if table.name == "jobs" else GOOD[table.name]
        good = good | (of_model() if table.name == "named_sets" else {})
        for column in table.columns:
            for number, value in enumerate(hostile(outside)[::3] if column.name != "id" else []):
                without_rules()
                insert(table, good | {column.name: value})
                new = elsewhere(tmp_path, f"{table.name}-{column.name}-{number}")
                try:
                    backup.restore(archive(tmp_path / "b.tar", database()), new)
                except UserError:
                    left = new.workspace.exists()
                    assert not left
                    continue
                for job in Jobs(new).all():
                    assert Path(job.folder).is_relative_to(new.runs.resolve())
                    assert str(outside) not in " ".join(job.argv)
                audit.read(new)
    assert nothing_outside == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON audit BEGIN DELETE FROM jobs; END",
        "CREATE VIEW evil AS SELECT 1",
        "CREATE VIRTUAL TABLE evil USING fts5(x)",
    ],
)
def test_a_backup_with_more_than_tables_is_refused(place, tmp_path, statement):
    without_rules()
    with sqlite3.connect(Settings().workspace / "workspace.db") as opened:
        opened.execute(statement)
    new = elsewhere(tmp_path, "new")
    with pytest.raises(UserError, match="more than tables"):
        backup.restore(archive(tmp_path / "b.tar", database()), new)
    with pytest.raises(UserError, match="more than tables"):
        backup.check(tmp_path / "b.tar", new)
    assert not new.workspace.exists()


@pytest.mark.parametrize(
    "name", ["workspace.db-wal", "workspace.db-journal", "jobs/1.lock", ".database.lock", "cache/x"]
)
def test_a_backup_with_files_that_none_has_is_refused(place, tmp_path, name):
    without_rules()
    new = elsewhere(tmp_path, "new")
    with pytest.raises(UserError, match="no file of a backup"):
        backup.restore(archive(tmp_path / "b.tar", database(), more=f"workspace/{name}"), new)
    assert not new.workspace.exists()


def test_jobs_of_a_backup_name_the_new_folders_and_others_are_left_out(place, tmp_path, tiny_data):
    without_rules()
    table = Base.metadata.tables["jobs"]
    row = good_job("training") | {"folder": "/old/runs/mine"}
    insert(table, row | {"request": json.dumps(REQUESTS["training"] | {"data": "/old/data/tiny"})})
    insert(table, row | {"request": json.dumps(REQUESTS["training"] | {"data": "/etc/passwd"})})
    new = elsewhere(tmp_path, "new")
    folders = {"runs": "/old/runs", "data": "/old/data", "workspace": "/old/workspace"}
    made = backup.restore(archive(tmp_path / "b.tar", database(), folders), new)
    (job,) = Jobs(new).all()
    assert f"--data={new.data.resolve() / 'tiny'}" in job.argv
    assert job.folder == str(new.runs.resolve() / "mine")
    assert len(made.left_out) == 1
    assert "/etc/passwd" in made.left_out[0]
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret.log"]
