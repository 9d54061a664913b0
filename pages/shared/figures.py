"""Images of lesions with the labels they need: real or generated, window, scale."""

from __future__ import annotations

import base64
from html import escape

import numpy as np
import streamlit as st

from lungvae_core.serving.lesions.images import png
from lungvae_core.serving.models.registry import LoadedModel


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
    window = f'<div class="window">W {high - low:.0f} L {(low + high) / 2:.0f}</div>'
    picture(png(image), extra + window, caption, alt=caption)


def picture(content: bytes, over: str, caption: str, *, alt: str) -> None:
    """Show a PNG with HTML `over` it and a caption below it."""
    source = base64.b64encode(content).decode()
    st.html(
        '<figure class="lesion"><div class="picture">'
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{source}">{over}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
