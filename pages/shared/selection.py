"""The lesions selected on the map, shared by the pages of one session.

st.session_state["selected_rows"] holds rows of the model's table. They refer to the same lesions in every
model of the same data, so the selection survives a change of model, but not a change of data.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.serving.lesions.selection import as_ranges, of_ranges, valid_rows
from lungvae_core.serving.models.registry import LoadedModel
from pages.shared import url

_ROWS = "selected_rows"
_DATA = "selected_data"
_FOCUS = "selected_focus"
_ID = "selected_id"
_ADDRESS = "selected_address"  # the last address, to detect a change
LONGEST = 1500  # characters of a selection in an address; browsers and mail programs truncate longer ones


def rows(model: LoadedModel) -> list[int]:
    """Return the selected rows of the model's table; empty if they were selected in other data."""
    if st.session_state.get(_DATA, model.entry.data.content_hash) != model.entry.data.content_hash:
        select(model, [])
    return valid_rows(model, st.session_state.get(_ROWS, []))


def focus(model: LoadedModel) -> int | None:
    """Return the one selected row that the buttons act on."""
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
    """Set which of the selected rows the buttons act on."""
    st.session_state[_FOCUS] = row


def from_address(model: LoadedModel) -> None:
    """Apply the selection in the address, once: ?row=5, or ?rows=3-9,12 with the row in focus as ?row.

    After that the address follows the selection, even a cleared one.
    """
    row, many = url.sent("row"), url.sent("rows")
    if (row, many) == st.session_state.get(_ADDRESS, ("", "")):
        return
    try:
        chosen = of_ranges(model, many) if many else []
    except UserError as error:
        url.say(error)
        chosen = []
    at = url.row(model)
    if chosen:
        if chosen != sorted(rows(model)):
            select(model, chosen, at)
    elif at is not None and at not in rows(model):
        select(model, [at], at)


def to_address(model: LoadedModel) -> None:
    """Write the selection to the address; a selection that is too long needs a named set."""
    chosen, at = rows(model), focus(model)
    text = as_ranges(chosen) if len(chosen) > 1 else ""
    many = text if 0 < len(text) <= LONGEST else ""
    row = "" if at is None else str(at)
    url.write("row", row or None)
    url.write("rows", many or None)
    st.session_state[_ADDRESS] = (row, many)


def for_map(model: LoadedModel) -> dict:
    """Return the selection in the map component's form: {"id", "rows"}."""
    return {"id": st.session_state.get(_ID, 0), "rows": rows(model)}


def from_map(model: LoadedModel, key: str) -> None:
    """Apply what the map component `key` reports, unless it is a repeat or a newer selection replaced it."""
    report = st.session_state.get(key, {}).get("selection")
    if report and report["id"] > st.session_state.get(_ID, 0):
        select(model, report["rows"], report.get("focus"))
        st.session_state[_ID] = report["id"]
