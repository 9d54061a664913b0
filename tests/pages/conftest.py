"""The pages on tiny models and data, with folders of the test's own for all else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry, routes
from tests.conftest import ROOT


@pytest.fixture
def models(
    tiny_models: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The folder of the two tiny models, which the pages then find."""
    monkeypatch.setenv("LUNGVAE_MODELS", str(tiny_models))
    monkeypatch.setenv("LUNGVAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LUNGVAE_DATA", str(tiny_data.parent))
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))
    registry.cache_clear()
    yield tiny_models
    registry.cache_clear()


@pytest.fixture
def folders(job_folders: Path) -> Iterator[Path]:
    """Folders of the test's own, without models; jobs that are left are killed."""
    registry.cache_clear()
    yield job_folders
    registry.cache_clear()


def open_page(file: str, state: dict[str, Any] | None = None, **query: str) -> AppTest:
    """The app at a page, run with an address and a session's state, without an exception."""
    app = AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=60)
    app.run().switch_page(file)
    for name, value in query.items():
        app.query_params[name] = value
    for name, value in (state or {}).items():
        app.session_state[name] = value
    app.run()
    assert not app.exception
    return app


def run(widget: Any) -> AppTest:
    """The page, run after `widget` (or the whole page) was changed, without an exception."""
    app = widget.run()
    assert not app.exception
    return app


def text(app: AppTest) -> str:
    """All text of the page, kind by kind."""
    headings = (app.title, app.header, app.subheader)
    kinds = (*headings, app.markdown, app.info, app.warning, app.success, app.error, app.caption)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def html(app: AppTest) -> str:
    """The HTML that the page shows by itself."""
    return "\n".join(element.proto.body for element in app.get("html"))


def charts(app: AppTest) -> list[dict[str, Any]]:
    """The page's figures as plotly.js gets them, from top to bottom."""
    return [json.loads(element.proto.spec) for element in app.get("plotly_chart")]


def labelled(widgets: Sequence[Any], label: str) -> Any:
    """The first of these widgets that has a label."""
    return next(widget for widget in widgets if widget.label == label)


def press(app: AppTest, label: str) -> AppTest:
    """The page, run after the button of that label was pressed, without an exception."""
    return run(labelled(app.button, label).click())


def all_component_data(app: AppTest, component: str) -> list[dict[str, Any]]:
    """What each use of a component on the page is given, from top to bottom."""
    protos = [element.proto for element in app.get("bidi_component")]
    return [json.loads(proto.json) for proto in protos if proto.component_name == component]


def component_data(app: AppTest, component: str) -> dict[str, Any] | None:
    """What a component of the page is given, or None where it is not shown."""
    return next(iter(all_component_data(app, component)), None)


def fetched(source: str) -> dict[str, Any]:
    """What the core's routes answer to a browser that asks for `source`."""
    answer = TestClient(Starlette(routes=routes())).get(source)
    assert answer.status_code == 200, answer.text
    return answer.json()
