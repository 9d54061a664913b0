"""What routes of models share: errors as sentences, and results that are kept while their model is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from lungvae_core.errors import UserError
from lungvae_core.parameters import Query
from lungvae_core.serving.models.answers import BASE, HEADERS, Offers, answering, kept
from lungvae_core.serving.models.registry import LoadedModel


def client_of(*routes: Route) -> TestClient:
    return TestClient(Starlette(routes=list(routes)))


def test_an_endpoint_gets_its_model_and_the_numbers_of_its_path(with_data):
    def make(model: LoadedModel, query: Query, *, row: int) -> Response:
        if row == 9:
            raise UserError("There is no slice 9.")
        return JSONResponse({"model": model.entry.name, "row": row})

    endpoint = answering(lambda: with_data, make, row=(0, 100))
    client = client_of(Route(f"{BASE}/{{row}}", endpoint))
    assert client.get("/api/models/tiny-gvae/7").json() == {"model": "tiny-gvae", "row": 7}
    for path, status, words in (
        ("tiny-gvae/101", 400, "row"),
        ("tiny-gvae/x", 400, "row"),
        ("tiny-gvae/9", 404, "no slice 9"),
        ("nowhere/7", 404, "no model"),
    ):
        answer = client.get(f"/api/models/{path}")
        assert answer.status_code == status, path
        assert words in answer.json()["error"]
        assert answer.headers["Cache-Control"] == HEADERS["Cache-Control"]


def test_a_result_is_made_once_for_each_model_and_arguments_and_cannot_be_changed(with_data):
    made: list[tuple[str, int]] = []

    @kept
    def numbers(model: Any, count: int) -> np.ndarray:
        made.append((model.entry.name, count))
        return np.zeros(count)

    first, second = with_data.load("tiny-gvae"), with_data.load("tiny-dirvae")
    assert numbers(first, 3) is numbers(first, 3)
    assert len(numbers(first, 4)) == 4
    numbers(second, 3)
    assert made == [("tiny-gvae", 3), ("tiny-gvae", 4), ("tiny-dirvae", 3)]
    with pytest.raises(ValueError, match="read-only"):
        numbers(first, 3)[0] = 1


def test_each_caller_has_a_table_of_their_own(with_data):
    @kept
    def table(model: Any) -> pd.DataFrame:
        return pd.DataFrame({"row": [1, 2]})

    model = with_data.load("tiny-gvae")
    table(model)["more"] = 3
    assert list(table(model)) == ["row"]


def test_an_error_is_not_kept(with_data):
    calls = []

    @kept
    def fails_once(model: Any) -> int:
        calls.append(0)
        if len(calls) == 1:
            raise UserError("Not yet.")
        return 5

    model = with_data.load("tiny-gvae")
    with pytest.raises(UserError, match="Not yet"):
        fails_once(model)
    assert fails_once(model) == 5


def test_what_a_page_offered_is_fetched_by_its_key_and_of_its_model_only(with_data):
    offers: Offers[str] = Offers(1000)
    route = offers.route(lambda: with_data, "things/{key}", lambda model, item: PlainTextResponse(item))
    client = client_of(route)
    offers.put(with_data.load("tiny-gvae"), "a", "the thing")
    assert client.get("/api/models/tiny-gvae/things/a").text == "the thing"
    for path in ("tiny-gvae/things/b", "tiny-dirvae/things/a"):
        answer = client.get(f"/api/models/{path}")
        assert answer.status_code == 404
        assert "Reload the page" in answer.json()["error"]
