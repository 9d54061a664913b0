"""The places of app.py and the shipped models, in a checkout and in an installed wheel."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from lungvae_core import app_files
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
