"""The latent map: every slice or nodule as a point, its image under the pointer, lasso, click and box.

Drawn on a plain canvas: 14,000 points take a few milliseconds, need no WebGL, and the browser loads nothing
but the core's own routes. Positions, colours and images do not pass through a rerun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from lungvae_core.data.slices import MALIGNANCY_WORDS

_HERE = Path(__file__).parent
_COMPONENT = st.components.v2.component(
    "latent_map",
    html=(_HERE / "map.html").read_text(encoding="utf-8"),
    css=(_HERE / "map.css").read_text(encoding="utf-8"),
    js=(_HERE / "map.js").read_text(encoding="utf-8"),
)


def latent_map(
    model: str,
    *,
    unit: str,
    method: str,
    by: str,
    key: str,
    selection: dict[str, Any] | None = None,
    marker: tuple[float, float] | None = None,
    marker_label: str = "",
    neighbours: Sequence[int] = (),
    selectable: bool = True,
    height: int = 560,
    on_change: Callable[[], None] = lambda: None,
) -> dict[str, Any] | None:
    """Draw the map; return what was selected in it last, as {"id", "rows", "focus"}, or None.

    `rows` are rows of the model's table, of nodules their representative slices; `focus` is the row that was
    clicked, or None. `id` grows with each selection: a `selection` that is passed in is taken over by the
    browser only when its id is above the browser's own, so that a slow rerun never undoes a newer lasso.
    `marker` is a place on the map, `neighbours` are rows to be numbered on it.
    """
    result = _COMPONENT(
        data={
            "api": f"/api/models/{quote(model)}",
            "unit": unit,
            "method": method,
            "by": by,
            "selection": selection or {"id": 0, "rows": []},
            "marker": [float(value) for value in marker] if marker is not None else None,
            "markerLabel": marker_label,
            "neighbours": [int(row) for row in neighbours],
            "selectable": selectable,
            "height": height,
            "words": {str(rating): words for rating, words in MALIGNANCY_WORDS.items()},
        },
        key=key,
        height="content",
        on_selection_change=on_change,
    )
    return result.get("selection")
