"""Latent map (being built)."""

from __future__ import annotations

from pages import common

common.introduce("Latent map", shows="", does_not_mean="")
