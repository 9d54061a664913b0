from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.files import atomic_folder, atomic_path, in_the_making, is_held, offered, write_json


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_an_ordinary_file_is_replaced(tmp_path: Path, kind: str):
    target = tmp_path / "out"
    if kind == "folder":
        target.mkdir()
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target = Path("/dev/full")
    before = target.lstat().st_mode
    with pytest.raises(UserError, match="not an ordinary file"):
        write_json(target, {})
    assert target.lstat().st_mode == before


@pytest.mark.parametrize(
    "name", [".ship.abcdefgh.tmp", ".x", "run.deleted", "run.tmp", "run.old", "run.preparing"]
)
def test_what_is_in_the_making_is_not_offered(tmp_path: Path, name: str):
    for folder in (name, "whole"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").touch()
    assert in_the_making(tmp_path / name)
    assert offered(tmp_path, "*/config.json") == [tmp_path / "whole" / "config.json"]
    assert offered(tmp_path / "absent", "*") == []
    # The folder itself that is looked through may have any name.
    assert offered(tmp_path / name, "*.json") == [tmp_path / name / "config.json"]


def test_what_is_being_written_is_held_until_its_process_ends(tmp_path: Path):
    with atomic_path(tmp_path / "file") as one, atomic_folder(tmp_path / "folder") as two:
        assert is_held(one)
        assert is_held(two)
    code = (
        "import os, sys; from pathlib import Path; from lungvae_core.files import *\n"
        f"with atomic_folder(Path({str(tmp_path / 'killed')!r})): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    [left] = tmp_path.glob(".killed.*.tmp")
    assert not is_held(left)


def test_a_folder_is_put_back_when_the_new_one_cannot_take_its_place(tmp_path: Path, monkeypatch):
    target = tmp_path / "set"
    target.mkdir()
    (target / "old").touch()

    def no(self: Path, to: Path, rename=Path.rename) -> Path:
        if self.name.endswith(".tmp"):
            raise OSError(errno.EIO, "broken")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", no)
    with pytest.raises(UserError, match="broken"), atomic_folder(target, overwrite=True):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "old"]
