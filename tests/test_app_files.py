"""The places of app.py and the shipped models, in a checkout and in an installed wheel."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from lungvae_core import app_files
from lungvae_core.data.parquet import read_parquet
from lungvae_core.explore.maps import DIMS, METHODS, UNITS, columns
from lungvae_core.vae.config import PRESETS
from tests.conftest import ROOT


def test_in_a_checkout_they_lie_beside_the_package():
    assert app_files.ROOT == ROOT
    assert app_files.FRONT_DOOR.is_file()
    assert (app_files.SHIPPED_MODELS / "gvae" / "config.json").is_file()


def test_in_a_wheel_they_lie_in_the_package(tmp_path: Path):
    package = tmp_path / "site-packages" / "lungvae_core"
    (package / "_app").mkdir(parents=True)
    copy = shutil.copy(app_files.__file__, package)
    spec = importlib.util.spec_from_file_location("installed_app_files", copy)
    assert spec is not None
    assert spec.loader is not None
    installed = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installed)
    assert package / "_app" / "app.py" == installed.FRONT_DOOR
    assert package / "_app" / "models" == installed.SHIPPED_MODELS


MB = 10**6
FILES = {
    "README.md",
    *(f"{name}.safetensors" for name in ("model", "classifier", "attention", "ensemble", "folds")),
    *(
        f"{name}.json"
        for name in ("config", "evaluation", "measured", "directions", "clusters", "disentanglement")
    ),
    *("metrics.jsonl", "latents.parquet", "fingerprints.parquet", "map-slice.parquet", "map-nodule.parquet"),
}


MODELS = sorted(each.parent.name for each in app_files.SHIPPED_MODELS.glob("*/config.json"))


def test_four_models_ship() -> None:
    assert MODELS == ["dirvae", "dirvae-guided", "gvae", "gvae-guided"]


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_has_all_that_the_pages_show(name: str) -> None:
    folder = app_files.SHIPPED_MODELS / name
    guided = {"reader.safetensors"} if PRESETS[name].model.rating_dimensions else set()
    assert {each.name for each in folder.iterdir()} == FILES | guided
    for unit in UNITS:
        there = set(read_parquet(folder / f"map-{unit}.parquet").columns)
        for method in METHODS:
            for dims in DIMS:
                assert set(columns(method, dims)) <= there, (unit, method, dims)


def test_the_shipped_models_are_small() -> None:
    sizes = [each.stat().st_size for each in app_files.SHIPPED_MODELS.rglob("*") if each.is_file()]
    assert max(sizes) < 16 * MB
    assert sum(sizes) < 80 * MB
