"""The Directions page's charts: scores, stability, angles, curves along a walk."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.explore.counterfactual import Counterfactual
from lungvae_core.number_text import interval
from lungvae_core.palette import BLUE, GREEN, GREY, ORANGE, SKY, VERMILLION
from pages.shared.charts import MARGIN, add_line, arrays, error_bars, panel

_DIVERGING = [[0, BLUE], [0.5, "#f2f2f2"], [1, VERMILLION]]
TITLES = {
    "malignancy": "malignancy",
    "diameter": "diameter",
    "malignancy_without_size": "malignancy, size projected out",
    "malignancy_beyond_size": "malignancy beyond size",
}
# The groups of nodules with an AUC for malignancy: key in the report -> words, colour, symbol.
_GROUPS = {
    "all": ("all nodules", BLUE, "circle"),
    "band": ("same size band", ORANGE, "square"),
    "size": ("diameters within 10 %", GREEN, "diamond"),
}
MEASURES = {
    "halves": "two halves of the patients",
    "bootstrap": "two draws with replacement",
    "folds": "the folds' training parts",
}


def title(name: str) -> str:
    """Return a direction's name on the page."""
    return TITLES.get(name, name)


def held_out(report: dict[str, Any]) -> go.Figure:
    """Draw every direction's held-out score with its interval: AUCs on the left, R2 on the right."""
    figure = make_subplots(
        1, 2, subplot_titles=["AUC (0.5: chance)", "R² (0: no better than the mean)"], horizontal_spacing=0.2
    )
    for at, (kind, nothing) in enumerate((("auc", 0.5), ("r2", 0.0))):
        rows = [
            (title(name), entry["score"])
            for name, entry in report["directions"].items()
            if entry["score"]["name"] == kind
        ]
        _dots(figure, rows, BLUE, place=panel(at, 2))
        figure.add_vline(nothing, line={"color": GREY, "dash": "dot"}, **panel(at, 2))
    figure.update_layout(height=300, margin=MARGIN, showlegend=False)
    return figure


def like_sizes(report: dict[str, Any]) -> go.Figure | None:
    """Draw the AUC for malignancy over all nodules and within similar sizes, directions beside diameter."""
    matched = {name: entry for name, entry in report["directions"].items() if entry["matched"]}
    if not matched:
        return None
    figure = go.Figure()
    diameter = next(iter(matched.values()))["matched"]
    for number, (key, (name, colour, symbol)) in enumerate(_GROUPS.items()):
        rows = [
            (title(each), entry["score"] if key == "all" else entry["matched"][key]["auc"])
            for each, entry in matched.items()
        ]
        rows.append(("diameter itself", diameter[key]["diameter"]))
        _dots(figure, rows, colour, name=name, symbol=symbol, shift=0.22 * (1 - number))
    figure.add_vline(0.5, line={"color": GREY, "dash": "dot"})
    figure.update_xaxes(title_text="AUC, malignant against benign, per nodule")
    figure.update_layout(height=320, margin=MARGIN, legend={"orientation": "h", "y": 1.18})
    return figure


def _dots(
    figure: go.Figure,
    rows: list[tuple[str, dict[str, Any]]],
    colour: str,
    *,
    place: dict[str, int] | None = None,
    name: str = "",
    symbol: str = "circle",
    shift: float = 0,
) -> None:
    """Draw {value, low, high} as points with intervals, one per line from the top; `shift` moves them up."""
    rows = [(label, score) for label, score in rows[::-1] if score["value"] is not None]
    value, low, high = arrays((score for _, score in rows), "value", "low", "high")
    at = np.arange(len(rows))
    figure.add_scatter(
        x=value,
        y=at + shift,
        mode="markers",
        name=name,
        marker={"color": colour, "size": 9, "symbol": symbol},
        error_x=error_bars(value, low, high, color=colour, thickness=1.5),
        text=[f"{label}: {interval(score)}" for label, score in rows],
        hovertemplate="%{text}<extra></extra>",
        **(place or {}),
    )
    ticks = {"tickvals": at, "ticktext": [label for label, _ in rows]}
    figure.update_yaxes(**ticks, zeroline=False, **(place or {}))


