"""Strips: a dimension's whole range, drawn when a browser asks for what a page offered."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.serving.walks.render import strip_png
from lungvae_core.serving.walks.strips import Strip, offer, routes
from lungvae_core.serving.workspace.settings import Settings

FULL = 0.25


@pytest.fixture(scope="module")
def model(tiny_models, tmp_path_factory) -> LoadedModel:
    nowhere = tmp_path_factory.mktemp("nowhere")
    return Registry(Settings(models=tiny_models, runs=nowhere, data=nowhere)).load("tiny-gvae")


def strip(model: LoadedModel, start: str = "a lesion") -> Strip:
    values = np.linspace(-2, 2, 5, dtype=np.float32)
    return Strip(start, 1, values, model.latent.path(model.codes[0], 1, values), model.codes[0], None)


def test_the_picture_is_that_of_the_walk(model):
    client = TestClient(Starlette(routes=routes(lambda: SimpleNamespace(load=lambda name: model))))
    answer = client.get(offer(model, strip(model), difference_full=FULL))
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Cache-Control"] == "no-store"
    walk = strip(model).walk(model, difference_full=FULL)
    np.testing.assert_allclose(walk.images, model.decode(strip(model).codes), atol=1e-6)
    expected = Image.open(io.BytesIO(strip_png(walk)))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), np.asarray(expected))


def test_what_was_not_offered_is_refused_in_a_sentence(model):
    client = TestClient(Starlette(routes=routes(lambda: SimpleNamespace(load=lambda name: model))))
    answer = client.get(f"/api/models/{model.entry.name}/strips/{'0' * 64}.png")
    assert answer.status_code == 404
    assert "Reload the page" in answer.json()["error"]


def test_equal_strips_have_one_address_and_others_another(model):
    first = offer(model, strip(model), difference_full=FULL)
    assert offer(model, strip(model), difference_full=FULL) == first
    assert offer(model, strip(model, "<another & place>"), difference_full=FULL) != first
    assert offer(model, strip(model), difference_full=0.5) != first
