"""The Search page's figures: parallel coordinates, the best so far, and the value against each setting."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.serving.searches import SearchState
from lungvae_core.training.search.book import COMPLETE

COMPLETED, OTHERS, BEST = "#0072B2", "#999999", "#E69F00"  # Okabe-Ito
SCATTERS = 8  # settings at most that get a scatter of their own
AXES = 12  # settings at most in the parallel coordinates
TICKS = 6


def parallel(state: SearchState) -> go.Figure:
    """A line a trial through its settings to its value; colour is the value, cividis.

    Trials that were halted are there too, with their value at the epoch where they were; dragging along an
    axis keeps those in the range.
    """
    table = state.table[state.table["value"].notna()]
    axes = [_axis(table[name], name) for name in reversed(state.searched[:AXES])]
    if table["epochs"].nunique() > 1:
        axes.append(_axis(table["epochs"], "epochs"))
    axes.append({"label": f"value: {state.config.objective}", "values": table["value"]})
    figure = go.Figure(
        go.Parcoords(
            line={
                "color": table["value"],
                "colorscale": "Cividis",
                "reversescale": not state.config.maximise,
                "showscale": True,
                "colorbar": {"title": state.config.objective},
            },
            dimensions=axes,
        )
    )
    figure.update_layout(height=420, margin={"l": 60, "r": 20, "t": 60, "b": 30}, font={"size": 12})
    return figure


def best_so_far(state: SearchState) -> go.Figure:
    """Each complete trial's value by number, and the best of those until then."""
    rows = state.best_so_far()
    figure = go.Figure()
    figure.add_scatter(
        x=rows["number"],
        y=rows["value"],
        mode="markers",
        name="trial",
        marker={"color": COMPLETED, "size": 8},
    )
    figure.add_scatter(
        x=rows["number"],
        y=rows["best"],
        mode="lines",
        name="best so far",
        line={"color": BEST, "width": 2, "shape": "hv"},
    )
    figure.update_xaxes(title_text="trial", tickformat="d")
    figure.update_yaxes(title_text=f"{state.config.objective}, validation patients")
    figure.update_layout(
        height=320, margin={"l": 10, "r": 10, "t": 10, "b": 10}, legend={"orientation": "h", "y": 1.1}
    )
    return figure


def scatters(state: SearchState) -> go.Figure:
    """The value against each of the settings that it follows most, a panel each."""
    names = state.searched[:SCATTERS]
    columns = min(4, len(names))
    rows = math.ceil(len(names) / columns)
    titles = [f"{name} ({state.association(name):.2f})" for name in names]
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.22,
    )
    table = state.table[state.table["value"].notna()]
    for index, name in enumerate(names):
        row, column = index // columns + 1, index % columns + 1
        for part, label, colour, shape in (
            (table[table["state"] == COMPLETE], "complete", COMPLETED, "circle"),
            (table[table["state"] != COMPLETE], "fewer epochs", OTHERS, "circle-open"),
        ):
            parameter = state.config.parameters[name]
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
                row=row,
                col=column,
            )
        if parameter.choices:
            order = [str(value) for value in _choices(table[name])]
            figure.update_xaxes(
                type="category", categoryorder="array", categoryarray=order, row=row, col=column
            )
        elif parameter.log:
            figure.update_xaxes(type="log", row=row, col=column)
    figure.update_annotations(font_size=13)
    figure.update_layout(
        height=60 + 210 * rows,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        legend={"orientation": "h", "y": -0.25 / rows},
    )
    return figure


def _axis(values: pd.Series, name: str) -> dict:
    """An axis of the parallel coordinates: numbers as they are or by their logarithm, words in order."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    distinct = _choices(values)
    if not numeric or len(distinct) <= TICKS:
        places = [distinct.index(value) for value in values]
        texts = [f"{value:g}" if numeric else str(value) for value in distinct]
        return {"label": name, "values": places, "tickvals": list(range(len(distinct))), "ticktext": texts}
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low >= 10:
        ticks = np.linspace(math.log10(low), math.log10(high), TICKS)
        return {
            "label": name,
            "values": np.log10(values.astype(float)),
            "tickvals": ticks,
            "ticktext": [f"{10**tick:.2g}" for tick in ticks],
        }
    return {"label": name, "values": values}


def _choices(values: pd.Series) -> list:
    """The distinct values in order: numbers by size, others by their letters."""
    found = list(values.drop_duplicates())
    numeric = all(isinstance(value, int | float | np.number) for value in found)
    return sorted(found) if numeric else sorted(found, key=str)
