"""A registry of copies of the tiny models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def registry(tiny_models: Path, tmp_path: Path) -> Registry:
    shutil.copytree(tiny_models, tmp_path / "runs")
    return Registry(Settings(models=tmp_path / "no", runs=tmp_path / "runs", data=tmp_path / "no"))
