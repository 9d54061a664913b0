"""A whole CT image with a 64x64 box on it, that a click, a drag or the arrow keys put on the lesion."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_COMPONENT = st.components.v2.component(
    "lesion_position",
    html=(_HERE / "position.html").read_text(encoding="utf-8"),
    css=(_HERE / "position.css").read_text(encoding="utf-8"),
    js=(_HERE / "position.js").read_text(encoding="utf-8"),
)


def lesion_position(
    png: bytes,
    *,
    shape: tuple[int, int],
    position: tuple[float, float] | None,
    window: str,
    key: str,
    on_change: Callable[[], None],
) -> None:
    """Show the image of `shape` (rows, columns); `position` is the box's centre (row, column).

    After `on_change`, st.session_state[key]["position"] is {"row", "column"}.
    """
    _COMPONENT(
        data={
            "image": "data:image/png;base64," + base64.b64encode(png).decode(),
            "rows": shape[0],
            "columns": shape[1],
            "position": list(position) if position is not None else None,
            "window": window,
        },
        key=key,
        height="content",
        on_position_change=on_change,
    )
