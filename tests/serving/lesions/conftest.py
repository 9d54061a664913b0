"""Each tiny model on a machine with its slices."""

from __future__ import annotations

import pytest

from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture(scope="module", params=["tiny-gvae", "tiny-dirvae"])
def model(request, tiny_models, tiny_data, tmp_path_factory):
    base = tmp_path_factory.mktemp("selection")
    settings = Settings(models=tiny_models, runs=base, data=tiny_data.parent, workspace=base / "workspace")
    return Registry(settings).load(request.param)
