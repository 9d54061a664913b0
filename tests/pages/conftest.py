"""The pages on tiny models and data, with folders of the test's own for all else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lungvae_core.serving.routes import registry


@pytest.fixture
def models(
    tiny_models: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of the two tiny models, which the pages then find."""
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    monkeypatch.setenv("LUNGVAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LUNGVAE_DATA", str(tiny_data.parent))
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    registry.cache_clear()
    yield tiny_models
    registry.cache_clear()
