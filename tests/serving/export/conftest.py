"""The tiny models on a machine with their slices."""

from __future__ import annotations

import pytest

from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture(scope="module", params=["tiny-gvae", "tiny-dirvae"])
def model(request, tiny_models, tiny_data, tmp_path_factory) -> LoadedModel:
    nowhere = tmp_path_factory.mktemp("nowhere")
    settings = Settings(models=tiny_models, runs=nowhere, data=tiny_data.parent)
    return Registry(settings).load(request.param)
