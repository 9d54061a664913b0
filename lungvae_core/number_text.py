"""Numbers, counts and durations in words, the same on pages, in reports and on the command line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

DASH = "–"  # stands for what could not be computed


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number such as "0.943" or "−0.012", with `signed` also "+0.012"; a dash where there is none."""
    if value is None or math.isnan(value):
        return DASH
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def latent_value(value: float) -> str:
    """The value of a latent dimension: two digits after the point, of small values up to four."""
    size = abs(value)
    return number(value, 2 if size >= 0.0995 or size == 0 else 3 if size >= 0.00995 else 4)


def with_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, *, signed: bool = False
) -> str:
    """A figure with its interval, "0.943 (0.927 to 0.958)"; without it where it could not be computed."""
    text, *ends = (number(one, digits, signed=signed) for one in (value, low, high))
    return text if DASH in (text, *ends) else f"{text} ({' to '.join(ends)})"


def interval(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    """`with_interval` of the `value`, `low` and `high` of a stored figure; a dash where there is none."""
    figure = figure or {}
    return with_interval(figure.get("value"), figure.get("low"), figure.get("high"), digits)


def plural(count: int, name: str, names: str = "") -> str:
    """A count with its noun: "1 fold", "5 folds"; `names` is a plural that is not the name and an s."""
    return f"{count:,} {name if count == 1 else names or name + 's'}"


def first_few(items: Sequence[str], most: int = 10, between: str = "; ") -> str:
    """The first `most` items, and how many more there are."""
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def duration(seconds: float) -> str:
    """A time as "40 s", "12 min" or "2.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
