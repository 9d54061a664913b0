"""The Evaluation page's figures: forests, waterfalls, dots, curves and confusion matrices, in plotly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.evaluation.report import ReliabilityBin
from lungvae_core.evaluation.report_view.blocks import KINDS, Cell, Forest, Square, Steps, Strip, ends
from lungvae_core.evaluation.report_words import Row
from lungvae_core.evaluation.report_words import figure as with_interval
from lungvae_core.palette import GREY, ORANGE, PURPLE, SKY
from pages.shared.charts import MARGIN, NO_MARGIN, error_bars, panel

# Okabe and Ito's colours, each with its own shape; readable on light and dark pages.
COLOURS = {"model": SKY, "size": ORANGE, "readers": PURPLE, "pixels": GREY}
SHAPES = {"model": "circle", "size": "square", "readers": "diamond", "pixels": "triangle-up"}
_NO_GRID = {"zeroline": False, "showgrid": False}
LINE = 30  # height of one line of a forest


def draw(drawn: Forest | Steps | Strip) -> go.Figure:
    """Draw a figure from a report's sections."""
    match drawn:
        case Forest():
            return forest(drawn)
        case Steps():
            return steps(drawn)
        case Strip():
            return strip(drawn)


def forest(drawn: Forest) -> go.Figure:
    """Draw values with their 95 % intervals, one per line, with the numbers written on the right."""
    figure = go.Figure()
    names: dict[int, str] = {}
    shown: set[str] = set()
    for heading, rows in drawn.groups:
        if heading:
            names[-len(names)] = f"<b>{heading}</b>"
        for row in rows:
            strong = drawn.legend and row.kind == "model"
            _forest_line(figure, row, -len(names), strong, legend=drawn.legend and row.kind not in shown)
            shown.add(row.kind)
            names[-len(names)] = f"<b>{row.name}</b>" if strong else row.name
    _lines(figure, names, LINE, drawn.axis, right=165, top=34 if drawn.legend else 8)
    figure.update_layout(
        showlegend=drawn.legend,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "itemclick": False},
    )
    if drawn.limits is not None:
        every = [end for _, rows in drawn.groups for row in rows for end in ends(row.interval)]
        low, high = min(drawn.limits[0], *every), max(drawn.limits[1], *every)
        margin = 0.03 * (high - low)  # otherwise half a mark is cut off
        figure.update_xaxes(range=[low - margin, high + margin])
    if drawn.zero is not None:
        figure.add_vline(x=drawn.zero, line={"color": GREY, "width": 1.5})
    return figure


def _forest_line(figure: go.Figure, row: Row, y: int, strong: bool, *, legend: bool) -> None:
    value, low, high = np.array(ends(row.interval))[:, None]
    label = with_interval(row.interval)
    figure.add_scatter(
        x=value,
        y=[y],
        error_x=error_bars(value, low, high, thickness=2, width=4),
        mode="markers",
        name=KINDS[row.kind],
        legendgroup=row.kind,
        showlegend=legend,
        marker={"color": COLOURS[row.kind], "symbol": SHAPES[row.kind], "size": 11},
        hovertemplate=f"{row.name}: {label}<br>{row.note}<extra></extra>",
    )
    figure.add_annotation(
        x=1,
        xref="paper",
        xanchor="left",
        xshift=8,
        y=y,
        text=f"<b>{label}</b>" if strong else label,
        showarrow=False,
        align="left",
    )


def steps(drawn: Steps) -> go.Figure:
    """Draw a waterfall: the honest figure, then what each liberty adds to it."""
    figure = go.Figure()
    floor, greatest, margin = drawn.limits
    for at, step in enumerate(drawn.steps):
        gain = step.gain
        start = floor if gain is None else step.value - gain
        figure.add_bar(
            x=[step.value - start],
            base=[start],
            y=[-at],
            orientation="h",
            width=0.62,
            marker={"color": COLOURS["model" if gain is None else "size" if gain > 0 else "pixels"]},
            hovertemplate=f"{step.name}: {step.note}<br>{step.label}<extra></extra>",
        )
        figure.add_annotation(
            x=max(step.value, start),
            y=-at,
            xanchor="left",
            xshift=6,
            text=f"<b>{step.label}</b>",
            showarrow=False,
        )
        if at + 1 < len(drawn.steps):
            x, line = step.value, {"color": GREY, "width": 1, "dash": "dot"}
            figure.add_shape(type="line", x0=x, x1=x, y0=-at - 1.31, y1=-at - 0.31, line=line)
    names = {-at: step.name for at, step in enumerate(drawn.steps)}
    _lines(figure, names, 46, f"{drawn.axis}; the axis does not begin at 0")
    figure.update_xaxes(range=[floor, greatest + 5 * margin])
    return figure


