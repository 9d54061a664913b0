"""Runs of earlier versions keep opening, and give what they gave: tests/fixtures/run-0.1 is never made again.

It was written by the first version with shipped models (2026-11-23), on the discs of tests/conftest.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.workspace.settings import Settings
from tests.conftest import ROOT, blobs

KEPT = ROOT / "tests" / "fixtures" / "run-0.1"


@pytest.fixture(params=["gvae", "dirvae"])
def model(request, tmp_path: Path) -> LoadedModel:
    return Registry(Settings(models=KEPT, runs=tmp_path, data=tmp_path)).load(request.param)


def test_an_old_run_gives_what_it_gave(model):
    expected = json.loads((KEPT / "expected.json").read_text())[model.entry.name]
    np.testing.assert_allclose(model.codes[:3], expected["codes"], atol=1e-5)
    pixels = model.decode(model.codes[:3])[:, ::16, ::16]
    np.testing.assert_allclose(pixels, expected["pixels"], atol=1e-4)
    np.testing.assert_allclose(model.classifier.logits(model.codes[:5]), expected["logits"], atol=1e-4)
    encoded = model.vae.encode_hu(blobs(120)[0][:2])
    np.testing.assert_allclose(encoded, expected["encoded"], atol=1e-3)


def test_what_an_old_run_lacks_is_left_out_not_fatal(model):
    assert model.band(model.codes[:1], patient=None) is None
    assert model.measured is None
    assert model.map("nodule", "pca").shape == (24, 2)
    assert model.predict(blobs(5)[0][0]).band is None
    assert model.familiarity(model.codes[:2]).shape == (2,)


def test_a_newer_format_names_the_version_that_is_needed(tmp_path: Path):
    folder = shutil.copytree(KEPT / "gvae", tmp_path / "newer")
    config = json.loads((folder / "config.json").read_text())
    config["format"], config["versions"]["lungvae"] = 99, "7.3.0"
    config["config"]["model"]["fresh_setting"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    registry = Registry(Settings(models=tmp_path / "no", runs=tmp_path, data=tmp_path))
    with pytest.raises(UserError, match=r"7\.3\.0"):
        registry.load(folder.name)
    assert "7.3.0" in next(iter(registry.broken().values()))
