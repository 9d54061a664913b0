"""Every door that takes a model's name looks through the list alone, and says in a sentence what it lacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from lungvae_core.errors import UserError
from lungvae_core.serving.http.routes import registry, routes

NAMES = {
    "too long": "a" * 300,
    "far too long": "a" * 20_000,
    "a null byte": "tiny\0gvae",
    "a lone surrogate": "tiny-\udc80",
    "a path": "folder/here",
    "a folder here": "here",
    "a folder above": "..",
    "this folder": ".",
    "a hidden folder": ".hidden",
    "the whole path": "{path}",
    "a lookalike": "tiny-gv\u0430e",
    "a space after": "tiny-gvae ",
    "other case": "TINY-GVAE",
    "nothing": "",
    "a pattern": "tiny-*",
    "a new line": "tiny-gvae\n",
    "backwards": "\u202etiny-gvae",
    "a home": "~",
    "digits": "9" * 5000,
}
WITH_MODEL = [route for route in routes() if {"name", "model"} & set(getattr(route, "param_convertors", {}))]


@pytest.fixture
def folder(tiny_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Models in a folder that the list shows, others in the working directory."""
    for name in ("here", ".hidden"):
        shutil.copytree(tiny_models / "tiny-gvae", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    monkeypatch.setenv("LUNGVAE_RUNS", str(tmp_path / "runs"))
    registry.cache_clear()
    yield tmp_path
    registry.cache_clear()


def address(route: Route | WebSocketRoute, name: str) -> str:
    filled = quote(name.encode("utf-8", "surrogateescape"), safe="")
    parts = {each: filled if each in ("name", "model") else "0" for each in route.param_convertors}
    return route.path_format.format(**parts)


def test_there_are_such_routes() -> None:
    assert sum(isinstance(route, WebSocketRoute) for route in WITH_MODEL) == 1
    assert sum(isinstance(route, Route) for route in WITH_MODEL) > 8


@pytest.mark.parametrize("kind", NAMES)
def test_no_route_opens_what_the_list_does_not_show(folder: Path, kind: str) -> None:
    name = NAMES[kind].format(path=folder / "here")
    client = TestClient(
        Starlette(routes=routes()), base_url="http://testserver", raise_server_exceptions=False
    )
    for route in WITH_MODEL:
        if isinstance(route, Route):
            answer = client.get(address(route, name))
            assert answer.status_code in (400, 404), (route.path, answer.text[:200])
            if "/" not in name and name not in ("", ".", ".."):  # else it is another address
                assert len(answer.json()["error"]) < 500
            continue
        with (
            pytest.raises(WebSocketDisconnect) as closed,
            client.websocket_connect(address(route, name)) as live,
        ):
            live.receive_bytes()
        assert closed.value.code in (1000, 1008)


@pytest.mark.parametrize("kind", NAMES)
def test_the_registry_says_in_a_sentence_that_there_is_none(folder: Path, kind: str) -> None:
    name = NAMES[kind].format(path=folder / "here")
    with pytest.raises(UserError, match="There is no model") as refused:
        registry().load(name)
    sentence = str(refused.value)
    assert len(sentence) < 500
    assert sentence.isprintable()
    if kind not in ("a folder here", "a hidden folder", "the whole path"):  # a path, which opens
        with pytest.raises(UserError, match="There is no model"):
            registry().load_from(name)


def test_the_command_line_opens_a_path(folder: Path) -> None:
    assert registry().load_from(str(folder / "here")).entry.name == "here"
    assert [entry.name for entry in registry().entries()] == ["tiny-dirvae", "tiny-gvae"]


def test_a_folder_whose_name_cannot_be_shown_is_left_out(folder: Path, tiny_models: Path) -> None:
    odd = folder / "runs" / "tiny-\udc80"
    shutil.copytree(tiny_models / "tiny-gvae", odd)
    assert [entry.name for entry in registry().entries()] == ["tiny-dirvae", "tiny-gvae"]
    ((name, reason),) = registry().broken().items()
    assert (name + reason).isprintable()
    assert "Rename" in reason
