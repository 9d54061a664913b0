"""`lungvae tidy`: it lists what killed commands left behind, and removes it when it is told to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


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
