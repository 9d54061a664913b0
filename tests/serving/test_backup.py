"""Backing up a workspace that is in use, and bringing it back somewhere else."""

from __future__ import annotations

import io
import json
import sys
import tarfile

import pytest

from lungvae_core.cli import main
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock
from lungvae_core.serving import audit, backup
from lungvae_core.serving.jobs import FAILED, Jobs
from lungvae_core.serving.settings import Settings


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
    Jobs(settings).start_phantom("made", 3)
    return settings


def test_it_comes_back_elsewhere_with_jobs_that_name_the_new_folders(used, tmp_path):
    made = backup.back_up(used, tmp_path / "b.tar")
    assert made.left_out == []
    assert backup.check(tmp_path / "b.tar").files == made.files
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
            backup.check(path)
    assert not (tmp_path / "evil").exists()


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
