"""Backing up a workspace that is in use, and bringing it back somewhere else."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from lungvae_core.cli import main
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock
from lungvae_core.serving.export import backup
from lungvae_core.serving.jobs.kinds import Phantom
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import FAILED
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.settings import Settings


def folders(base) -> Settings:
    return Settings(base / "models", base / "runs", base / "data", base / "workspace")


@pytest.fixture
def used(tmp_path, monkeypatch) -> Settings:
    """A server's folders after some use: a run, an evaluation, a data set, a job whose process is gone."""
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    settings = folders(tmp_path / "old")
    for path in ("runs/one/config.json", "workspace/evaluations/e/report.json", "data/d/dataset.json"):
        file = tmp_path / "old" / path
        file.parent.mkdir(parents=True)
        file.write_text(path)
    (settings.runs / "one" / ".model.safetensors.x.tmp").write_text("half")
    (settings.workspace / "cache").mkdir()
    (settings.workspace / "cache" / "large").write_text("x")
    audit.record(settings, audit.SIGN_IN, who="a@b.org")
    monkeypatch.setattr(Jobs, "_launch", lambda self, job_id, _lock: (self._folder / f"{job_id}.log").touch())
    Jobs(settings).start(Phantom.of, "made", 3)
    return settings


def test_it_comes_back_elsewhere_with_jobs_that_name_the_new_folders(used, tmp_path):
    made = backup.back_up(used, tmp_path / "b.tar")
    assert made.left_out == []
    assert backup.check(tmp_path / "b.tar", used).files == made.files
    new = folders(tmp_path / "new")
    backup.restore(tmp_path / "b.tar", new)
    assert (new.runs / "one" / "config.json").read_text() == "runs/one/config.json"
    assert sorted(path.name for path in (new.runs / "one").iterdir()) == ["config.json"]
    assert (new.workspace / "evaluations" / "e" / "report.json").exists()
    assert not (new.workspace / "cache").exists()
    assert not new.data.exists()
    assert audit.read(new, what=audit.SIGN_IN)[0].who == "a@b.org"
    job = Jobs(new).all()[0]
    assert job.status == FAILED  # its process ended with the old server
    assert job.folder == str(new.data / "made")
    assert f"--out={new.data / 'made'}" in job.argv
    assert job.log == str(new.workspace / "jobs" / f"{job.id}.log")


def test_data_sets_come_along_when_asked(used, tmp_path):
    backup.back_up(used, tmp_path / "b.tar", with_data=True)
    new = folders(tmp_path / "new")
    backup.restore(tmp_path / "b.tar", new)
    assert (new.data / "d" / "dataset.json").exists()


def test_a_folder_being_written_is_left_out_and_named(used, tmp_path):
    with folder_lock(used.runs / "one", what="run"):
        made = backup.back_up(used, tmp_path / "b.tar")
    assert len(made.left_out) == 1
    assert "runs/one" in made.left_out[0]
    with tarfile.open(tmp_path / "b.tar") as archive:
        assert not [name for name in archive.getnames() if name.startswith("runs/")]


def test_nothing_is_written_over(used, tmp_path):
    backup.back_up(used, tmp_path / "b.tar")
    with pytest.raises(UserError, match="already exists"):
        backup.back_up(used, tmp_path / "b.tar")
    with pytest.raises(UserError, match="not empty"):
        backup.restore(tmp_path / "b.tar", used)


def _changed(path, out, *, damage=None, add=None, manifest=None):
    """The archive with one file's content, another member, or its list changed."""
    with tarfile.open(path) as old, tarfile.open(out, "w") as new:
        for member in old:
            content = old.extractfile(member).read()
            if member.name == backup.MANIFEST:
                if add is not None:
                    new.addfile(*add)
                if manifest is not None:
                    content = manifest(content)
            elif member.name == damage:
                content = b"#" * len(content)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return out


