"""Home (being built)."""

from __future__ import annotations

from pages import common

common.introduce("Home", shows="", does_not_mean="")
