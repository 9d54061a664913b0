"""Predict (being built)."""

from __future__ import annotations

from pages import common

common.introduce("Predict", shows="", does_not_mean="")
