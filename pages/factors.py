"""What each dimension carries."""

from __future__ import annotations

from pages import common

common.introduce("Factors", shows="What each dimension carries.", does_not_mean="-")
