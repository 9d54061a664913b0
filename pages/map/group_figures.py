"""The group panel's charts: how a group differs from all other lesions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lungvae_core.explore.typical import Contrast
from lungvae_core.palette import CIVIDIS, GREY, SKY
from lungvae_core.serving.lesions.group import FIGURES
from pages.shared.charts import error_bars

_LINE_PX = 40


def contrasts(differences: Sequence[Contrast]) -> go.Figure:
    """Draw how far the group is from the rest, one line per figure, in standard deviations and its own unit.

    The intervals of filled points exclude zero. Intervals are 95 % over resampled patients.
    """
    shown = [each for each in differences if np.isfinite(each.difference) and each.spread > 0][::-1]
    x, low, high = (
        np.array([getattr(contrast, name) / contrast.spread for contrast in shown])
        for name in ("difference", "low", "high")
    )
    at, bar = np.arange(len(shown)), {"color": GREY, "thickness": 1.5, "width": 4}
    figure = go.Figure(
        go.Scatter(
            x=x,
            y=at,
            mode="markers",
            marker={
                "size": 10,
                "color": [SKY if contrast.differs else GREY for contrast in shown],
                "symbol": ["circle" if contrast.differs else "circle-open" for contrast in shown],
                "line": {"width": 2},
            },
            # A figure without an interval has bars of no length.
            error_x=error_bars(0, np.nan_to_num(low - x), np.nan_to_num(high - x), **bar),
            text=[_caption(contrast) for contrast in shown],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    figure.add_vline(0, line={"color": GREY, "dash": "dot"})
    figure.update_yaxes(
        tickvals=at,
        ticktext=[_label(contrast) for contrast in shown],
        range=[-0.6, len(shown) - 0.4],
        zeroline=False,
        fixedrange=True,
    )
    figure.update_xaxes(title="group less rest, in standard deviations", fixedrange=True, zeroline=False)
    margin = {"l": 4, "r": 8, "t": 8, "b": 8}
    figure.update_layout(height=70 + _LINE_PX * len(shown), margin=margin, showlegend=False)
    return figure


def shares(composition: pd.DataFrame) -> go.Figure:
    """Draw how readers rated the group and all slices: for each, a bar with the shares of ratings 1 to 5."""
    figure = go.Figure()
    for rating, colour in zip(composition.index, CIVIDIS[::2], strict=True):
        figure.add_bar(
            y=["group", "all"],
            x=composition.loc[rating],
            name=str(rating),
            orientation="h",
            marker={"color": colour},
            hovertemplate=f"{rating}: %{{x:.0%}}<extra></extra>",
        )
    figure.update_layout(
        barmode="stack",
        height=190,
        margin={"l": 4, "r": 8, "t": 4, "b": 4},
        legend={"orientation": "h", "y": -0.25, "traceorder": "normal", "font": {"size": 11}},
    )
    figure.update_xaxes(tickformat=".0%", range=[0, 1], fixedrange=True)
    figure.update_yaxes(fixedrange=True, autorange="reversed")
    return figure


def _label(contrast: Contrast) -> str:
    figure = FIGURES[contrast.name]
    group, rest = (f"{value:.{figure.digits}f}" for value in (contrast.group, contrast.rest))
    return f"{figure.title}<br>{group}{figure.unit}, rest {rest}{figure.unit}"


def _caption(contrast: Contrast) -> str:
    figure = FIGURES[contrast.name]
    digits = figure.digits + 1
    text = (
        f"{figure.title}: group {contrast.group:.{digits}f}{figure.unit}, rest {contrast.rest:.{digits}f}"
        f"{figure.unit}<br>difference {contrast.difference:+.{digits}f}{figure.unit}"
    )
    if np.isfinite(contrast.low):
        text += f" (95 %: {contrast.low:+.{digits}f} to {contrast.high:+.{digits}f})"
    else:
        text += ", too few patients for an interval"
    if figure.low:
        text += f"<br>small: {figure.low}; large: {figure.high}"
    return f"{text}<br>{contrast.nodules:,} nodules of the group"
