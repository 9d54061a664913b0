"""What each dimension does."""

from __future__ import annotations

from pages import common

common.introduce("Measured traversals", shows="What each dimension does.", does_not_mean="-")
