"""Figures as inline SVG: forest, curves, reliability, steps. Colours are of the style, which knows dark mode.

Every function gives an `<svg>` with a title for those who cannot see it. Positions are in the figure's own
units; the browser scales it to the column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from lungvae_core.evaluation.report import ReliabilityBin
from lungvae_core.evaluation.report_words import Row, number

_ROW, _HEAD = 27, 34  # heights of a forest's line and of a group's heading
_SIDE = 232  # a square plot
# left, right, top and bottom of a square plot's frame
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 222, 12, 194


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most about `most`."""
    span = max(high - low, 1e-9)
    raw = span / most
    scale = 10 ** math.floor(math.log10(raw))
    step = next(scale * factor for factor in (1, 2, 5, 10) if scale * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def forest(
    groups: Sequence[tuple[str, Sequence[Row]]],
    *,
    title: str,
    axis: str = "AUC",
    low: float | None = None,
    high: float | None = None,
    zero: float | None = None,
    digits: int = 3,
    width: int = 760,
) -> str:
    """Values with their intervals, a line each, in groups with a heading; `zero` is a line to compare."""
    rows = [row for _, members in groups for row in members if row.interval.value is not None]
    if not rows:
        return ""
    ends = [end for row in rows for end in _ends(row)] + ([] if zero is None else [zero])
    span = max(max(ends) - min(ends), 1e-6)
    low = min(ends) - 0.05 * span if low is None else min(low, *ends)
    high = max(ends) + 0.05 * span if high is None else max(high, *ends)
    left, right = 218, width - 190
    mixed = len({row.kind for row in rows}) > 1

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    body, y = [], 6.0
    heads = sum(1 for name, members in groups if name and members)
    bottom = 6 + heads * _HEAD + len(rows) * _ROW + 4
    decimals = 2 if high - low > 0.08 else 3
    for tick in ticks(low, high):
        body.append(_line(x(tick), 4, x(tick), bottom, "grid"))
        body.append(_text(x(tick), bottom + 15, number(tick, decimals), "tick", "middle"))
    if zero is not None:
        body.append(_line(x(zero), 4, x(zero), bottom, "zero"))
    for name, members in groups:
        shown = [row for row in members if row.interval.value is not None]
        if name and shown:
            body.append(_text(2, y + _HEAD - 10, name, "head"))
            y += _HEAD
        for row in shown:
            body.append(_forest_line(row, y + _ROW / 2, x, right, digits, mixed))
            y += _ROW
    body.append(_text((left + right) / 2, bottom + 33, axis, "axis", "middle"))
    return _svg(width, bottom + 40, title, body)


def _forest_line(
    row: Row, y: float, x: Callable[[float], float], right: float, digits: int, mixed: bool
) -> str:
    interval = row.interval
    value = interval.value if interval.value is not None else 0.0
    low, high = _ends(row)
    said = number(value, digits)
    if interval.low is not None and interval.high is not None:
        said += f" ({number(low, digits)} to {number(high, digits)})"
    parts = [f"<title>{escape(row.name)}: {said}. {escape(row.note)}</title>"]
    strong = " strong" if mixed and row.kind == "model" else ""
    parts.append(_text(2, y + 4, row.name, f"label{strong}"))
    parts.append(
        f'<line class="bar {row.kind}" x1="{x(low):.1f}" y1="{y:.1f}" x2="{x(high):.1f}" y2="{y:.1f}"/>'
    )
    parts.append(_marker(row.kind, x(value), y))
    parts.append(_text(right + 14, y + 4, said, f"value{strong}"))
    return f"<g>{''.join(parts)}</g>"


def _marker(kind: str, x: float, y: float) -> str:
    """A shape a kind, so that colour is never the only sign."""
    if kind == "size":
        return f'<rect class="mark size" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"/>'
    if kind == "readers":
        corners = f"{x:.1f},{y - 7:.1f} {x + 7:.1f},{y:.1f} {x:.1f},{y + 7:.1f} {x - 7:.1f},{y:.1f}"
        return f'<polygon class="mark readers" points="{corners}"/>'
    if kind == "pixels":
        corners = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y + 5:.1f} {x - 6:.1f},{y + 5:.1f}"
        return f'<polygon class="mark pixels" points="{corners}"/>'
    return f'<circle class="mark {kind}" cx="{x:.1f}" cy="{y:.1f}" r="6"/>'


def legend(kinds: Sequence[tuple[str, str]]) -> str:
    """(kind, words) as a line of shapes; it stands above a forest."""
    return "".join(
        f'<span class="key"><svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">'
        f"{_marker(kind, 8, 8)}</svg>{escape(words)}</span>"
        for kind, words in kinds
    )


def square_curve(
    x: Sequence[float],
    y: Sequence[float],
    *,
    title: str,
    across: str,
    up: str,
    chance: str | float = "diagonal",
    note: str = "",
) -> str:
    """A curve in the unit square with what chance gives: the diagonal, or a level."""
    body = _square(across, up)
    if chance == "diagonal":
        body.append(_line(_LEFT, _BOTTOM, _RIGHT, _TOP, "chance"))
    else:
        body.append(_line(_LEFT, _at_y(float(chance)), _RIGHT, _at_y(float(chance)), "chance"))
    points = " ".join(f"{_at_x(a):.1f},{_at_y(b):.1f}" for a, b in zip(x, y, strict=True))
    body.append(f'<polyline class="curve" points="{points}"/>')
    if note:
        body.append(_text(_RIGHT - 6, _BOTTOM - 8, note, "note", "end"))
    return _svg(_SIDE, _SIDE, title, body)


