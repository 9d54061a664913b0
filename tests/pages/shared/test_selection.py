"""The selection that pages share: kept in the session, taken from and written to the address."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import run


def page() -> None:
    import streamlit as st

    from lungvae_core.serving.http.routes import registry
    from pages.shared import selection

    model = registry().load("tiny-gvae")
    selection.from_map(model, "reported")
    selection.from_address(model)
    st.text(f"{selection.rows(model)} {selection.focus(model)} {selection.for_map(model)['id']}")
    selection.to_address(model)


def opened(query: dict[str, str] | None = None, **state: Any) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for name, value in (query or {}).items():
        app.query_params[name] = value
    for name, value in state.items():
        app.session_state[name] = value
    return run(app)


def one(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def test_the_address_selects_once_and_then_follows(models):
    app = opened({"rows": "3-5,9", "row": "4"})
    assert app.text[0].value == "[3, 4, 5, 9] 4 1"
    app.session_state["selected_rows"] = [7]
    run(app)
    assert app.text[0].value.startswith("[7] 7")
    assert one(app, "row") == "7"
    assert "rows" not in app.query_params


@pytest.mark.parametrize("query", [{"rows": "3-5,x"}, {"row": "120"}, {"rows": "0-120"}])
def test_what_is_no_selection_is_reported(models, query):
    app = opened(query)
    assert app.toast
    assert app.text[0].value.startswith("[] None")


def test_a_selection_too_long_for_an_address_is_not_in_it(models, monkeypatch):
    monkeypatch.setattr("pages.shared.selection.LONGEST", 6)
    app = opened(selected_rows=[1, 3, 5, 7, 9])
    assert app.text[0].value.startswith("[1, 3, 5, 7, 9]")
    assert "rows" not in app.query_params


def test_rows_of_other_data_and_beyond_the_table_are_dropped(models):
    assert opened(selected_rows=[7], selected_data="other").text[0].value.startswith("[] None")
    assert opened(selected_rows=[7, 120, -1]).text[0].value.startswith("[7] 7")


def test_a_report_of_the_map_is_taken_once(models):
    report = {"selection": {"id": 5, "rows": [8, 2], "focus": 2}}
    app = opened(reported=report)
    assert app.text[0].value == "[8, 2] 2 5"
    app.session_state["selected_rows"] = [1]
    run(app)  # the same report again
    assert app.text[0].value.startswith("[1] 1")
