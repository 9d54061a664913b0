"""Fixtures shared by the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def lidc() -> Path:
    """The folder of real LIDC slices and DICOM that LUNGVAE_LIDC names; skips where there is none."""
    folder = os.environ.get("LUNGVAE_LIDC")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real LIDC data: set LUNGVAE_LIDC to its folder")
    return Path(folder)