def reliability(bins: Sequence[ReliabilityBin], *, title: str, note: str = "") -> str:
    """The share malignant against the probability that was said, with intervals; the diagonal is perfect."""
    body = _square("probability said", "share malignant")
    body.append(_line(_LEFT, _BOTTOM, _RIGHT, _TOP, "chance"))
    points = " ".join(f"{_at_x(found.mean_probability):.1f},{_at_y(found.share):.1f}" for found in bins)
    body.append(f'<polyline class="curve thin" points="{points}"/>')
    for found in bins:
        x, y = _at_x(found.mean_probability), _at_y(found.share)
        if found.low is not None and found.high is not None:
            body.append(_line(x, _at_y(found.low), x, _at_y(found.high), "bar model"))
        body.append(
            f'<circle class="mark model" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{found.count} with mean '
            f"probability {found.mean_probability:.2f}: {found.share:.2f} malignant</title></circle>"
        )
    if note:
        body.append(_text(_RIGHT - 6, _BOTTOM - 8, note, "note", "end"))
    return _svg(_SIDE, _SIDE, title, body)


def strip(
    groups: Sequence[tuple[str, Sequence[float | None]]], *, title: str, axis: str, width: int = 760
) -> str:
    """A dot a fold or seed, a line a group; the upright stroke is the mean."""
    lines = [(name, [value for value in values if value is not None]) for name, values in groups]
    lines = [(name, values) for name, values in lines if values]
    if not lines:
        return ""
    every = [value for _, values in lines for value in values]
    margin = max(0.15 * (max(every) - min(every)), 0.004)
    low, high = min(every) - margin, max(every) + margin
    left, right, row = 218, width - 182, 30
    bottom = 8 + row * len(lines)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    decimals = 2 if high - low > 0.08 else 3
    body = []
    for tick in ticks(low, high):
        body.append(_line(x(tick), 4, x(tick), bottom, "grid"))
        body.append(_text(x(tick), bottom + 15, number(tick, decimals), "tick", "middle"))
    for index, (name, values) in enumerate(lines):
        y = 8 + row * (index + 0.5)
        mean = sum(values) / len(values)
        body.append(_text(2, y + 4, name, "label"))
        body.append(_line(x(mean), y - 9, x(mean), y + 9, "mean"))
        for value in values:
            body.append(
                f'<circle class="dot model" cx="{x(value):.1f}" cy="{y:.1f}" r="5">'
                f"<title>{number(value)}</title></circle>"
            )
        ends = f"{number(min(values))} to {number(max(values))}"
        body.append(_text(right + 14, y + 4, ends, "value"))
    body.append(_text((left + right) / 2, bottom + 33, axis, "axis", "middle"))
    return _svg(width, bottom + 40, title, body)


def steps(
    rows: Sequence[tuple[str, float | None, float | None]], *, title: str, axis: str, width: int = 760
) -> str:
    """A waterfall of (name, value, gain over the row before): each bar hangs where the row before ended."""
    shown = [(name, value, gain) for name, value, gain in rows if value is not None]
    if not shown:
        return ""
    values = [value for _, value, _ in shown]
    margin = max(0.2 * (max(values) - min(values)), 0.01)
    low, high = min(values) - 2 * margin, min(1.0, max(values) + margin)
    high = max(high, max(values))
    left, right, row = 218, width - 122, 38
    bottom = 8 + row * len(shown)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    body = []
    for tick in ticks(low, high):
        body.append(_line(x(tick), 4, x(tick), bottom, "grid"))
        body.append(_text(x(tick), bottom + 15, number(tick, 2), "tick", "middle"))
    for index, (name, value, gain) in enumerate(shown):
        y = 8 + row * index
        start = low if gain is None else value - gain
        a, b = sorted((x(start), x(value)))
        kind = "honest" if gain is None else "leak" if gain > 0 else "loss"
        body.append(_text(2, y + row / 2 + 4, name, "label"))
        body.append(
            f'<rect class="step {kind}" x="{a:.1f}" y="{y + 6:.1f}" width="{max(b - a, 1.5):.1f}" '
            f'height="{row - 12}"><title>{escape(name)}: {number(value)}</title></rect>'
        )
        if index + 1 < len(shown):
            body.append(_line(x(value), y + 6, x(value), y + row + 6, "hang"))
        sign = "+" if gain is not None and gain > 0 else ""
        said = number(value) + ("" if gain is None else f" ({sign}{number(gain)})")
        body.append(_text(right + 14, y + row / 2 + 4, said, "value"))
    body.append(
        _text((left + right) / 2, bottom + 33, f"{axis}; the axis does not begin at 0", "axis", "middle")
    )
    return _svg(width, bottom + 40, title, body)


def _ends(row: Row) -> tuple[float, float]:
    value = row.interval.value if row.interval.value is not None else 0.0
    low, high = row.interval.low, row.interval.high
    return (value if low is None else low, value if high is None else high)


def _square(across: str, up: str) -> list[str]:
    body = []
    for tick in (0.0, 0.5, 1.0):
        body.append(_line(_at_x(tick), _TOP, _at_x(tick), _BOTTOM, "grid"))
        body.append(_line(_LEFT, _at_y(tick), _RIGHT, _at_y(tick), "grid"))
        body.append(_text(_at_x(tick), _BOTTOM + 15, f"{tick:g}", "tick", "middle"))
        body.append(_text(_LEFT - 6, _at_y(tick) + 4, f"{tick:g}", "tick", "end"))
    body.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 33, across, "axis", "middle"))
    middle = (_TOP + _BOTTOM) / 2
    body.append(
        f'<text class="axis" transform="translate(11 {middle:.0f}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
    )
    return body


def _at_x(share: float) -> float:
    return _LEFT + share * (_RIGHT - _LEFT)


def _at_y(share: float) -> float:
    return _BOTTOM - share * (_BOTTOM - _TOP)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" style="max-width: {width:.0f}px">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )
