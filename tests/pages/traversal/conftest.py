"""The Traversal page, opened, and its view."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.pages.conftest import component_data, open_page


def opened(state: dict | None = None, **query: str) -> AppTest:
    return open_page("traversal/traversal.py", state, **query)


def view(app: AppTest) -> dict:
    found = component_data(app, "lungvae_traversal")
    assert found is not None
    return found


def labels(app: AppTest) -> list[str]:
    return [box.label for box in app.selectbox]