def test_damaged_and_hostile_archives_leave_nothing_behind(used, tmp_path):
    good = tmp_path / "b.tar"
    backup.back_up(used, good)
    whole = good.read_bytes()

    def listing(name):
        def change(content):
            value = json.loads(content)
            value["files"][name] = "0" * 64
            return json.dumps(value).encode()

        return change

    def member(name, kind=tarfile.REGTYPE, link=""):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        return info, None

    bad = {
        "damaged": _changed(good, tmp_path / "1.tar", damage="runs/one/config.json"),
        "unlisted": _changed(good, tmp_path / "2.tar", add=member("runs/x/y")),
        "up": _changed(
            good, tmp_path / "3.tar", add=member("runs/../../evil"), manifest=listing("runs/../../evil")
        ),
        "absolute": _changed(
            good, tmp_path / "4.tar", add=member("/tmp/evil"), manifest=listing("/tmp/evil")
        ),
        "link": _changed(
            good,
            tmp_path / "5.tar",
            add=member("runs/one/link", tarfile.SYMTYPE, "/etc/passwd"),
            manifest=listing("runs/one/link"),
        ),
    }
    for name, cut in (("cut", len(whole) // 2), ("empty", 0), ("noise", None)):
        bad[name] = tmp_path / f"{name}.tar"
        bad[name].write_bytes(whole[:cut] if cut is not None else b"noise" * 1000)
    for name, path in bad.items():
        new = folders(tmp_path / f"new-{name}")
        with pytest.raises(UserError):
            backup.restore(path, new)
        assert not new.runs.exists(), name
        assert not new.workspace.exists(), name
        with pytest.raises(UserError):
            backup.check(path, new)
    assert not (tmp_path / "evil").exists()


def _archive(*members: tuple[tarfile.TarInfo, bytes], manifest: object = None) -> bytes:
    """A backup of these members, whose list is theirs unless another is given."""
    files = {info.name: hashlib.sha256(content).hexdigest() for info, content in members}
    listed = {"format": 1, "version": "1", "created": "now", "folders": {}, "files": files}
    text = json.dumps(listed if manifest is None else manifest).encode()
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        for info, content in (*members, _member(backup.MANIFEST, text)):
            archive.addfile(info, io.BytesIO(content))
    return into.getvalue()


def _member(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **headers: str
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.pax_headers = kind, "/etc/passwd", len(content), headers
    return info, content


def _raw(kind: bytes, size: int) -> bytes:
    """A header alone, which claims content of that size."""
    info = tarfile.TarInfo("runs/one/x")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "runs/one/x"}
ARCHIVES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "of zeros": lambda: bytes(100_000),
    "packed": lambda: gzip.compress(_archive(_member("runs/one/x"))),
    "a zip": lambda: b"PK\x03\x04" + bytes(500),
    "deep": lambda: _archive(_member("runs/" + "a/" * 1_500 + "x")),
    "of a long name": lambda: _archive(_member("runs/" + "a" * 300)),
    "of a long name of few letters": lambda: _archive(_member("runs/" + "肺" * 100)),
    "of a long path": lambda: _archive(_member("runs/" + ("b" * 200 + "/") * 30 + "x")),
    "absolute": lambda: _archive(_member("/tmp/evil")),
    "leading out": lambda: _archive(_member("runs/../../evil")),
    "of this folder": lambda: _archive(_member("runs/./x")),
    "beside the folders": lambda: _archive(_member("models/x")),
    "a part alone": lambda: _archive(_member("runs")),
    "a link": lambda: _archive(_member("runs/one/x", b"", tarfile.SYMTYPE)),
    "a hard link": lambda: _archive(_member("runs/one/x", b"", tarfile.LNKTYPE)),
    "a pipe": lambda: _archive(_member("runs/one/x", b"", tarfile.FIFOTYPE)),
    "a device": lambda: _archive(_member("runs/one/x", b"", tarfile.CHRTYPE)),
    "a folder": lambda: _archive(_member("runs/one/x", b"", tarfile.DIRTYPE)),
    "a name twice": lambda: _archive(_member("runs/one/x"), _member("runs/one/x")),
    "a file and a folder": lambda: _archive(_member("runs/one"), _member("runs/one/x")),
    "sparse": lambda: _archive(
        _member("runs/one/x", b"1\n0\n0\n" + bytes(506), **SPARSE, **{"GNU.sparse.realsize": str(2**50)})
    ),
    "a size below zero": lambda: _archive(_member("runs/one/x", size="-1024")),
    "a size beyond the end": lambda: _archive(_member("runs/one/x", size=str(2**60))),
    "a size that is none": lambda: _archive(_member("runs/one/x", size="many")),
    "a header of a terabyte": lambda: _raw(tarfile.XHDTYPE, 2**40) + bytes(10_000),
    "a long name of a terabyte": lambda: _raw(tarfile.GNUTYPE_LONGNAME, 2**40) + bytes(10_000),
    "a negative header": lambda: _raw(tarfile.REGTYPE, -512) + bytes(10_000),
    "no list": lambda: _archive(manifest=[]),
    "a list of numbers": lambda: _archive(_member("runs/one/x"), manifest={"files": {"runs/one/x": 7}}),
    "a deep list": lambda: _archive(manifest=json.loads("[" * 190 + "]" * 190)),
    "of a later format": lambda: _archive(
        manifest={"format": 99, "version": "9", "created": "", "folders": {}, "files": {}}
    ),
    "a database that is none": lambda: _archive(_member("workspace/workspace.db", b"SQLite format 3\0" * 99)),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_of_another_kind_is_reported_and_nothing_is_written(kind: str, tmp_path: Path):
    archive = tmp_path / "b.tar"
    archive.write_bytes(ARCHIVES[kind]())
    new = folders(tmp_path / "new")
    for read in (backup.restore, backup.check):
        tracemalloc.start()
        try:
            with pytest.raises(UserError) as refused:
                read(archive, new)
            assert tracemalloc.get_traced_memory()[1] < 30_000_000
        finally:
            tracemalloc.stop()
        assert len(str(refused.value)) < 700
        assert str(refused.value).isprintable()
        assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != archive]


@pytest.mark.timeout(60)
def test_what_is_no_file_is_no_archive(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    for name in ("pipe", "circle", "absent", "a" * 300, ""):
        with pytest.raises(UserError):
            backup.restore(tmp_path / name, folders(tmp_path / "new"))


def test_a_file_that_could_not_be_restored_is_left_out_and_named(used, tmp_path):
    deep = used.runs.joinpath("one", *["d"] * 60)
    deep.mkdir(parents=True)
    (deep / "x").write_text("x")
    made = backup.back_up(used, tmp_path / "b.tar")
    assert [each for each in made.left_out if "too long or deep" in each]
    backup.restore(tmp_path / "b.tar", folders(tmp_path / "new"))


def test_the_commands(used, tmp_path, monkeypatch, capsys):
    def run(settings, *arguments):
        for name in ("models", "runs", "data", "workspace"):
            monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(getattr(settings, name)))
        monkeypatch.setattr(sys, "argv", ["lungvae", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr()

    file = str(tmp_path / "b.tar")
    assert run(used, "backup", "--out", file)[0] == 0
    assert "is whole" in run(used, "restore", file, "--check")[1].out
    status, said = run(used, "restore", file)
    assert status == 2
    assert "not empty" in said.err
    new = folders(tmp_path / "new")
    assert run(new, "restore", file)[0] == 0
    assert (new.runs / "one" / "config.json").exists()
