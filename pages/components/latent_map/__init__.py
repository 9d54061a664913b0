"""The latent map: every slice or nodule as a point, its image under the pointer, lasso, click, box and path.

Drawn on a plain canvas: 14,000 points take a few milliseconds, need no WebGL, and the browser loads nothing
but the core's own routes. Positions, colours and images do not pass through a rerun.

store.js fetches, layers.js draws what lies over the points, legend.js filters, card.js shows the lesion
pointed at, point.js has pointer and keys, map.js holds all together; camera and points are those of lib/.
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


def latent_map_state(
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
    """Draw the map; return what was done in it last: {"selection", "path"}, each None at first.

    `selection` is {"id", "rows", "focus"}: `rows` are rows of the model's table, of nodules their
    representative slices; `focus` is the row that was clicked, or None. `path` is {"id", "points"}: places
    (x, y) on the map along a line that was drawn, or None where it was taken away. Ids grow with each change:
    a `selection` or `path` that is passed in is taken over by the browser only when its id is above the
    browser's own, so that a slow rerun never undoes a newer one.

    `map_key` names a map made with one's own parameters (`serving.custom_maps`), `where` is a filter
    (`explore.filters`), `clusters` a method whose clusters are outlined; the latter and `contours`, lines of
    density, on maps of two dimensions only. `paths` offers the tool that draws paths. Maps of one `link` in
    one browser tab share what is pointed at and what is selected. `marker` is a place on the map, which a
    view that walks moves without a rerun (the window's event "lungvae:place"), `neighbours` are rows to be
    numbered.
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
            "words": {str(rating): words for rating, words in MALIGNANCY_WORDS.items()},
        },
        key=key,
        height="content",
        on_selection_change=on_change,
        on_path_change=on_change,
    )
    return {"selection": result.get("selection"), "path": result.get("path")}


def latent_map(
    model: str, *, unit: str, method: str, by: str, key: str, **settings: Any
) -> dict[str, Any] | None:
    """Draw the map, see `latent_map_state`; return what was selected in it last, or None."""
    return latent_map_state(model, unit=unit, method=method, by=by, key=key, **settings)["selection"]
