"""The Clusters page's charts: the map, the settings tried, agreement with attributes, stability."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.palette import BLUE, GREY, OKABE_ITO, ORANGE, SKY, VERMILLION
from pages.shared.charts import MARGIN, add_line, arrays, error_bars, panel

_SYMBOLS = ("circle", "diamond-tall", "cross")
_MARKS = ("●", "♦", "✚")  # the same in text
# For each kind of attribute: the name of its bars, their colour and hatching.
_KINDS = {
    "finding": ("what readers said", SKY, ""),
    "surroundings": ("where the lesion lies", ORANGE, "."),
    "confound": ("confound: whose scan, and how made", VERMILLION, "/"),
}
_ALONG = {
    "malignancy": (SKY, "solid"),
    "size": (BLUE, "dash"),
    "place": (ORANGE, "dot"),
    "patient": (VERMILLION, "dashdot"),
}
_LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
VALID, NOT_TRUSTED = 0.75, 0.6  # Hennig 2007


def style(cluster: int) -> tuple[str, str, str]:
    """(colour, symbol of the map, mark in text) of a cluster: colours first, then other symbols."""
    round_ = cluster // len(OKABE_ITO) % len(_SYMBOLS)
    return OKABE_ITO[cluster % len(OKABE_ITO)], _SYMBOLS[round_], _MARKS[round_]


def places(
    xy: np.ndarray, members: np.ndarray, clusters: list[dict[str, Any]], texts: list[str]
) -> go.Figure:
    """Draw lesions at xy (M, 2) on a map, coloured by cluster; those in no cluster are small and grey."""
    figure = go.Figure()
    groups = [(-1, "in none"), *((one["cluster"], f"{one['cluster']}: {one['name']}") for one in clusters)]
    for cluster, name in groups:
        inside = members == cluster
        if not inside.any():
            continue
        colour, symbol, size, opacity = GREY, "circle", 4, 0.5
        if cluster >= 0:
            (colour, symbol, _), size, opacity = style(cluster), 6, 0.9
        figure.add_scatter(  # no WebGL: a browser without a graphics card lacks it
            x=xy[inside, 0],
            y=xy[inside, 1],
            mode="markers",
            name=name if len(name) < 50 else f"{name[:48]}…",
            marker={"color": colour, "symbol": symbol, "size": size, "opacity": opacity},
            text=np.array(texts)[inside],
            hovertemplate=f"%{{text}}<br>{name}<extra></extra>",
        )
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False}
    figure.update_xaxes(**hidden)
    figure.update_yaxes(**hidden, scaleanchor="x")
    figure.update_layout(
        height=470,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        legend={"orientation": "h", "y": -0.02, "itemsizing": "constant"},
    )
    return figure


def tried(method: dict[str, Any]) -> go.Figure | None:
    """Draw the values tried for a method's setting: silhouettes, and k-means' elbow; None if it is fixed."""
    curve, settings = method["curve"], method["settings"]
    if not curve:
        return None
    key, title = "k", "k: number of clusters"
    if key not in settings:
        key, title = "radius", "radius, in median distances from the mean"
    bends = "inertia" in curve[0]
    figure = make_subplots(2 if bends else 1, 1, shared_xaxes=True, vertical_spacing=0.1)
    upper, lower = panel(0, 1), panel(1, 1)
    x, silhouettes = [one[key] for one in curve], [one["silhouette"] for one in curve]
    hover = f"{key} %{{x}}: silhouette %{{y:.3f}}"
    add_line(figure, x, silhouettes, BLUE, hover, name="silhouette", **upper)
    if bends:
        without, inertia = [one["featureless"]["value"] for one in curve], [one["inertia"] for one in curve]
        look = {"name": "without groups", "mode": "lines", "dash": "dash"}
        add_line(figure, x, without, GREY, f"{key} %{{x}}, without groups: %{{y:.3f}}", **look, **upper)
        add_line(figure, x, inertia, ORANGE, "k %{x}: inertia %{y:.4g}", name="inertia", **lower)
        elbow = {"line": {"color": ORANGE, "dash": "dot"}, "annotation_text": "elbow"}
        figure.add_vline(settings["elbow"], **elbow, **lower)
        figure.update_yaxes(title_text="inertia", rangemode="tozero", **lower)
    figure.add_vline(settings[key], line={"color": BLUE, "dash": "dot"}, **upper)
    widths = [width for width in silhouettes if width is not None]
    top = 1.15 * max(widths, default=1.0)
    figure.update_yaxes(title_text="silhouette", range=[min([0.0, *widths]), top], **upper)
    corner = {"showarrow": False, "xanchor": "left", "yanchor": "top"}
    figure.add_annotation(x=settings[key], y=top, text="chosen", **corner, **upper)
    figure.update_xaxes(title_text=title, **(lower if bends else upper))
    figure.update_layout(height=430 if bends else 300, margin=MARGIN, legend=_LEGEND_ABOVE, showlegend=bends)
    return figure


def sizes(method: dict[str, Any]) -> go.Figure:
    """Draw the share of the lesions in each cluster, and in none."""
    rows = [(str(one["cluster"]), one["share"], style(one["cluster"])[0]) for one in method["clusters"]]
    if method["noise"]:
        rows.append(("in none", method["noise"], GREY))
    names, shares, colours = ([row[at] for row in rows] for at in range(3))
    figure = go.Figure(
        go.Bar(x=names, y=shares, marker_color=colours, hovertemplate="%{x}: %{y:.1%}<extra></extra>")
    )
    figure.update_xaxes(title_text="cluster", type="category")
    figure.update_yaxes(title_text="share of the lesions", tickformat=".0%")
    figure.update_layout(height=300, margin=MARGIN)
    return figure


def follows(method: dict[str, Any], measure: str) -> go.Figure:
    """Draw AMI or NMI with each attribute, largest first, beside its value by chance."""
    rows = sorted(method["attributes"], key=lambda one: one[measure]["value"])
    labels = [one["title"] for one in rows]
    figure = go.Figure()
    for kind, (name, colour, hatch) in _KINDS.items():
        of_kind = [one for one in rows if one["kind"] == kind]
        figure.add_bar(
            y=[one["title"] for one in of_kind],
            x=[one[measure]["value"] for one in of_kind],
            orientation="h",
            name=name,
            marker={
                "color": colour,
                "pattern": {"shape": hatch, "fillmode": "overlay", "fgcolor": "#111111", "size": 6},
            },
            customdata=[(one["units"], one["groups"], one[measure]["p"]) for one in of_kind],
            hovertemplate=f"%{{y}}: {measure.upper()} %{{x:.3f}}, %{{customdata[0]:,}} known, "
            "%{customdata[1]} groups, p %{customdata[2]:.3f}<extra></extra>",
        )
    figure.add_scatter(
        y=labels,
        x=[one[measure]["null_high"] for one in rows],
        mode="markers",
        name="chance: 95th percentile of shuffles",
        marker={"symbol": "line-ns", "size": 16, "line": {"color": GREY, "width": 3}},
        hovertemplate="%{y}, shuffled: up to %{x:.3f}<extra></extra>",
    )
    figure.update_xaxes(title_text=f"{measure.upper()} of the clusters with it, 1: one tells the other")
    figure.update_yaxes(categoryorder="array", categoryarray=labels)
    figure.update_layout(
        height=90 + 26 * len(rows),
        margin=MARGIN,
        barmode="overlay",
        legend=_LEGEND_ABOVE,
    )
    return figure


def along_k(method: dict[str, Any], titles: dict[str, str]) -> go.Figure | None:
    """Draw how AMI with the main attributes changes with k; None for methods without a k."""
    curve = method["curve"]
    if not curve or "ami" not in curve[0]:
        return None
    figure = go.Figure()
    k = [one["k"] for one in curve]
    for name, (colour, dash) in _ALONG.items():
        if name in curve[0]["ami"]:
            ami, title = [one["ami"][name] for one in curve], titles.get(name, name)
            add_line(figure, k, ami, colour, f"k %{{x}}, {title}: AMI %{{y:.3f}}", dash=dash, name=title)
    figure.add_vline(method["settings"]["k"], line={"color": GREY, "dash": "dot"}, annotation_text="chosen")
    figure.update_xaxes(title_text="k: number of clusters")
    figure.update_yaxes(title_text="AMI")
    figure.update_layout(height=300, margin=MARGIN, legend={"orientation": "h", "y": 1.18})
    return figure


def steadiness(method: dict[str, Any]) -> go.Figure:
    """Draw how stable each cluster (Jaccard) and the whole clustering (adjusted Rand) are over patients."""
    figure = make_subplots(
        1,
        2,
        column_widths=[0.72, 0.28],
        subplot_titles=["each cluster: Jaccard index", "all together: adjusted Rand index"],
        horizontal_spacing=0.1,
    )
    clusters = [one for one in method["clusters"] if one["jaccard"]["value"] is not None]
    jaccard = {str(one["cluster"]): one["jaccard"] for one in clusters}
    _bars(figure, jaccard, [style(one["cluster"])[0] for one in clusters], panel(0, 2))
    rand = {"the lesions": method["stability"]["rand"], "without groups": method["featureless"]["rand"]}
    rand = {name: one for name, one in rand.items() if one["value"] is not None}
    _bars(figure, rand, [BLUE, GREY], panel(1, 2))
    for at in (VALID, NOT_TRUSTED):
        figure.add_hline(at, line={"color": GREY, "dash": "dot"}, **panel(0, 2))
    figure.update_xaxes(title_text="cluster", type="category", **panel(0, 2))
    figure.update_yaxes(range=[0, 1.05], **panel(0, 2))
    lowest = min([0.0, *(one["low"] for one in rand.values())])
    figure.update_yaxes(range=[lowest - 0.02, 1.05], **panel(1, 2))
    figure.update_layout(height=320, margin=MARGIN, showlegend=False)
    return figure


def _bars(
    figure: go.Figure, rows: dict[str, dict[str, Any]], colours: list[str], place: dict[str, int]
) -> None:
    value, low, high = arrays(rows.values(), "value", "low", "high")
    figure.add_bar(
        x=list(rows),
        y=value,
        marker_color=colours[: len(rows)],
        error_y=error_bars(value, low, high, color=GREY, thickness=1.5),
        customdata=np.stack([low, high], axis=1) if len(rows) else None,
        hovertemplate="%{x}: %{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<extra></extra>",
        **place,
    )


def maps(quality: list[dict[str, Any]], unit: str) -> go.Figure:
    """Draw the trustworthiness and continuity of a unit's maps over the number of neighbours."""
    figure = make_subplots(
        1, 2, subplot_titles=["trustworthiness", "continuity"], shared_yaxes=True, horizontal_spacing=0.05
    )
    looks = zip((BLUE, ORANGE, SKY), ("circle", "square", "diamond"), strict=True)
    for one, (colour, symbol) in zip([one for one in quality if one["unit"] == unit], looks, strict=False):
        x, title = [str(count) for count in one["neighbours"]], one["title"]
        look = {"name": title, "legendgroup": title, "marker": {"symbol": symbol, "size": 9}}
        hover = f"{title}, %{{x}} neighbours: %{{y:.3f}}"
        for at, key in enumerate(("trustworthiness", "continuity")):
            add_line(figure, x, one[key], colour, hover, **look, showlegend=at == 0, **panel(at, 2))
    figure.update_xaxes(title_text="neighbours", type="category")
    figure.update_yaxes(range=[0.48, 1.01])
    figure.update_layout(height=320, margin=MARGIN, legend={"orientation": "h", "y": -0.25, "yanchor": "top"})
    return figure
