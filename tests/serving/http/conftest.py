"""The core's routes on the tiny models."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core.serving.http.routes import registry, routes


@pytest.fixture
def client(tiny_models, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    monkeypatch.setenv("LUNGVAE_RUNS", str(tmp_path))
    registry.cache_clear()
    yield TestClient(Starlette(routes=routes()), base_url="http://testserver")
    registry.cache_clear()
