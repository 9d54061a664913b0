"""The lesions that a person has selected on the map, shared by the pages of one session.

st.session_state["selected_rows"] holds rows of the model's table. They mean the same lesions in every model
of the same data, so they outlive a change of model, but not a change of data.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lungvae_core.serving.registry import LoadedModel
from lungvae_core.serving.selection import valid_rows

_ROWS = "selected_rows"
_DATA = "selected_data"
_FOCUS = "selected_focus"
_ID = "selected_id"


def rows(model: LoadedModel) -> list[int]:
    """Selected rows of the model's table; empty when they were selected in other data."""
    if st.session_state.get(_DATA, model.entry.data.content_hash) != model.entry.data.content_hash:
        select(model, [])
    return valid_rows(model, st.session_state.get(_ROWS, []))


def focus(model: LoadedModel) -> int | None:
    """The one selected row that the buttons act on."""
    chosen = rows(model)
    row = st.session_state.get(_FOCUS)
    return row if row in chosen else (chosen[0] if chosen else None)


def select(model: LoadedModel, chosen: Sequence[int], focus: int | None = None) -> None:
    """Replace the selection."""
    st.session_state[_ROWS] = valid_rows(model, chosen)
    st.session_state[_DATA] = model.entry.data.content_hash
    st.session_state[_FOCUS] = focus
    st.session_state[_ID] = st.session_state.get(_ID, 0) + 1


def set_focus(row: int) -> None:
    """Say which of the selected rows the buttons act on."""
    st.session_state[_FOCUS] = row


def for_map(model: LoadedModel) -> dict:
    """The selection as the map component takes it: {"id", "rows"}."""
    return {"id": st.session_state.get(_ID, 0), "rows": rows(model)}


def from_map(model: LoadedModel, told: dict | None) -> None:
    """Take over what the map component told, unless it was told before or overtaken by a newer selection."""
    if told and told["id"] > st.session_state.get(_ID, 0):
        select(model, told["rows"], told.get("focus"))
        st.session_state[_ID] = told["id"]
