"""The colours of figures, maps and images, which the pages' scripts take from the same file.

Both palettes are safe for colour blindness: Okabe-Ito for categories, cividis for ordered values.
"""

from __future__ import annotations

import numpy as np

from lungvae_core.javascript import COMPONENTS
from lungvae_core.json_text import parse_json

_COLOURS = parse_json((COMPONENTS / "lib" / "colours.json").read_bytes(), what="The file of colours")

# Okabe & Ito 2008, without black, which a dark page would swallow.
OKABE_ITO: list[str] = list(_COLOURS["okabeIto"].values())
SKY, ORANGE, GREEN, YELLOW, PURPLE, BLUE, VERMILLION = OKABE_ITO
GREY = "#8f959b"  # seen on light and dark pages
# cividis (Nunez, Anderton & Renslow 2018) at nine even steps; its darkest fifth is left out, because it
# vanishes on a dark page.
CIVIDIS: list[str] = _COLOURS["cividis"]

_PROPERTIES = " ".join(
    f"--{name}: {colour};" for name, colour in (_COLOURS["okabeIto"] | {"night": _COLOURS["night"]}).items()
)
CSS = f":root, :host {{ {_PROPERTIES} }}\n"  # the colours in styles of documents and components


def to_rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


LESS, NONE, MORE = (to_rgb(colour) for colour in (SKY, _COLOURS["night"], ORANGE))  # of differences


def grey(image: np.ndarray) -> np.ndarray:
    """Grey levels (uint8) of an image in 0..1; values beyond are clipped."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def diverging(difference: np.ndarray, full: float) -> np.ndarray:
    """(..., 3) uint8 colours of differences: blue below zero, black at it, orange above; full at +-`full`."""
    share = np.clip(difference / full, -1, 1)[..., None]
    colour = np.where(share < 0, np.array(LESS), np.array(MORE))
    return np.rint(np.array(NONE) + (colour - np.array(NONE)) * np.abs(share)).astype(np.uint8)
