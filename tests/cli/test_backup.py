"""`lungvae backup` and `lungvae restore`: there and back, and never over what is there."""

from __future__ import annotations

from pathlib import Path

import pytest


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


def test_a_damaged_backup_is_told(run, folders: Path) -> None:
    archive = folders / "backup.tar"
    run("backup", "--out", archive)
    archive.write_bytes(archive.read_bytes()[:200])
    code, out, err = run("restore", archive, "--check")
    assert (code, out) == (2, "")
    assert "backup.tar" in err
    assert "Traceback" not in err
