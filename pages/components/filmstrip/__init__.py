"""A film of decoded frames to play, scrub or step by key; each frame shows its changes and measurements.

The browser fetches the film from the core (`serving.film`) once it scrolls into view.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import numpy as np

from lungvae_core.serving.walks.live import DIFFERENCE_FULL
from pages.components.register import register

_COMPONENT = register("filmstrip", Path(__file__).parent / "film")


def filmstrip(
    model: str,
    film: str,
    *,
    key: str,
    window: tuple[float, float],
    ends: tuple[str, str] = ("A", "B"),
    places: np.ndarray | None = None,
) -> None:
    """Show the film that `serving.film.offer` registered for `model` under the name `film`.

    `places` (T, 2) are the positions of the frames on a map: a map of `model` in the same tab follows the
    film.
    """
    low, high = window
    _COMPONENT(
        data={
            "source": f"/api/models/{quote(model)}/films/{film}",
            "ends": list(ends),
            "window": f"W {high - low:.0f}  L {(low + high) / 2:.0f} HU",
            "fullGrey": 255 * DIFFERENCE_FULL,
            "fullHu": round(DIFFERENCE_FULL * (high - low)),
            "places": None if places is None else np.asarray(places, float).round(4).tolist(),
            "model": model,
        },
        key=key,
        height="content",
    )
