"""The tiny models on a machine with slices and on one without, as what serves them sees them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lungvae_core.files import read_json, write_json
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.workspace.settings import Settings

NAMES = ["tiny-gvae", "tiny-dirvae"]


@pytest.fixture(scope="module")
def with_data(tiny_models: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    base = tmp_path_factory.mktemp("with-data")
    return Registry(
        Settings(models=tiny_models, runs=base, data=tiny_data.parent, workspace=base / "workspace")
    )


@pytest.fixture(scope="module")
def without_data(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The same models on a machine that has no slices, as shipped models are."""
    base = tmp_path_factory.mktemp("without-data")
    for name in NAMES:
        shutil.copytree(tiny_models / name, base / "models" / name)
        config = base / "models" / name / "config.json"
        write_json(config, {**read_json(config, what=""), "data_folder": ""})
    return Registry(
        Settings(models=base / "models", runs=base, data=base / "nothing", workspace=base / "workspace")
    )


@pytest.fixture(scope="module", params=NAMES)
def model(
    request: pytest.FixtureRequest, tiny_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> LoadedModel:
    """Each tiny model, without data."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    return Registry(Settings(models=tiny_models, runs=nowhere, data=nowhere)).load(request.param)