def steadiness(report: dict[str, Any], measure: str, vector: str) -> go.Figure:
    """Draw how similar each direction is when fitted on other patients, and on shuffled values."""
    entries = {name: entry["stability"][vector][measure] for name, entry in report["directions"].items()}
    entries = {name: entry for name, entry in entries.items() if entry["value"] is not None}
    names = [title(name) for name in entries]
    value, low, high, null, null_high = arrays(entries.values(), "value", "low", "high", "null", "null_high")
    figure = go.Figure()
    figure.add_bar(
        x=names,
        y=value,
        name="the direction",
        marker_color=BLUE,
        error_y=error_bars(value, low, high, color=GREY),
        customdata=[entry["p"] for entry in entries.values()],
        hovertemplate="%{x}: cosine %{y:.2f}, p %{customdata:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=names,
        y=null,
        mode="markers",
        name="values shuffled between patients, up to their 95th percentile",
        marker={"color": ORANGE, "symbol": "line-ew", "size": 22, "line": {"color": ORANGE, "width": 3}},
        error_y=error_bars(null, null, null_high, color=ORANGE),
        hovertemplate="%{x}, shuffled: %{y:.2f}<extra></extra>",
    )
    figure.update_yaxes(title_text="cosine", range=[min(-0.2, float(low.min())), 1.05])
    figure.update_layout(height=320, margin=MARGIN, legend={"orientation": "h", "y": 1.15})
    return figure


def angles(report: dict[str, Any], kind: str) -> go.Figure:
    """Draw the cosines of the patterns, or the correlations of the scores, of every pair of directions."""
    names = [title(name) for name in report["angles"]["names"]]
    values = np.array(report["angles"][kind], float)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=names,
            y=names,
            zmin=-1,
            zmax=1,
            colorscale=_DIVERGING,
            text=np.round(values, 2),
            texttemplate="%{text:.2f}",
            textfont={"color": "#222222"},
            hovertemplate="%{y} and %{x}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=460, margin=MARGIN)
    return figure


def along(
    values: np.ndarray, curves: dict[str, np.ndarray], scores: np.ndarray | None, at: float
) -> go.Figure:
    """Draw what is measured in the decoded images along a walk, a panel per property, and the model score."""
    panels = {**({} if scores is None else {"model score, 0 to 1": scores}), **curves}
    across = min(4, len(panels))
    rows = -(-len(panels) // across)
    figure = make_subplots(rows, across, subplot_titles=list(panels), vertical_spacing=0.22)
    for number, (name, curve) in enumerate(panels.items()):
        place = panel(number, across)
        colour = ORANGE if name.startswith("model score") else SKY
        add_line(figure, values, curve, colour, "at %{x:.1f}: %{y:.3g}", **place)
        figure.add_vline(at, line={"color": GREY, "dash": "dot"}, **place)
    figure.update_annotations(font_size=13)
    figure.update_layout(height=40 + 190 * rows, margin=MARGIN, showlegend=False)
    return figure


def path(change: Counterfactual) -> go.Figure:
    """Draw the model score from the lesion's code to the changed one."""
    share = np.linspace(0, change.distance, len(change.path_scores))
    figure = go.Figure(
        go.Scatter(x=share, y=change.path_scores, mode="lines+markers", line={"color": ORANGE, "width": 2})
    )
    figure.add_hline(change.target, line={"color": GREY, "dash": "dot"}, annotation_text="to pass")
    figure.update_xaxes(title_text="change of the code, standard deviations of the lesions")
    figure.update_yaxes(title_text="model score", range=[-0.03, 1.03])
    figure.update_layout(height=230, margin=MARGIN, showlegend=False)
    return figure
