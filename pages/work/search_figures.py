"""The Search page's figures: parallel coordinates, best value so far, and value against each setting."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from lungvae_core.palette import BLUE, GREY, ORANGE
from lungvae_core.serving.jobs.searches import SearchState
from lungvae_core.training.search.book import COMPLETE
from pages.shared.charts import MARGIN, panel

COMPLETED, OTHERS, BEST = BLUE, GREY, ORANGE
SCATTERS = 8  # maximum number of settings with their own scatter plot
AXES = 12  # maximum number of settings in the parallel coordinates
TICKS = 6


def parallel(state: SearchState) -> go.Figure:
    """Draw one line per trial through its settings to its value; colour is the value, in cividis.

    Halted trials appear too, with their value at the epoch at which they were halted. The lines are plain,
    since Plotly's own parallel coordinates need WebGL, which remote desktops often lack. A point's customdata
    is (number of the trial,), its x the axis.
    """
    table = state.table[state.table["value"].notna()]
    axes = [_axis(table[name], name) for name in reversed(state.searched[:AXES])]
    if table["epochs"].nunique() > 1:
        axes.append(_axis(table["epochs"], "epochs"))
    axes.append(_axis(table["value"], f"value: {state.config.objective}"))
    value = table["value"].to_numpy(float)
    shade = (value - value.min()) / (np.ptp(value) or 1)
    colours = sample_colorscale("Cividis", shade if state.config.maximise else 1 - shade)
    figure = go.Figure()
    for at in np.argsort(shade if state.config.maximise else -shade):  # the best are drawn on top
        number = int(table["number"].iloc[at])
        values = "<br>".join(f"{axis.label}: {axis.texts[at]}" for axis in axes)
        figure.add_scatter(
            x=list(range(len(axes))),
            y=[axis.height[at] for axis in axes],
            mode="lines+markers",
            line={"color": colours[at], "width": 2},
            marker={"color": colours[at], "size": 7},
            customdata=[[number]] * len(axes),
            hovertemplate=f"trial {number}<br>{values}<extra></extra>",
            showlegend=False,
        )
    for place, axis in enumerate(axes):
        figure.add_vline(place, line={"color": OTHERS, "width": 1}, layer="below")
        for height, text in axis.ticks:
            figure.add_annotation(
                x=place, y=height, text=text, showarrow=False, xanchor="left", xshift=6, font={"size": 11}
            )
    figure.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=[axis.label.replace(": ", ":<br>") for axis in axes],
        side="top",
        showgrid=False,
        range=[-0.15, len(axes) - 0.5],
    )
    figure.update_yaxes(visible=False, range=[-0.05, 1.05])
    figure.update_layout(
        height=420, margin={"l": 60, "r": 10, "t": 60, "b": 10}, dragmode="select", hovermode="closest"
    )
    return figure


def in_boxes(points: list[dict]) -> list[int]:
    """Return the numbers of the trials that have a point in the box on every axis with a box."""
    by_axis: dict[float, set[int]] = {}
    for point in points:
        by_axis.setdefault(point["x"], set()).add(int(np.ravel(point["customdata"])[0]))
    return sorted(set.intersection(*by_axis.values())) if by_axis else []


def best_so_far(state: SearchState) -> go.Figure:
    """Draw each complete trial's value by number, and the best value so far."""
    rows = state.best_so_far()
    figure = go.Figure()
    dots, steps = {"color": COMPLETED, "size": 8}, {"color": BEST, "width": 2, "shape": "hv"}
    figure.add_scatter(x=rows["number"], y=rows["value"], mode="markers", name="trial", marker=dots)
    figure.add_scatter(x=rows["number"], y=rows["best"], mode="lines", name="best so far", line=steps)
    figure.update_xaxes(title_text="trial", tickformat="d")
    figure.update_yaxes(title_text=f"{state.config.objective}, validation patients")
    figure.update_layout(
        height=320, margin={"l": 10, "r": 10, "t": 10, "b": 10}, legend={"orientation": "h", "y": 1.1}
    )
    return figure


def scatters(state: SearchState) -> go.Figure:
    """Draw the value against the settings that affect it most, one panel each."""
    names = state.searched[:SCATTERS]
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    titles = [f"{name} ({state.association(name):.2f})" for name in names]
    spacing = {"horizontal_spacing": 0.03, "vertical_spacing": 0.22}
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes=True, **spacing)
    table = state.table[state.table["value"].notna()]
    complete = table["state"] == COMPLETE
    for index, name in enumerate(names):
        place, parameter = panel(index, columns), state.config.parameters[name]
        for part, label, colour, shape in (
            (table[complete], "complete", COMPLETED, "circle"),
            (table[~complete], "fewer epochs", OTHERS, "circle-open"),
        ):
            figure.add_scatter(
                x=part[name].astype(str) if parameter.choices else part[name],
                y=part["value"],
                mode="markers",
                name=label,
                legendgroup=label,
                showlegend=index == 0 and len(part) > 0,
                marker={"color": colour, "size": 8, "symbol": shape},
                customdata=part[["number"]],
                hovertemplate="trial %{customdata[0]}: %{x}, %{y:.5f}<extra></extra>",
                **place,
            )
        if parameter.choices:
            order = [str(value) for value in _choices(table[name])]
            figure.update_xaxes(type="category", categoryorder="array", categoryarray=order, **place)
        elif parameter.log:
            figure.update_xaxes(type="log", **place)
    figure.update_annotations(font_size=13)
    legend = {"orientation": "h", "y": -0.25 / rows}
    figure.update_layout(height=60 + 210 * rows, margin=MARGIN, legend=legend)
    return figure


@dataclass(frozen=True)
class _Axis:
    """An axis of the parallel coordinates."""

    label: str
    height: list[float]  # of each trial, from 0 at the bottom of the axis to 1 at its top
    texts: list[str]  # each trial's value as text
    ticks: list[tuple[float, str]]  # (height, text)


def _axis(values: pd.Series, name: str) -> _Axis:
    """Place numbers on a linear or logarithmic axis, and words in order."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    distinct = _choices(values)

    def texts(values: Iterable[Any]) -> list[str]:
        return [f"{value:.4g}" if numeric else str(value) for value in values]

    if not numeric or len(distinct) <= TICKS:
        heights = [at / max(len(distinct) - 1, 1) for at in range(len(distinct))]
        place = [heights[distinct.index(value)] for value in values]
        return _Axis(name, place, texts(values), list(zip(heights, texts(distinct), strict=True)))
    low, high = float(values.min()), float(values.max())
    heights = np.linspace(0, 1, TICKS).tolist()
    if low > 0 and high / low >= 10:
        span = math.log(high / low)
        place = [math.log(float(value) / low) / span for value in values]
        ticks = [f"{low * math.exp(span * height):.2g}" for height in heights]
    else:
        place = [(float(value) - low) / (high - low) for value in values]
        ticks = [f"{low + (high - low) * height:.3g}" for height in heights]
    return _Axis(name, place, texts(values), list(zip(heights, ticks, strict=True)))


def _choices(values: pd.Series) -> list:
    """Return the distinct values in order: numbers by size, others alphabetically."""
    distinct = list(values.drop_duplicates())
    numeric = all(isinstance(value, int | float | np.number) for value in distinct)
    return sorted(distinct) if numeric else sorted(distinct, key=str)
