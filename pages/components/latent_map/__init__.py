"""The latent map: a point for every slice or nodule, with hover images, lasso, click, box and path.

It is drawn on a plain canvas: 14,000 points take a few milliseconds and need no WebGL, and the browser loads
everything from the core's own routes. Positions, colours and images do not pass through a rerun.

store.js fetches data, layers.js draws over the points, legend.js filters, card.js shows the hovered lesion,
point.js handles pointer and keys, and map.js ties them together; camera and points come from lib/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lungvae_core.data.slices import MALIGNANCY_WORDS
from lungvae_core.explore.maps import TITLES
from pages.components.register import register

_COMPONENT = register("latent_map", Path(__file__).parent / "map")


def latent_map(
    model: str,
    *,
    unit: str,
    method: str,
    by: str,
    key: str,
    dims: int = 2,
    map_key: str = "",
    where: str = "",
    contours: bool = False,
    clusters: str = "",
    link: str = "",
    selection: dict[str, Any] | None = None,
    path: dict[str, Any] | None = None,
    paths: bool = False,
    marker: tuple[float, float] | None = None,
    marker_label: str = "",
    neighbours: Sequence[int] = (),
    selectable: bool = True,
    height: int = 560,
    on_change: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Draw the map; return its latest state: {"selection", "path"}, each None at first.

    `selection` is {"id", "rows", "focus"}: `rows` are rows of the model's table (for nodules, the rows of
    their representative slices); `focus` is the clicked row, or None. `path` is {"id", "points"}: positions
    (x, y) along a line drawn on the map, or None if the line was removed. Ids grow with each change: the
    browser accepts a `selection` or `path` passed in only if its id is higher than the browser's own, so a
    slow rerun never undoes a newer change.

    `map_key` names a map made with custom parameters (`serving.custom_maps`). `where` is a filter
    (`explore.filters`). `clusters` is a method whose clusters are outlined, and `contours` draws lines of
    density; both work on two-dimensional maps only. `paths` adds the tool that draws paths. Maps with the
    same `link` in one browser tab share the hovered lesion and the selection. `marker` is a position on the
    map; a traversal view moves it without a rerun (the window's event "lungvae:place"). `neighbours` are rows
    to number.
    """
    result = _COMPONENT(
        data={
            "api": f"/api/models/{quote(model)}",
            "model": model,
            "unit": unit,
            "method": method,
            "methodTitle": TITLES.get(method, method),
            "by": by,
            "dims": int(dims),
            "map": map_key,
            "where": where,
            "contours": bool(contours),
            "clusters": clusters,
            "link": link,
            "selection": selection or {"id": 0, "rows": []},
            "path": path or {"id": 0, "points": None},
            "paths": bool(paths),
            "marker": [float(value) for value in marker] if marker is not None else None,
            "markerLabel": marker_label,
            "neighbours": [int(row) for row in neighbours],
            "selectable": selectable,
            "height": height,
            "words": {str(rating): meaning for rating, meaning in MALIGNANCY_WORDS.items()},
        },
        key=key,
        height="content",
        on_selection_change=on_change,
        on_path_change=on_change,
    )
    return {"selection": result.get("selection"), "path": result.get("path")}
