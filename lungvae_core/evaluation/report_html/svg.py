"""Figures as inline SVG: forest, waterfall, dots, curves. Colours come from the style, which has a dark mode.

Every function returns an `<svg>` with a title for those who cannot see it. Positions are in the figure's own
units; the browser scales it to the column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from lungvae_core.evaluation.report_view.blocks import Forest, Square, Steps, Strip, ends
from lungvae_core.evaluation.report_words import Row, figure
from lungvae_core.number_text import number

_WIDTH, _NAMES = 760, 218  # widths of a figure with rows, and of the names on its left
_ROW, _HEAD = 27, 34  # heights of a forest's row and of a group's heading
_SIDE = 232  # of a square plot
# left, right, top and bottom of a square plot's frame
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 222, 12, 194


def draw(drawn: Forest | Steps | Strip) -> str:
    """A figure of a report's sections as SVG; empty if there is nothing to draw."""
    return _KINDS[type(drawn)](drawn)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most about `most`."""
    span = max(high - low, 1e-9)
    raw = span / most
    scale = 10 ** math.floor(math.log10(raw))
    step = next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(drawn: Forest) -> str:
    """Values with their intervals, one per row, in groups with a heading."""
    groups = [(name, [row for row in rows if row.interval.value is not None]) for name, rows in drawn.groups]
    rows = [row for _, members in groups for row in members]
    if not rows:
        return ""
    every = [end for row in rows for end in ends(row.interval)]
    every += [] if drawn.zero is None else [drawn.zero]
    low, high = drawn.limits or (min(every), max(every))
    margin = 0 if drawn.limits else 0.05 * max(max(every) - min(every), 1e-6)
    right = _WIDTH - 190
    heads = sum(bool(name and members) for name, members in groups)
    bottom = 6 + heads * _HEAD + len(rows) * _ROW + 4
    x, body = _axis(min(low, *every) - margin, max(high, *every) + margin, right, bottom, drawn.axis)
    if drawn.zero is not None:
        body.append(_line(x(drawn.zero), 4, x(drawn.zero), bottom, "zero"))
    y = 6.0
    for name, members in groups:
        if name and members:
            body.append(_text(2, y + _HEAD - 10, name, "head"))
            y += _HEAD
        for row in members:
            body.append(_forest_line(row, y + _ROW / 2, x, right, drawn.legend and row.kind == "model"))
            y += _ROW
    return _svg(_WIDTH, bottom + 40, drawn.title, body)


def _forest_line(row: Row, y: float, x: Callable[[float], float], right: float, strong: bool) -> str:
    value, low, high = ends(row.interval)
    label, weight = figure(row.interval), " strong" if strong else ""
    return (
        f"<g><title>{escape(row.name)}: {label}. {escape(row.note)}</title>"
        + _text(2, y + 4, row.name, f"label{weight}")
        + _line(x(low), y, x(high), y, f"bar {row.kind}")
        + marker(row.kind, x(value), y)
        + _text(right + 14, y + 4, label, f"value{weight}")
        + "</g>"
    )


def marker(kind: str, x: float = 8, y: float = 8) -> str:
    """One shape per kind, so that colour is never the only cue."""
    corners = {
        "size": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "readers": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "pixels": ((0, -6), (6, 5), (-6, 5)),
    }.get(kind)
    if corners is None:
        return f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
    points = " ".join(f"{x + across:.1f},{y + down:.1f}" for across, down in corners)
    return f'<polygon class="mark {kind}" points="{points}"/>'


def square(drawn: Square, unit: str) -> str:
    """A curve in the unit square with the line of chance; each bin is a dot with its interval."""
    body = []
    for tick in (0.0, 0.5, 1.0):
        body.append(_line(_at_x(tick), _TOP, _at_x(tick), _BOTTOM, "grid"))
        body.append(_line(_LEFT, _at_y(tick), _RIGHT, _at_y(tick), "grid"))
        body.append(_text(_at_x(tick), _BOTTOM + 15, f"{tick:g}", "tick", "middle"))
        body.append(_text(_LEFT - 6, _at_y(tick) + 4, f"{tick:g}", "tick", "end"))
    body.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 33, drawn.across, "axis", "middle"))
    body.append(
        f'<text class="axis" transform="translate(11 {(_TOP + _BOTTOM) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(drawn.up)}</text>'
    )
    body.append(_line(_LEFT, _at_y(drawn.chance[0]), _RIGHT, _at_y(drawn.chance[1]), "chance"))
    points = " ".join(f"{_at_x(a):.1f},{_at_y(b):.1f}" for a, b in zip(drawn.x, drawn.y, strict=True))
    body.append(f'<polyline class="curve{" thin" if drawn.bins else ""}" points="{points}"/>')
    for one in drawn.bins:
        x, y = _at_x(one.mean_probability), _at_y(one.share)
        if one.low is not None and one.high is not None:
            body.append(_line(x, _at_y(one.low), x, _at_y(one.high), "bar model"))
        body.append(
            f'<circle class="mark model" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{one.count} with mean '
            f"probability {one.mean_probability:.2f}: {one.share:.2f} malignant</title></circle>"
        )
    if drawn.note:
        body.append(_text(_RIGHT - 6, _BOTTOM - 8, drawn.note, "note", "end"))
    return _svg(_SIDE, _SIDE, f"{drawn.title} per {unit}", body)


def strip(drawn: Strip) -> str:
    """One dot per fold or seed, one row per group; the vertical stroke is the mean."""
    every = [value for line in drawn.lines for value in line.values]
    if not every:
        return ""
    margin = max(0.15 * (max(every) - min(every)), 0.004)
    right, row = _WIDTH - 182, 30
    x, body = _axis(min(every) - margin, max(every) + margin, right, 8 + row * len(drawn.lines), drawn.axis)
    for index, line in enumerate(drawn.lines):
        y = 8 + row * (index + 0.5)
        body.append(_text(2, y + 4, line.name, "label"))
        body.append(_line(x(line.mean), y - 9, x(line.mean), y + 9, "mean"))
        for value in line.values:
            body.append(
                f'<circle class="dot {line.kind}" cx="{x(value):.1f}" cy="{y:.1f}" r="5">'
                f"<title>{number(value)}</title></circle>"
            )
        label = f"{number(min(line.values))} to {number(max(line.values))}"
        body.append(_text(right + 14, y + 4, label, "value"))
    return _svg(_WIDTH, 8 + row * len(drawn.lines) + 40, drawn.title, body)


def steps(drawn: Steps) -> str:
    """A waterfall: each bar starts where the one before ended."""
    if not drawn.steps:
        return ""
    low, greatest, margin = drawn.limits
    right, row = _WIDTH - 122, 38
    bottom, axis = 8 + row * len(drawn.steps), f"{drawn.axis}; the axis does not begin at 0"
    x, body = _axis(low, max(greatest, min(1.0, greatest + margin)), right, bottom, axis)
    for index, step in enumerate(drawn.steps):
        y, gain = 8 + row * index, step.gain
        a, b = sorted((x(low if gain is None else step.value - gain), x(step.value)))
        kind = "honest" if gain is None else "leak" if gain > 0 else "loss"
        body.append(_text(2, y + row / 2 + 4, step.name, "label"))
        body.append(
            f'<rect class="step {kind}" x="{a:.1f}" y="{y + 6:.1f}" width="{max(b - a, 1.5):.1f}" '
            f'height="{row - 12}"><title>{escape(step.name)}: {number(step.value)}</title></rect>'
        )
        if index + 1 < len(drawn.steps):
            body.append(_line(x(step.value), y + 6, x(step.value), y + row + 6, "hang"))
        body.append(_text(right + 14, y + row / 2 + 4, step.label, "value"))
    return _svg(_WIDTH, bottom + 40, drawn.title, body)


def _axis(
    low: float, high: float, right: float, bottom: float, title: str
) -> tuple[Callable[[float], float], list[str]]:
    """(function from a value to its x position, the axis with its grid) of a figure with rows."""

    def x(value: float) -> float:
        return _NAMES + (value - low) / (high - low) * (right - _NAMES)

    decimals = 2 if high - low > 0.08 else 3
    body = [_text((_NAMES + right) / 2, bottom + 33, title, "axis", "middle")]
    for tick in ticks(low, high):
        body.append(_line(x(tick), 4, x(tick), bottom, "grid"))
        body.append(_text(x(tick), bottom + 15, number(tick, decimals), "tick", "middle"))
    return x, body


def _at_x(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)


def _at_y(share: float) -> float:
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" style="max-width: {width:.0f}px">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


_KINDS: dict[type, Callable[[Any], str]] = {Forest: forest, Steps: steps, Strip: strip}
