"""A viewer for stacks of CT slices, with window and level, outlines, scale bar and a box to put on a lesion.

The browser fetches HU from `{source}/{i}.hu` (int16, little-endian) and outlines from `{source}/{i}.mask`
(uint8) by itself and applies window and level; Python receives only the slice in view and the box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pages.components.register import register

PRESETS = {"Lung": (1500, -600), "Mediastinum": (350, 50), "Bone": (2500, 480)}  # width, level in HU
MODELS = "Model's"

_COMPONENT = register("slice_viewer", Path(__file__).parent / "viewer")


def slice_viewer(
    source: str,
    *,
    key: str,
    count: int,
    shape: tuple[int, int] = (64, 64),
    at: int = 0,
    spacing_mm: float | None = None,
    window: str = "Lung",
    model_window: tuple[float, float] | None = None,
    generated: bool = False,
    outlines: bool | str = False,
    place: bool = False,
    position: tuple[float, float] | None = None,
    positions: Mapping[int, tuple[float, float]] | None = None,
    turn: int = 0,
    size: int = 420,
    label: str = "",
    on_change: Callable[[], None] | None = None,
) -> dict[str, Any] | None:
    """Show `count` slices of `shape` (rows, columns); return the latest {"slice", "row", "column"}.

    `window` names the initial preset; `model_window` (low, high) HU adds the preset "Model's". If the server
    sends X-Generated with a slice, that overrides `generated`. `outlines`, if a string, is the version of the
    outlines: a new one makes the browser fetch them again. With `place`, a click or the arrow keys place a
    box of 64 pixels with its centre at `position` (row, column); `positions` are the centres on single slices
    and are shown instead. The browser applies `at` and `position` when they, the source or `turn` change,
    unless it sent these values itself: it may have moved on by then. `size` is the image's maximum width in
    CSS pixels. Returns None until the viewer is first used; row and column are None without a box.
    """
    presets = {name: list(values) for name, values in PRESETS.items()}
    if model_window is not None:
        low, high = model_window
        presets[MODELS] = [round(high - low), round((low + high) / 2)]
    result = _COMPONENT(
        data={
            "source": source,
            "count": int(count),
            "rows": int(shape[0]),
            "columns": int(shape[1]),
            "at": int(at),
            "spacing": spacing_mm,
            "window": window,
            "presets": presets,
            "generated": bool(generated),
            "outlines": str(outlines) if outlines else "",
            "place": bool(place),
            "position": _pair(position),
            "positions": {str(number): _pair(pair) for number, pair in (positions or {}).items()},
            "turn": int(turn),
            "size": int(size),
            "label": label,
        },
        key=key,
        height="content",
        on_view_change=on_change or (lambda: None),
    )
    return result.get("view")


def _pair(position: tuple[float, float] | None) -> list[float] | None:
    return None if position is None else [float(position[0]), float(position[1])]
