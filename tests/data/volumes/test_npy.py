"""Arrays on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.series import read_series
from lungvae_core.data.volumes.npy import load_array
from lungvae_core.errors import UserError
from tests.made_volumes import npy


def test_an_array_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy"), [[0, 1, 2], [3, 4, 5]])


def test_what_is_no_npy_is_refused_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as stream:
        np.savez(stream, np.arange(6))
    with pytest.raises(UserError, match="not a readable npy array"):
        load_array(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="not a readable npy array"):
        load_array(path)


def test_an_array_of_arrays_gets_a_sentence():
    content = npy(np.zeros((32, 64), np.int16)).replace(b"'<i2'", b"'4i2'")
    with pytest.raises(UserError, match="not a readable npy array"):
        read_series([("a.npy", content + bytes(3 * 2 * 32 * 64))])
