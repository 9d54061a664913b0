"""`lungvae audit`, `backup`, `restore` and `tidy`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lungvae_core.cli import main
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "models", tmp_path / "runs", tmp_path / "data", tmp_path / "workspace")


def test_the_command_prints_it(settings, monkeypatch, capsys):
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(settings.workspace))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lungvae", "audit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, capsys.readouterr()

    assert "Nothing is on record" in run()[1].out
    audit.record(settings, audit.SIGN_IN, "viewer", who="a@b.org")
    assert "sign-in" in run("--who", "a@b.org")[1].out
    assert '"who": "a@b.org"' in run("--json")[1].out
    status, said = run("--what", "dreams")
    assert status == 2
    assert "Kinds:" in said.err


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("models", "runs", "data", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / "server" / name))
    monkeypatch.delenv("LUNGVAE_DATABASE", raising=False)
    (tmp_path / "server" / "runs" / "own").mkdir(parents=True)
    (tmp_path / "server" / "runs" / "own" / "notes.txt").write_text("a run's")
    return tmp_path


def test_a_backup_is_checked_and_restored(
    printed, refused, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = folders / "backup.tar"
    assert printed("backup", "--out", archive).startswith(f"{archive}: ")
    refused("", "backup", "--out", archive)  # it exists
    assert f"{archive} is whole: " in printed("restore", archive, "--check")
    refused("", "restore", archive)  # the folders are not empty
    for name in ("runs", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(folders / "new" / name))
    assert "restored into" in printed("restore", archive)
    assert (folders / "new" / "runs" / "own" / "notes.txt").read_text() == "a run's"


def test_a_damaged_backup_is_reported(run, folders: Path) -> None:
    archive = folders / "backup.tar"
    run("backup", "--out", archive)
    archive.write_bytes(archive.read_bytes()[:200])
    code, out, err = run("restore", archive, "--check")
    assert (code, out) == (2, "")
    assert "backup.tar" in err
    assert "Traceback" not in err


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """What a process that was killed while it wrote a folder left behind."""
    code = (
        "import os; from pathlib import Path; from lungvae_core.files import atomic_folder\n"
        f"with atomic_folder(Path({str(tmp_path / 'killed')!r})): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    [folder] = tmp_path.glob(".killed.*.tmp")
    return folder


def test_nothing_is_removed_without_yes(printed, left: Path) -> None:
    out = printed("tidy", left.parent)
    assert str(left) in out
    assert out.endswith("Nothing was changed. Add --yes to do it.\n")
    assert left.is_dir()
    assert str(left) in printed("tidy", left.parent, "--yes")
    assert not left.exists()
    assert printed("tidy", left.parent) == "Nothing is left over.\n"
