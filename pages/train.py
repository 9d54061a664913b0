"""Train (being built)."""

from __future__ import annotations

from pages import common

common.introduce("Train", shows="", does_not_mean="")