def strip(drawn: Strip) -> go.Figure:
    """Draw one dot per fold or seed; the stroke is the mean."""
    figure = go.Figure()
    for at, line in enumerate(drawn.lines):
        figure.add_scatter(
            x=line.values,
            y=[-at] * len(line.values),
            mode="markers",
            marker={"size": 10, "color": COLOURS[line.kind], "opacity": 0.6},
            hovertemplate=f"{line.name}: %{{x:.3f}}<extra></extra>",
        )
        figure.add_scatter(
            x=[line.mean] * 2,
            y=[-at - 0.3, -at + 0.3],
            mode="lines",
            line={"color": GREY, "width": 2},
            hovertemplate=f"mean {line.mean:.3f}<extra></extra>",
        )
    _lines(figure, {-at: line.name for at, line in enumerate(drawn.lines)}, 32, drawn.axis)
    return figure


def curves(squares: Sequence[Square]) -> go.Figure:
    """Draw curves in the unit square, side by side; dashed is chance, or perfect calibration."""
    figure = make_subplots(
        1,
        len(squares),
        subplot_titles=[", ".join(filter(None, (one.title, one.note))) for one in squares],
        horizontal_spacing=0.11,
    )
    dashed = {"color": GREY, "width": 1, "dash": "dash"}
    smooth = {
        "mode": "lines",
        "line": {"color": COLOURS["model"], "width": 2.5},
        "hovertemplate": "%{x:.3f}, %{y:.3f}<extra></extra>",
    }
    for at, one in enumerate(squares):
        place = panel(at, len(squares))
        figure.add_scatter(x=[0, 1], y=one.chance, mode="lines", line=dashed, hoverinfo="skip", **place)
        figure.add_scatter(x=one.x, y=one.y, **(_bins(one.bins) if one.bins else smooth), **place)
        ticks = {"tickvals": [0, 0.5, 1], "zeroline": False}
        figure.update_xaxes(title_text=one.across, range=[-0.02, 1.02], **ticks, **place)
        figure.update_yaxes(title_text=one.up, range=[-0.02, 1.04], **ticks, **place)
    figure.update_annotations(font_size=13)
    figure.update_layout(height=350, margin={**MARGIN, "t": 32}, showlegend=False)
    return figure


def _bins(bins: Sequence[ReliabilityBin]) -> dict[str, Any]:
    """Return the look of a calibration curve: a mark with its interval for each bin."""
    share = np.array([each.share for each in bins])
    low = np.array([each.share if each.low is None else each.low for each in bins])
    high = np.array([each.share if each.high is None else each.high for each in bins])
    return {
        "error_y": error_bars(share, low, high, thickness=1.5, width=3),
        "mode": "markers+lines",
        "line": {"color": COLOURS["model"], "width": 1},
        "marker": {"size": 8, "color": COLOURS["model"]},
        "customdata": [[each.count] for each in bins],
        "hovertemplate": "said %{x:.2f}, malignant %{y:.2f}, of %{customdata[0]}<extra></extra>",
    }


def confusion(lines: Sequence[tuple[str, Sequence[Cell]]]) -> go.Figure:
    """Draw counts at the threshold with their share of the true class: blue is right, orange is wrong."""
    figure = go.Figure()
    for y, (_, cells) in enumerate(reversed(lines)):
        for x, cell in enumerate(cells):
            figure.add_shape(
                type="rect",
                **{"x0": x - 0.48, "x1": x + 0.48, "y0": y - 0.48, "y1": y + 0.48},
                fillcolor=COLOURS["model" if cell.right else "size"],
                opacity=0.15 + 0.5 * (cell.share or 0.0),
                line_width=0,
            )
            text = f"<b>{cell.count:,}</b><br>{cell.percent}"
            figure.add_annotation(x=x, y=y, text=text, showarrow=False, font_size=16)
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    axis = {"tickvals": [0, 1], "range": [-0.5, 1.5], **_NO_GRID}
    figure.update_xaxes(ticktext=["called<br>malignant", "called<br>benign"], tickangle=0, side="top", **axis)
    figure.update_yaxes(ticktext=[truth.replace(" ", "<br>") for truth, _ in reversed(lines)], **axis)
    figure.update_layout(height=260, margin={**NO_MARGIN, "t": 10}, showlegend=False)
    return figure


def _lines(
    figure: go.Figure, names: dict[int, str], height: int, axis: str, *, right: int = 10, top: int = 8
) -> None:
    """Label the lines of a figure, numbered downwards from 0; each is `height` high."""
    figure.update_layout(
        height=height * max(1, len(names)) + 62 + top,
        margin={**NO_MARGIN, "r": right, "t": top},
        showlegend=False,
    )
    figure.update_xaxes(title_text=axis, zeroline=False, showgrid=True, gridcolor="rgba(143, 149, 155, 0.25)")
    ticks = {"tickvals": list(names), "ticktext": list(names.values())}
    figure.update_yaxes(**ticks, range=[0.4 - len(names), 0.6], **_NO_GRID)
