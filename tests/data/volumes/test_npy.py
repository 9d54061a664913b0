"""Arrays on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.volumes.npy import load_array
from lungvae_core.errors import UserError


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
