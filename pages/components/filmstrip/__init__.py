"""A film of decoded frames: played, scrubbed, stepped by keys; beside each what changed and was measured."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streamlit as st

from lungvae_core.explore.neighbours import FAR
from lungvae_core.serving.film import Film, in_words

_HERE = Path(__file__).parent
_COMPONENT = st.components.v2.component(
    "filmstrip",
    html=(_HERE / "film.html").read_text(encoding="utf-8"),
    css=(_HERE / "film.css").read_text(encoding="utf-8"),
    js=(_HERE / "film.js").read_text(encoding="utf-8"),
)


def filmstrip(
    film: Film,
    *,
    key: str,
    window: tuple[float, float],
    difference_full: float,
    ends: tuple[str, str] = ("A", "B"),
    places: np.ndarray | None = None,
    model: str = "",
) -> None:
    """Show the film. `difference_full` is the share of `window` at which a difference has full colour.

    `places` (T, 2) are the frames' places on a map: a map of `model` in the same tab follows the film.
    """
    low, high = window
    grey = np.rint(np.clip(film.images, 0, 1) * 255).astype(np.uint8)
    curves = []
    if film.scores is not None:
        curves.append(_curve("Model score", film.scores, film.bands, (0.0, 1.0), 2))
    for name, values in film.measured.items():
        curves.append(_curve(name[:1].upper() + name[1:], values, None, None, 1))
    curves.append(_curve("Distance from lesions", film.familiarity, None, (0.0, 1.0), 2, limit=FAR))
    _COMPONENT(
        data={
            "frames": base64.b64encode(grey.tobytes()).decode(),
            "count": len(grey),
            "curves": curves,
            "words": [in_words(float(value)) for value in film.familiarity],
            "far": [bool(far) for far in film.far],
            "ends": list(ends),
            "window": f"W {high - low:.0f}  L {(low + high) / 2:.0f} HU",
            "fullGrey": 255 * difference_full,
            "fullHu": round(difference_full * (high - low)),
            "places": None if places is None else np.asarray(places, float).round(4).tolist(),
            "model": model,
        },
        key=key,
        height="content",
    )


def _curve(
    name: str,
    values: np.ndarray,
    bands: np.ndarray | None,
    span: tuple[float, float] | None,
    digits: int,
    limit: float | None = None,
) -> dict:
    def plain(numbers: Sequence[float] | np.ndarray) -> list[float | None]:
        return [None if not np.isfinite(number) else round(float(number), 4) for number in numbers]

    return {
        "name": name,
        "values": plain(values),
        "low": None if bands is None else plain(bands[:, 0]),
        "high": None if bands is None else plain(bands[:, 1]),
        "span": span,
        "digits": digits,
        "limit": limit,
    }
