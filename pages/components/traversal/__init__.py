"""The live view of the Traversal page: images that change while a slider is dragged.

The browser talks to /api/live/{model} by itself (`lungvae_core.serving.walks.live` has the protocol). Python
learns of a change only when a slider is released.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import streamlit as st

from lungvae_core.palette import grey
from lungvae_core.serving.walks.live import DIFFERENCE_FULL
from pages.components.register import register

_VIEW = register("lungvae_traversal", Path(__file__).parent / "view")


# A dimension, the ends of its slider, its value at the start, and whether its steps are even in log-ratios.
Slider = tuple[int, float, float, float, bool]


@dataclass(frozen=True)
class DirectionSlider:
    """One direction: its name in the protocol, its title, its slider's range in deviations, a sentence."""

    name: str
    title: str
    low: float
    high: float
    description: str


@dataclass(frozen=True)
class Released:
    """The view's state when a slider was last released; before that, the edits it was given."""

    edits: dict[int, float]
    along: dict[str, float]  # direction -> standard deviations from the start
    dimension: int | None  # last moved or chosen; None before that
    turn: int = 0  # grows each time


def traversal_view(
    *,
    key: str,
    model: str,
    start: str,
    start_label: str,
    start_image: np.ndarray,
    real_image: np.ndarray | None,
    spacing_mm: float | None,
    start_score: float | None,
    sliders: list[Slider],
    used: int,
    ordered_by: str,
    directions: Sequence[DirectionSlider],
    has_map: bool,
    edits: Mapping[int, float],
    along: Mapping[str, float],
    dimension: int | None,
    window: tuple[float, float],
    names: Mapping[int, tuple[str, str]] | None = None,
) -> Released:
    """Show the view and return its state as of the last release.

    The first `used` of `sliders` are the dimensions that the model uses; `ordered_by` describes their order
    in words. `directions` are those that move the whole code; `has_map` says whether a map can show the walk.
    `start_image` and `real_image` are (64, 64) in 0..1 of `window`, (low, high) HU. `names` gives dimensions
    a name for their label, which may be empty, and a sentence to show on hover. The view applies `edits` and
    `along` when the model or the start changes, or when they differ from what it last reported (because an
    address was opened).
    """
    released = _last_release(st.session_state.get(key), model, start)
    state = released or Released(dict(edits), dict(along), None)
    low, high = window
    _VIEW(
        key=key,
        data={
            "model": model,
            "start": start,
            "startLabel": start_label,
            "startImage": _pixels(start_image),
            "realImage": None if real_image is None else _pixels(real_image),
            "spacing": spacing_mm,
            "startScore": start_score,
            "sliders": sliders,
            "names": {str(at): list(both) for at, both in (names or {}).items()},
            "used": used,
            "orderedBy": ordered_by,
            "directions": [vars(direction) for direction in directions],
            "api": f"/api/models/{quote(model)}",
            "hasMap": has_map,
            "along": [[name, float(value)] for name, value in state.along.items()],
            "edits": [[int(at), float(value)] for at, value in state.edits.items()],
            "dimension": dimension if released is None else released.dimension,
            "window": f"W {high - low:.0f}  L {(low + high) / 2:.0f} HU",
            "differenceHu": round(DIFFERENCE_FULL * (high - low)),
        },
        on_released_change=lambda: None,
    )
    return state


def _last_release(state: Any, model: str, start: str) -> Released | None:
    """The last release, if it belongs to this model and start."""
    released = (state or {}).get("released")
    if not released or released.get("model") != model or released.get("start") != start:
        return None
    edits = {int(at): float(value) for at, value in released["edits"]}
    along = {str(name): float(value) for name, value in released.get("along", [])}
    dimension = released.get("dimension")
    return Released(edits, along, None if dimension is None else int(dimension), int(released["turn"]))


def _pixels(image: np.ndarray) -> str:
    return base64.b64encode(grey(image).tobytes()).decode()
