"""Traversal (being built)."""

from __future__ import annotations

from pages import common

common.introduce("Traversal", shows="", does_not_mean="")
