"""Arrays that are written part by part, on disks that may be full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.array_file import ArrayFile, write_array
from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path


def test_an_array_is_written_part_by_part_and_read_as_numpys(tmp_path: Path):
    whole = np.random.default_rng(0).integers(-1000, 1000, (50, 4, 4)).astype(np.int16)
    with ArrayFile(tmp_path / "a.npy", np.int16, whole.shape) as file:
        file[:] = 7
        file[3] = whole[3]
        file[10:20] = whole[10:20].astype(np.float64)
        rows = np.array([49, 5, 6, 30])
        file[rows] = whole[rows]
        file[np.array([], int)] = 1
    expected = np.full_like(whole, 7)
    for part in (3, slice(10, 20), rows):
        expected[part] = whole[part]
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), expected)
    for array in (whole, np.zeros((0, 3), np.float32), np.asfortranarray(whole), whole[::2]):
        write_array(tmp_path / "b.npy", array)
        np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), array)


def write_rows(target: Path) -> None:
    """Six rows in six writes."""
    with atomic_path(target) as temporary, ArrayFile(temporary, np.int16, (6, 2)) as file:
        for row in range(6):
            file[row] = row


@pytest.mark.parametrize("at", range(6))
def test_a_disk_that_is_full_at_any_write_leaves_nothing(tmp_path: Path, monkeypatch, at: int):
    """ENOSPC at the n-th write of an array, wherever that is, is a sentence, and what was there stays."""
    target = tmp_path / "a.npy"
    write_array(target, np.zeros(3))
    before, written = target.read_bytes(), 0

    def full(self: ArrayFile, values: np.ndarray, write=ArrayFile._write) -> None:
        nonlocal written
        if written == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += 1
        write(self, values)

    monkeypatch.setattr(ArrayFile, "_write", full)
    with pytest.raises(UserError, match="No space left"):
        write_rows(target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_where_space_cannot_be_reserved_it_is_written_all_the_same(tmp_path: Path, monkeypatch):
    def no(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", no)
    write_array(tmp_path / "a.npy", np.arange(5))
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2, 3, 4]


def test_nothing_writes_through_a_memory_map():
    """A full disk ends a process that writes through one. Only `r` is a map's mode in the product."""
    root = Path(__file__).resolve().parents[1]
    for path in [*(root / "lungvae_core").rglob("*.py"), *(root / "pages").rglob("*.py")]:
        text = path.read_text(encoding="utf-8").replace('open_memmap(path, mode="r")', "")
        for forbidden in (
            "open_memmap",
            "np.memmap(",
            'mmap_mode="r+"',
            'mmap_mode="w',
            ".tofile(",
            "np.save(",
        ):
            assert forbidden not in text, f"{path}: {forbidden}; use array_file"
