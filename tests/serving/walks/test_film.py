"""Films: each frame decoded, scored, measured, and told where it lies far from the lesions."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core.serving.walks.film import in_words, make_film, offer, routes


def test_a_film_is_what_the_model_says_of_each_code(model):
    codes = model.codes[:4]
    film = make_film(model, codes, patient=None)
    np.testing.assert_allclose(film.images, model.decode(codes), atol=1e-6)
    np.testing.assert_allclose(film.scores, model.score(codes, patient=None), atol=1e-6)
    np.testing.assert_allclose(film.bands, model.band(codes, patient=None), atol=1e-6)
    assert all(len(values) == 4 for values in film.measured.values())
    assert len(film.measured) == 3
    assert make_film(model, codes.copy(), patient=None) is film


def test_far_from_the_lesions_is_said(model):
    if model.entry.prior == "dirichlet":
        pytest.skip("the simplex of a tiny model is full of lesions")
    film = make_film(model, model.codes[:3] + 40, patient=None)
    assert film.far.all()
    assert "the whole way" in film.warning
    assert "inventing" in in_words(float(film.familiarity[0]))
    assert make_film(model, model.codes[:3], patient=None).warning == ""


def test_a_film_that_was_offered_is_made_when_it_is_asked_for(model):
    client = TestClient(Starlette(routes=routes(lambda: SimpleNamespace(load=lambda name: model))))
    codes = model.codes[:4] + 40
    address = f"/api/models/{model.entry.name}/films/"
    answer = client.get(address + offer(model, codes, patient=None))
    film = make_film(model, codes, patient=None)
    grey = np.frombuffer(base64.b64decode(answer.json()["frames"]), np.uint8).reshape(4, 64, 64)
    np.testing.assert_allclose(grey / 255, film.images.clip(0, 1), atol=0.51 / 255)
    assert answer.json()["warning"] == film.warning
    assert {len(curve["values"]) for curve in answer.json()["curves"]} == {4}
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get(address + "0" * 64).status_code == 404
