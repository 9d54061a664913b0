"""Charts: `show` places them on a page, and `kept` saves plotly from rebuilding a figure at each visit.

Building a figure from plotly's objects takes 30 ms and more, mostly to check the names of properties; here
the tests do that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from lungvae_core.caches import BoundedCache

MOST_BYTES = 32 * 2**20
MARGIN = {"l": 10, "r": 10, "t": 40, "b": 10}  # around figures with titles above their panels

NO_MARGIN = {"l": 0, "r": 0, "t": 0, "b": 0}


class Chart(go.Figure):
    """A finished, unchanging figure: traces and layout in the form that plotly.js takes."""

    def __init__(self, data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any]) -> None:
        self._finished = {"data": list(data), "layout": {"template": _template()} | dict(layout)}

    def to_dict(self) -> dict[str, Any]:
        """Return the figure ready for JSON."""
        return self._finished


_kept: BoundedCache[Chart | None] = BoundedCache(MOST_BYTES)


def kept(draw: Callable[..., go.Figure | None], *arguments: Any, **named: Any) -> Chart | None:
    """Return `draw(*arguments, **named)`, drawn once for equal arguments, such as those from a model's files.

    None if there is nothing to draw. Arguments may be JSON values, arrays, and objects with attributes of
    these kinds.
    """
    content = hashlib.sha256(json.dumps((arguments, named), default=_content).encode()).digest()

    def finished() -> Chart | None:
        figure = draw(*arguments, **named)
        return None if figure is None else Chart(**figure.to_dict())

    return _kept.get((draw.__module__, draw.__qualname__, content), finished)


def show(figure: go.Figure | None, *, alt: str, where: Any = st, toolbar: bool = False, **named: Any) -> Any:
    """Place a chart on the page, or in `where`, with `alt` for people who cannot see it.

    `toolbar` shows plotly's toolbar, for charts that users pan and zoom; `named` are further arguments of
    `st.plotly_chart`.
    """
    config = None if toolbar else {"displayModeBar": False}
    return where.plotly_chart(figure, alt=alt, config=config, **named)


def error_bars(value: Any, low: Any, high: Any, **look: Any) -> dict[str, Any]:
    """Return plotly's error bars of points at `value` that reach from `low` to `high`: numbers or arrays."""
    return {"array": high - value, "arrayminus": value - low, **look}


def add_line(
    figure: go.Figure,
    x: Any,
    y: Any,
    colour: str,
    hover: str,
    *,
    dash: str = "solid",
    mode: str = "lines+markers",
    **named: Any,
) -> None:
    """Add a line, with a mark at each point unless `mode` says otherwise; `hover` is the text of a point."""
    look = {"color": colour, "width": 2, "dash": dash}
    figure.add_scatter(x=x, y=y, mode=mode, line=look, hovertemplate=f"{hover}<extra></extra>", **named)


def arrays(entries: Iterable[Mapping[str, Any]], *names: str) -> list[np.ndarray]:
    """Return an array per name with the entries' figures of that name; NaN for None."""
    entries = list(entries)
    return [np.array([entry[name] for entry in entries], float) for name in names]


def panel(number: int, across: int) -> dict[str, Any]:
    """Return the place of a panel, counted from 0, in rows of `across`, as plotly takes it."""
    return {"row": number // across + 1, "col": number % across + 1}


def _content(value: Any) -> Any:
    """Convert a value that JSON cannot hold into one that differs when the value does."""
    if isinstance(value, np.ndarray | np.generic):
        return [value.shape, value.dtype.str, hashlib.sha256(value.tobytes()).hexdigest()]
    return vars(value)


@cache
def _template() -> dict[str, Any]:
    """Return Streamlit's template, which every figure has from the start."""
    return go.Figure().to_dict()["layout"]["template"]
