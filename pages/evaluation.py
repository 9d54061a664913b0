"""How good, and how it was measured."""

from __future__ import annotations

from pages import common

common.introduce("Evaluation", shows="How good, and how it was measured.", does_not_mean="-")
