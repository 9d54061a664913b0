"""Choices kept in the address: parsed, reported where they cannot be, and written without new steps."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages.shared import url
from tests.pages.conftest import run


def page() -> None:
    import streamlit as st

    from pages.shared import url

    number = url.integer("at", 0, 9)
    view = url.segmented("view", "View", {"a": "First", "b": "Second"}, key="view")
    pairs = url.pairs("edits", 3, lambda key, value: (key, value.upper()), longest=20)
    st.text(f"{number} {view} {pairs}")


def opened(**query: str | list[str]) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return run(app)


def test_a_value_of_the_address_is_parsed_and_a_choice_is_written_to_it():
    app = opened(at="7", view="b", edits="x:up,y:down")
    assert app.text[0].value == "7 b {'x': 'UP', 'y': 'DOWN'}"
    assert not app.toast
    run(app.segmented_control(key="view").set_value("a"))
    assert app.query_params["view"] in ("a", ["a"])
    assert app.text[0].value.startswith("7 a")


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"at": "10"}, "None a"),
        ({"at": "x"}, "None a"),
        ({"view": "c"}, "None a"),
        ({"at": ["1", "2"]}, "None a"),
    ],
)
def test_what_cannot_be_parsed_is_reported_once_and_ignored(query, shown):
    app = opened(**query)
    assert len(app.toast) == 1
    assert app.text[0].value.startswith(shown)


def test_without_a_choice_in_the_address_the_last_one_is_shown():
    app = AppTest.from_function(page, default_timeout=60)
    app.session_state["last_view"] = "b"
    assert run(app).text[0].value.startswith("None b")


def test_a_text_in_a_message_is_shown_as_it_is():
    assert url.plain("[x](http://evil) *b*") == r"\[x\]\(http\://evil\) \*b\*"
    assert url.plain("1. item, 0.5 mm") == r"1\. item, 0.5 mm"


def replacing() -> None:
    from pages.shared import url

    url.write("gone", None)
    url.write("same", "1")
    url.replace({"a", "b"}, {"b": "2"})


def test_writing_removes_keeps_and_replaces():
    app = AppTest.from_function(replacing, default_timeout=60)
    for name, value in {"gone": "x", "same": "1", "a": "1", "other": "y"}.items():
        app.query_params[name] = value
    run(app)
    left = {name: app.query_params[name] for name in ("same", "b", "other")}
    assert {name: value if isinstance(value, str) else value[0] for name, value in left.items()} == {
        "same": "1",
        "b": "2",
        "other": "y",
    }
    assert not {"gone", "a"} & set(app.query_params)
