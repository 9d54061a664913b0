"""Maps with one's own parameters: made beside the server, kept, stopped."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.maps import custom_maps
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
from tests.conftest import wait


@pytest.fixture
def model(tiny_models, tmp_path):
    settings = Settings(models=tiny_models, runs=tmp_path, data=tmp_path, workspace=tmp_path / "workspace")
    return Registry(settings).load("tiny-dirvae")


def made(model, key):
    """The map's status once it is no longer being made."""
    wait(lambda: custom_maps.status(model, key).state != custom_maps.MAKING, seconds=90)
    return custom_maps.status(model, key)


@pytest.mark.long
def test_a_map_is_made_once_and_kept(model):
    asked = custom_maps.request(model, "nodule", "tsne", 2, {"perplexity": 5})
    assert asked.state == custom_maps.MAKING
    assert "waiting" in asked.progress or "made for" in asked.progress
    assert custom_maps.request(model, "nodule", "tsne", 2, {"perplexity": 5.0}).key == asked.key
    assert made(model, asked.key).state == custom_maps.READY
    found = custom_maps.read(model, "nodule", asked.key)
    assert found.shape == (24, 2)
    assert np.abs(found).max() == pytest.approx(1)
    assert custom_maps.request(model, "nodule", "tsne", 2, {"perplexity": 5}).state == custom_maps.READY
    with pytest.raises(UserError, match="other lesions"):
        custom_maps.read(model, "slice", asked.key)


@pytest.mark.slow
def test_a_map_that_is_stopped_leaves_nothing(model):
    asked = custom_maps.request(model, "slice", "umap", 3, {"neighbours": 5})
    custom_maps.stop(model, asked.key)
    assert made(model, asked.key).state == custom_maps.ABSENT
    with pytest.raises(UserError, match="not made"):
        custom_maps.read(model, "slice", asked.key)


@pytest.mark.long
@pytest.mark.slow
def test_a_failure_is_put_in_words(tiny_models, tmp_path):
    copied = shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "models" / "tiny-gvae").parent
    folders = {"models": copied, "runs": tmp_path / "runs", "data": tmp_path / "data"}
    model = Registry(Settings(**folders, workspace=tmp_path / "workspace")).load("tiny-gvae")
    assert len(model.codes)
    (copied / "tiny-gvae" / "latents.parquet").write_bytes(b"PAR1")
    asked = custom_maps.request(model, "nodule", "tsne", 2, {})
    found = made(model, asked.key)
    assert found.state == custom_maps.FAILED
    assert "damaged" in found.error
    (job,) = Jobs(model.settings).all()
    assert (job.kind, job.name, job.status) == ("map", asked.key, "failed")
    shutil.copy(tiny_models / "tiny-gvae" / "latents.parquet", copied / "tiny-gvae")
    assert custom_maps.request(model, "nodule", "tsne", 2, {}).state == custom_maps.MAKING
    assert made(model, asked.key).state == custom_maps.READY


@pytest.mark.parametrize(
    ("method", "dims", "parameters"),
    [
        ("isomap", 2, {}),
        ("umap", 4, {}),
        ("umap", 2, {"neighbours": 1}),
        ("umap", 2, {"neighbours": True}),
        ("umap", 2, {"metric": "taxicab"}),
        ("tsne", 2, {"perplexity": float("nan")}),
        ("pca", 2, {"seed": 3}),
    ],
)
def test_impossible_maps_are_refused(model, method, dims, parameters):
    with pytest.raises(UserError):
        custom_maps.request(model, "slice", method, dims, parameters)


@pytest.mark.parametrize("key", ["", "../../secret", "0" * 15, "g" * 16])
def test_a_key_from_outside_is_no_path(model, key):
    with pytest.raises(UserError):
        custom_maps.status(model, key)
