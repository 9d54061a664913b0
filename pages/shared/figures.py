"""Images of lesions with the labels they need: real or generated, window, scale."""

from __future__ import annotations

import base64
from html import escape

import numpy as np
import streamlit as st

from lungvae_core.serving.lesions.images import png
from lungvae_core.serving.models.registry import LoadedModel

_STYLE = """
<style>
.lesion {margin: 0}
.lesion .picture {position: relative; border-radius: .4rem; overflow: hidden; background: #000}
.lesion img {display: block; width: 100%; aspect-ratio: 1}
.lesion .window, .lesion .bar {position: absolute; bottom: .4rem; color: #fff; font-size: .72rem;
  text-shadow: 0 0 3px #000}
.lesion .window {left: .5rem}
.lesion .bar {right: .5rem; border-bottom: 2px solid #fff; text-align: center}
.lesion .badge {position: absolute; top: .4rem; left: .4rem; padding: .1rem .45rem; border-radius: .3rem;
  font-size: .72rem; color: #1a1200; background: #e69f00}
.lesion figcaption {margin-top: .3rem; font-size: .85rem}
</style>
"""


def lesion(model: LoadedModel, image: np.ndarray, caption: str, *, spacing_mm: float | None = None) -> None:
    """Show a CT slice (64, 64) in 0..1 of the model's window, with a scale bar if the spacing is known.

    `spacing_mm` is that of the image on display; for a model with a fixed spacing, the model's.
    """
    bar = ""
    if spacing_mm:
        bar = f'<div class="bar" style="width: {10 / (64 * spacing_mm):.1%}">10 mm</div>'
    _show(model, image, caption, bar)


def generated(model: LoadedModel, image: np.ndarray, caption: str) -> None:
    """Show an image that the model generated, labelled so; it has no scale."""
    _show(model, image, caption, '<div class="badge">generated</div>')


def _show(model: LoadedModel, image: np.ndarray, caption: str, extra: str) -> None:
    low, high = model.window
    source = base64.b64encode(png(image)).decode()
    st.html(
        f'{_STYLE}<figure class="lesion"><div class="picture">'
        f'<img alt="{escape(caption)}" src="data:image/png;base64,{source}">{extra}'
        f'<div class="window">W {high - low:.0f} L {(low + high) / 2:.0f}</div></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
