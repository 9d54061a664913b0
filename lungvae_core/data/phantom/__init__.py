"""Synthetic nodules that look like CT, each with known factors.

They come from no patient, so they can be shared, and a model's findings can be checked against the factors.
`make_phantom` writes a SliceSet; `render` draws one slice from explicit factors.
"""

from lungvae_core.data.phantom.factors import COLUMNS, FACTORS, INDEPENDENT, Factors, Span
from lungvae_core.data.phantom.generate import make_phantom
from lungvae_core.data.phantom.render import render

__all__ = ["COLUMNS", "FACTORS", "INDEPENDENT", "Factors", "Span", "make_phantom", "render"]
