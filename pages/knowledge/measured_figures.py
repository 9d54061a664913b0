"""The figures of the Measured traversals page: the overview, a strip with outlines, curves and effects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.data.outlines import SIZE
from lungvae_core.explore.measured.record import number, values_along
from lungvae_core.explore.measured.schema import JUDGED
from lungvae_core.palette import BLUE, ORANGE, SKY, VERMILLION, grey
from pages.shared.charts import NO_MARGIN, add_line, error_bars, panel

LESS, MORE, LINE = BLUE, ORANGE, SKY
# Blue below zero; at zero a grey that shows on light and dark pages; orange above.
DIVERGING = [[0, LESS], [0.5, "rgba(150,150,150,0.12)"], [1, VERMILLION]]
_PLAIN = {"showgrid": False, "zeroline": False}
FULL = 1.0  # standard deviations at which a colour reaches full strength
GAP = 3  # pixels between two images of the strip


def naming(measured: dict[str, Any]) -> list[str]:
    """List the properties that can name a dimension, in the order of their families."""
    return [key for key, one in measured["properties"].items() if one["names"]]


def overview(measured: dict[str, Any], dimensions: list[int], chosen: int) -> go.Figure:
    """Draw dimensions (columns) by properties (rows): colour is the effect, a dot marks the named ones.

    Squares carry their dimension in `customdata`, so that clicking one chooses it.
    """
    keys = naming(measured)
    rows = [measured["properties"][key]["words"] for key in keys]
    figure = go.Figure(_effects(measured, dimensions, keys, rows))
    _add_squares(figure, measured, dimensions, dict(zip(keys, rows, strict=True)))
    at = dimensions.index(chosen)
    figure.add_vrect(at - 0.5, at + 0.5, line={"color": MORE, "width": 1.5}, fillcolor="rgba(0,0,0,0)")
    figure.update_layout(
        height=26 * len(keys) + 60,
        margin={**NO_MARGIN, "t": 10},
        clickmode="event+select",
        dragmode=False,
    )
    figure.update_xaxes(
        tickvals=list(range(len(dimensions))),
        ticktext=[str(each) for each in dimensions],
        range=[-0.7, len(dimensions) - 0.3],
        title_text="dimension z, named ones first, those that move most foremost",
        tickfont_size=9,
        tickangle=-90,
        **_PLAIN,
    )
    order = {"categoryorder": "array", "categoryarray": rows[::-1]}
    figure.update_yaxes(**order, range=[-0.6, len(rows) - 0.4], automargin=True, **_PLAIN)
    return figure


def _effects(measured: dict[str, Any], dimensions: list[int], keys: list[str], rows: list[str]) -> go.Heatmap:
    """The effects, a column a dimension and a row a property."""
    place = measured["moved"].index("effect")
    return go.Heatmap(
        z=[
            [measured["dimensions"][each]["moved"].get(key, {place: None})[place] for each in dimensions]
            for key in keys
        ],
        x=list(range(len(dimensions))),
        y=rows,
        colorscale=DIVERGING,
        zmin=-FULL,
        zmax=FULL,
        xgap=1,
        ygap=1,
        hoverinfo="skip",
        colorbar={
            "title": {"text": "effect, SD", "side": "right"},
            "thickness": 10,
            "tickvals": [-FULL, 0, FULL],
        },
    )


def _add_squares(
    figure: go.Figure, measured: dict[str, Any], dimensions: list[int], rows: dict[str, str]
) -> None:
    """Add invisible squares, since a heat map cannot be clicked, and dots for the properties in a name."""
    squares, dots = [], []
    for at, dimension in enumerate(dimensions):
        one = measured["dimensions"][dimension]
        for key, row in rows.items():
            if key in one["moved"]:
                text = f"z {dimension}: {one['name']}<br>{_hover_text(measured, one, key)}"
                squares.append((at, row, text, dimension))
                if key in one["properties"]:
                    dots.append((at, row))

    def add(places: list[Any], marker: dict[str, Any], opacity: int, **named: Any) -> None:
        figure.add_scatter(
            x=[place[0] for place in places],
            y=[place[1] for place in places],
            mode="markers",
            marker=marker,
            selected={"marker": {"opacity": opacity}},
            unselected={"marker": {"opacity": opacity}},
            showlegend=False,
            **named,
        )

    add(
        squares,
        {"symbol": "square", "size": float(np.clip(900 / len(dimensions), 9, 22)), "opacity": 0},
        0,
        text=[text for _, _, text, _ in squares],
        customdata=[dimension for _, _, _, dimension in squares],
        hovertemplate="%{text}<extra></extra>",
    )
    dot = {"symbol": "circle", "size": 5, "color": "#fff", "line": {"width": 1, "color": "#111"}}
    add(dots, dot, 1, hoverinfo="skip")


def judged(measured: dict[str, Any], one: dict[str, Any]) -> pd.DataFrame:
    """One row per rating that a judge predicted along a dimension; the steadiest change first."""
    place, agreement = JUDGED.index("spearman"), measured["judge"]["ratings"]
    rows = []
    for rating in sorted(one["judged"], key=lambda rating: -abs(one["judged"][rating][place])):
        change, low, high, spearman, rises = one["judged"][rating]
        row = {
            "rating": rating,
            "change": f"{number(change)} ({number(low)} to {number(high)})",
            "rises in": f"{rises:.0%}",
            "Spearman": number(spearman),
        }
        for kind in ("real", "reconstructed"):
            value = agreement[kind][rating]["value"]
            row[f"judge on {kind} slices"] = "not known" if value is None else number(value)
        rows.append(row | {"slices": f"{agreement['real'][rating]['n']:,}"})
    return pd.DataFrame(rows)


def strip(images: np.ndarray, outlines: np.ndarray, values: np.ndarray) -> go.Figure:
    """Draw images (T, 64, 64) in 0..1 side by side, with the measured outlines (T, R, 2) and the values."""
    step = SIZE + GAP
    wide = np.full((SIZE, step * len(images) - GAP, 3), 255, np.uint8)
    for at, image in enumerate(images):
        wide[:, at * step : at * step + SIZE] = grey(image)[:, :, None]
    figure = go.Figure(go.Image(z=wide, hoverinfo="skip"))
    for at, (line, value) in enumerate(zip(outlines, values, strict=True)):
        figure.add_scatter(
            x=line[:, 0] + at * step,
            y=line[:, 1],
            mode="lines",
            line={"color": MORE, "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_annotation(
            x=at * step + SIZE / 2,
            y=SIZE + 5,
            text=f"{round(float(value), 4):.3g}".replace("-", "−"),
            showarrow=False,
        )
        figure.add_annotation(
            x=at * step + 1,
            y=4,
            text="generated",
            showarrow=False,
            xanchor="left",
            font={"size": 9, "color": "#fff"},
            bgcolor="rgba(0,0,0,0.6)",
            borderpad=1,
        )
    figure.update_xaxes(visible=False, range=[-0.5, wide.shape[1] - 0.5])
    figure.update_yaxes(visible=False, range=[SIZE + 9, -0.5], scaleanchor="x")
    figure.update_layout(height=165, margin=NO_MARGIN, dragmode=False)
    return figure


def curves(measured: dict[str, Any], dimension: int, count: int = 6) -> go.Figure:
    """Draw the properties that a dimension changes most, along it: mean over the starts, 95 % interval."""
    one = measured["dimensions"][dimension]
    keys = strongest(measured, dimension)[:count]
    values = values_along(measured, dimension)
    even = np.allclose(np.diff(values), values[1] - values[0], rtol=1e-3, atol=1e-6)
    titles = [_title(measured["properties"][key]) for key in keys]
    across = min(3, max(len(keys), 1))
    rows = -(-len(keys) // across) or 1
    figure = make_subplots(rows, across, subplot_titles=titles)
    for at, key in enumerate(keys):
        place = panel(at, across)
        mean, low, high = (np.array(each, float) for each in one["walk"][key])
        figure.add_scatter(
            x=np.concatenate([values, values[::-1]]),
            y=np.concatenate([high, low[::-1]]),
            fill="toself",
            fillcolor="rgba(86,180,233,0.25)",
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
            **place,
        )
        hover = "z %{x:.3g}: %{y:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})"
        add_line(figure, values, mean, LINE, hover, customdata=np.stack([low, high], axis=1), **place)
        # A change below a tenth of the spread between lesions must not fill the panel.
        least = 0.1 * measured["properties"][key]["deviation"]
        bottom, top = np.nanmin(low), np.nanmax(high)
        pad = max(0.08 * (top - bottom), (least - (top - bottom)) / 2)
        figure.update_yaxes(range=[bottom - pad, top + pad], **place)
    figure.update_annotations(font_size=12)
    if not even:  # shares in steps of equal factors
        figure.update_xaxes(type="log")
    figure.update_layout(height=170 * rows + 30, margin={**NO_MARGIN, "t": 28}, showlegend=False)
    return figure


def effects(measured: dict[str, Any], dimension: int) -> go.Figure:
    """Draw a dimension's effect on every property, in standard deviations with interval."""
    one = measured["dimensions"][dimension]
    keys = strongest(measured, dimension)
    about = [measured["properties"][key] for key in keys]
    _, low, high, effect, _, _ = np.array([one["moved"][key] for key in keys], float).reshape(-1, 6).T
    deviation = np.array([each["deviation"] for each in about])
    figure = go.Figure(
        go.Scatter(
            x=effect,
            y=[each["words"] for each in about],
            mode="markers",
            marker={"size": 9, "color": [MORE if key in one["properties"] else LINE for key in keys]},
            error_x=error_bars(effect, low / deviation, high / deviation, color="#888", thickness=1.5),
            text=[_hover_text(measured, one, key) for key in keys],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    figure.add_vline(0, line={"color": "#888", "width": 1})
    figure.update_xaxes(title_text="effect, SD (95 % interval)", zeroline=False)
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_layout(height=24 * len(keys) + 50, margin=NO_MARGIN)
    return figure


def strongest(measured: dict[str, Any], dimension: int) -> list[str]:
    """List the properties that can name a dimension, the most changed first."""
    moved = measured["dimensions"][dimension]["moved"]
    place = measured["moved"].index("effect")
    return sorted((key for key in naming(measured) if key in moved), key=lambda key: -abs(moved[key][place]))


def _title(about: dict[str, Any]) -> str:
    with_unit = not about["unit"] or about["words"].endswith(about["unit"])
    return about["words"] if with_unit else f"{about['words']}, {about['unit']}"


def _hover_text(measured: dict[str, Any], one: dict[str, Any], key: str) -> str:
    about = measured["properties"][key]
    change, low, high, effect, spearman, agree = one["moved"][key]
    unit = f" {about['unit']}" if about["unit"] else ""
    return (
        f"{about['words']}: {number(change)}{unit} ({number(low)} to {number(high)})<br>{number(effect)} SD, "
        f"Spearman {number(spearman)}, {agree:.0%} of lesions move that way"
    )
