"""Choices that belong in the address, so that a link shows another person the same page."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st


def start(name: str, options: Iterable[str], *, key: str) -> None:
    """Give the widget `key` its first value: from the address, else what was chosen last, else the first."""
    options = list(options)
    if st.session_state.get(key) not in options:
        candidates = (st.query_params.get(name), st.session_state.get(f"last_{key}"), options[0])
        st.session_state[key] = next(value for value in candidates if value in options)


def keep(name: str, *, key: str) -> None:
    """Write the widget's value to the address, and remember it for when the page is opened again."""
    value = st.session_state[key]
    st.session_state[f"last_{key}"] = value
    st.query_params[name] = value


def write(name: str, value: str | None) -> None:
    """Write a value to the address, or take it out; one that is there already is no step in the history."""
    if value is None:
        if name in st.query_params:
            del st.query_params[name]
    elif st.query_params.get(name) != value:
        st.query_params[name] = value
