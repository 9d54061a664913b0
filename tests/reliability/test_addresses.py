"""Whatever an address holds: a route answers with what it has or a sentence, and memory stays as it is."""

from __future__ import annotations

import contextlib
import json
import re
import time
import tracemalloc
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from lungvae_core.data.series import Series
from lungvae_core.errors import UserError
from lungvae_core.explore import filters
from lungvae_core.parameters import Query
from lungvae_core.serving.http.routes import registry, routes
from lungvae_core.serving.lesions import uploads
from lungvae_core.serving.models import answers
from lungvae_core.serving.walks import film
from tests import hostile


@pytest.fixture
def client(tiny_models, tiny_data, tmp_path, monkeypatch) -> Iterator[TestClient]:
    for name, folder in {"MODELS": tiny_models, "DATA": tiny_data.parent}.items():
        monkeypatch.setenv(f"LUNGVAE_{name}", str(folder))
    for name in ("RUNS", "WORKSPACE"):
        monkeypatch.setenv(f"LUNGVAE_{name}", str(tmp_path / name.lower()))
    registry.cache_clear()
    yield TestClient(Starlette(routes=routes()))  # raises what a route raises, so no 500 passes unseen
    registry.cache_clear()


@pytest.fixture
def usual(client) -> dict[str, str]:
    """What stands in a path that is there."""
    token = uploads.KEPT.put(Series("mine", np.zeros((2, 64, 64), np.int16)))
    model = registry().load("tiny-gvae")
    key = film.offer(model, model.codes[:2], patient=None)
    names = {"name": "tiny-gvae", "model": "tiny-gvae"}
    return {**names, "row": "3", "index": "0", "token": token, "key": key}


def paths() -> list[str]:
    """The paths of all HTTP routes, with their parameters in braces."""
    return [route.path for route in routes() if isinstance(route, Route)]


def sent(value: str) -> str:
    """A value as it stands in an address; a lone surrogate as its three bytes, which are no UTF-8."""
    return quote(value, safe="", errors="surrogatepass")


def filled(path: str, values: dict[str, str]) -> str:
    return re.sub(r"{(\w+)(:\w+)?}", lambda found: sent(values[found[1]]), path)


def query_names(client: TestClient, path: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parameters that a route reads from its query, as it reads them."""
    names: list[str] = []
    plain = Query.get

    def noted(self: Query, name: str, default: str = "") -> str:
        names.append(name)
        return plain(self, name, default)

    with monkeypatch.context() as patch:
        patch.setattr(Query, "get", noted)
        client.get(path)
    return list(dict.fromkeys(names))


def check(client: TestClient, path: str) -> None:
    started = time.monotonic()
    answer = client.get(path)
    assert answer.status_code in (200, 202, 204, 400, 404), (answer.status_code, path[:200])
    if answer.status_code in (400, 404) and answer.headers["content-type"] == "application/json":
        error = answer.json()["error"]
        assert error.endswith((".", "…")), error
        assert len(error) < 400, "a sentence repeats what was sent"
    assert time.monotonic() - started < 20, path[:200]


def walk(client, usual, monkeypatch, values) -> None:
    for path in paths():
        for name in re.findall(r"{(\w+)", path):
            for value in values:
                check(client, filled(path, usual | {name: value}))
        plain = filled(path, usual)
        for name in query_names(client, plain, monkeypatch):
            for value in values:
                check(client, f"{plain}?{name}={sent(value)}")


def test_hostile_values_can_be_sent():
    """Clients refuse addresses above 65,536 characters."""
    assert max(len(sent(value)) for value in hostile.VALUES) <= hostile.LONGEST


def test_a_few_hostile_values_in_every_part_of_every_route(client, usual, monkeypatch):
    walk(client, usual, monkeypatch, hostile.FEW)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_hostile_values_in_every_part_of_every_route(client, usual, monkeypatch):
    walk(client, usual, monkeypatch, hostile.VALUES)


def test_the_routes_read_their_queries_by_the_one_reader(client, usual, monkeypatch):
    read = {path: query_names(client, filled(path, usual), monkeypatch) for path in paths()}
    assert read["/api/models/{name}/points"] == ["unit", "method", "map", "dims"]
    assert read["/api/models/{name}/filter"] == ["unit", "where"]


def spellings(name: str, value: str) -> list[str]:
    """Queries that mean the same or nothing: unknown, repeated, permuted, encoded otherwise."""
    return [
        *(f"{name}={value}&unknown{number}=x" for number in range(8)),
        *(f"{name}={value}&method=ANYTHING{number}" for number in range(8)),
        f"unknown=1&{name}={value}",
        f"{name}={value}&{name}={value}",
        f"%{ord(name[0]):02x}{name[1:]}={value}",
        f"{name}={value}&dims=02",
        f"{name}={value}&by=dim-0001",
        f"{name.upper()}={value}",
    ]


@pytest.mark.long
def test_memory_does_not_grow_with_spellings(client, usual, monkeypatch, tmp_path):
    """Twice the same walk, the second with other unknown parameters: nothing more is kept after it."""
    model = registry().load("tiny-gvae")
    own = tmp_path / "workspace" / "cache" / "maps" / f"{'0' * 16}.npy"
    own.parent.mkdir(parents=True)
    np.save(own, np.zeros((len(model.table), 2), np.float32))
    plain = [filled(path, usual) for path in paths()]

    def go(once: str) -> None:
        for path in plain:
            for name in query_names(client, path, monkeypatch):
                for query in spellings(name, "0" * 16 if name == "map" else "slice"):
                    client.get(f"{path}?{query}&once{once}=1")

    go("a")
    cache = answers._results.of(model)
    entries, size = len(cache), cache.nbytes
    tracemalloc.start()
    try:
        go("b")
        before = tracemalloc.get_traced_memory()[0]
        go("c")
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert (len(cache), cache.nbytes) == (entries, size)
    assert grown < 500_000


def test_a_map_of_ones_own_is_kept_once_whatever_method_is_named(client, tmp_path):
    model = registry().load("tiny-gvae")
    key = "0123456789abcdef"
    own = tmp_path / "workspace" / "cache" / "maps" / f"{key}.npy"
    own.parent.mkdir(parents=True)
    np.save(own, np.zeros((len(model.table), 2), np.float32))
    cache = answers._results.of(model)

    def status(method: str, dims: int) -> int:
        path = f"/api/models/tiny-gvae/points?map={key}&method={method}&dims={dims}"
        return client.get(path).status_code

    assert status("umap", 2) == 200
    kept = len(cache)
    assert [status("pca", 2), status("tsne", 3)] == [200, 200]
    assert [status("ANYTHING", 2), status("x" * 1_000, 2)] == [400, 400]
    assert len(cache) == kept


@settings(max_examples=150, deadline=None)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["column", "in", "from", "to", "search"]), inner)
        ),
    )
)
def test_filters_are_understood_or_refused(value):
    with contextlib.suppress(UserError):
        filters.parse(json.dumps(value))
