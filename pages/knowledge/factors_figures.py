"""The Factors page's charts: dimensions by factors, probes, scores beside their null, seeds."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.evaluation.disentanglement.assess import ordered
from lungvae_core.evaluation.disentanglement.compare import PHANTOM_WORDS, PROBES
from lungvae_core.evaluation.disentanglement.scores import WORDS
from lungvae_core.number_text import DASH, interval, number
from lungvae_core.palette import BLUE, GREEN, GREY, ORANGE
from lungvae_core.vae.latents import FAMILIES
from pages.shared.charts import MARGIN, arrays, error_bars, panel

MEASURES = {
    "information": "mutual information, share of the factor's entropy",
    "spearman": "rank correlation, without its sign",
    "importance": "share of what trees gain",
}
COLOURS = {"raw": BLUE, "without_size": ORANGE}
SYMBOLS = {"raw": "circle", "without_size": "square"}
NAMES = {"raw": "as it is", "without_size": "without size"}
_ACROSS = 5  # panels in a row
_LEGEND = {"orientation": "h", "y": 1.14}


def title(name: str) -> str:
    """Return a factor's name on the page."""
    return {"log_diameter": "diameter (log)", "sqrt_area": "area (root)"}.get(name, name.replace("_", " "))


def attributes_table(part: dict[str, Any]) -> pd.DataFrame:
    """One row per rating; columns for the model, the constant and one reader: within one, and MAE."""

    def cell(entry: dict[str, Any] | None) -> str:
        if entry is None:
            return DASH
        return f"{interval(entry['within_one'], 2)} within one, MAE {number(entry['mae']['value'], 2)}"

    rows = {
        title(name): {heading: cell(entry[key]) for key, heading in part["predictors"].items()}
        for name, entry in part["ratings"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def heat_map(part: dict[str, Any], measure: str, most: int) -> go.Figure:
    """Draw the `most` informative dimensions (rows) by factors; outline cells above their factor's null."""
    rows, names = ordered(part)[:most], [title(name) for name in part["factors"]]
    information, signed, importance = (
        np.array(part[name])[rows] for name in ("information", "spearman", "importance")
    )
    null = np.array(part["information_null"]["high"])
    # Relative to the entropy, the bias of counting in bins is similar for all factors.
    shown = {
        "information": information / np.maximum(part["entropy"], 1e-9),
        "spearman": np.abs(signed),
        "importance": importance,
    }[measure]
    figure = go.Figure(
        go.Heatmap(
            z=shown,
            x=np.arange(information.shape[1]),
            y=np.arange(len(rows)),
            zmin=0,
            colorscale="Cividis",
            colorbar={"title": {"text": MEASURES[measure], "side": "right"}, "thickness": 14},
            customdata=np.stack(
                [
                    np.broadcast_to(names, information.shape),
                    np.broadcast_to(np.array(rows)[:, None], information.shape),
                    np.round(information, 3),
                    np.broadcast_to(np.round(null, 3), information.shape),
                    signed,
                    importance,
                ],
                axis=-1,
            ),
            hovertemplate="z %{customdata[1]}, %{customdata[0]}<br>information %{customdata[2]} nats "
            "(null, 95th percentile: %{customdata[3]})<br>rank correlation %{customdata[4]}<br>"
            "importance %{customdata[5]}<extra></extra>",
        )
    )
    x: list[float | None] = []
    y: list[float | None] = []
    for row, column in zip(*np.nonzero(information > null), strict=True):
        x += [column - 0.46, column + 0.46, column + 0.46, column - 0.46, column - 0.46, None]
        y += [row - 0.44, row - 0.44, row + 0.44, row + 0.44, row - 0.44, None]
    line = {"color": "white", "width": 1.5}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    figure.update_xaxes(tickvals=list(range(len(names))), ticktext=names, side="top", showgrid=False)
    ticks = {"tickvals": list(range(len(rows))), "ticktext": [f"z {row}" for row in rows]}
    figure.update_yaxes(**ticks, autorange="reversed", showgrid=False)
    figure.update_layout(height=130 + 17 * len(rows), margin={**MARGIN, "t": 90})
    return figure


def probe_bars(variants: dict[str, dict[str, Any]], kind: str) -> go.Figure:
    """Draw how well a probe predicts every factor, raw and without size, with interval and null."""
    measures = {probe["measure"] for part in variants.values() for probe in part["probes"].values()}
    two = "auc" in measures
    figure = make_subplots(
        1,
        2 if two else 1,
        column_widths=[0.8, 0.2] if two else None,
        subplot_titles=["R² on held-out patients", *(["AUC"] if two else [])],
        horizontal_spacing=0.09,
    )
    for variant, part in variants.items():
        for at, measure in enumerate(("r2", "auc")):
            entries = {
                title(name): probe[kind]
                for name, probe in part["probes"].items()
                if probe["measure"] == measure and probe[kind]["value"] is not None
            }
            if entries:
                _bars(figure, entries, variant, panel(at, 2))
    alone = variants.get("without_size", {}).get("size_alone", {})
    figure.add_scatter(
        x=[title(name) for name in alone],
        y=list(alone.values()),
        mode="markers",
        name="the diameter alone",
        marker={"symbol": "diamond-open", "size": 10, "color": GREY, "line": {"width": 2}},
        hovertemplate="%{x}: R² of the diameter alone %{y:.2f}<extra></extra>",
        **panel(0, 2),
    )
    if two:
        figure.update_yaxes(range=[0.45, 1], **panel(1, 2))
    figure.update_layout(
        height=400, margin={**MARGIN, "t": 80}, barmode="group", legend={**_LEGEND, "y": 1.25}
    )
    return figure


def _bars(figure: go.Figure, entries: dict[str, Any], variant: str, place: dict[str, int]) -> None:
    value, low, high = arrays(entries.values(), "value", "low", "high")
    null = np.array([(entry["null"] or {"high": np.nan})["high"] for entry in entries.values()])
    x, first = list(entries), place["col"] == 1
    figure.add_bar(
        x=x,
        y=value,
        name=NAMES.get(variant, variant),
        legendgroup=variant,
        showlegend=first,
        offsetgroup=variant,
        marker_color=COLOURS.get(variant, BLUE),
        error_y=error_bars(value, low, high, color=GREY, thickness=1.2),
        customdata=np.stack([low, high, null], axis=1),
        hovertemplate="%{x}: %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f}), null's 95th percentile "
        "%{customdata[2]:.3f}<extra></extra>",
        **place,
    )
    _add_null(
        figure,
        x,
        null,
        (14, 2),
        name="null, 95th percentile",
        showlegend=first and variant in ("raw", "phantom"),
        offsetgroup=variant,
        hoverinfo="skip",
        **place,
    )
    figure.update_layout(scattermode="group")


def _add_null(figure: go.Figure, x: list[str], y: Any, size: tuple[int, int], **named: Any) -> None:
    """Add values under the null as grey strokes; `size` is their length and width in pixels."""
    length, width = size
    stroke = {"symbol": "line-ew", "size": length, "line": {"color": GREY, "width": width}}
    figure.add_scatter(x=x, y=y, mode="markers", marker=stroke, legendgroup="null", **named)


def score_panels(variants: dict[str, dict[str, Any]], moved: dict[str, Any] | None = None) -> go.Figure:
    """Draw a panel per score, each with its own scale: the score with its interval beside its null."""
    titles, moved = WORDS | PHANTOM_WORDS, moved or {}
    names = [*WORDS, *moved]
    figure = _panels([titles[name] for name in names])
    for index, name in enumerate(names):
        place, first = panel(index, _ACROSS), index == 0
        for variant, part in variants.items():
            entry = moved.get(name) or part["scores"][name]
            if entry["value"] is None:
                continue
            x = [NAMES.get(variant, "phantom")]
            if null := entry["null"]:
                mean, high = arrays([null], "mean", "high")
                _add_null(
                    figure,
                    x,
                    mean,
                    (16, 3),
                    error_y=error_bars(mean, mean, high, color=GREY, thickness=5, width=0),
                    name="null, mean to 95th percentile",
                    showlegend=first and variant == next(iter(variants)),
                    hovertemplate=f"null: mean %{{y:.3f}}, 95th percentile {null['high']:.3f}<extra></extra>",
                    **place,
                )
            value, low, high = arrays([entry], "value", "low", "high")
            colour, symbol = COLOURS.get(variant, BLUE), SYMBOLS.get(variant, "circle")
            figure.add_scatter(
                x=x,
                y=value,
                error_y=error_bars(value, low, high, thickness=1.5),
                mode="markers",
                name=NAMES.get(variant, "the score"),
                legendgroup=variant,
                showlegend=first,
                marker={"color": colour, "symbol": symbol, "size": 10},
                hovertemplate=f"%{{y:.3f}} ({entry['low']:.3f} to {entry['high']:.3f})<extra></extra>",
                **place,
            )
    figure.update_yaxes(rangemode="tozero")
    return figure


def _looks() -> dict[tuple[str, str], tuple[str, str, str]]:
    """Label, colour and symbol of each prior and space."""
    labels = {}
    for prior, family in FAMILIES.items():
        labels[(prior, "code")] = family.model_label
        if family.simplex:
            labels[(prior, "log_ratio")] = f"{family.model_label}, log-ratios"
    looks = cycle([(BLUE, "circle"), (ORANGE, "square"), (GREEN, "diamond")])
    return {key: (label, *look) for (key, label), look in zip(labels.items(), looks, strict=False)}


def over_seeds(report: dict[str, Any], variant: str) -> go.Figure:
    """Draw a panel per figure: each seed's value by prior, mean and standard deviation, beside the null."""
    titles = WORDS | PHANTOM_WORDS | {kind: f"{text}, mean R²" for kind, text in PROBES.items()}
    looks = _looks()
    shown = [
        group for group in report["groups"] if any(key.startswith(f"{variant}/") for key in group["figures"])
    ]
    names = [name for name in titles if f"{variant}/{name}" in shown[0]["figures"]]
    figure = _panels([titles[name] for name in names])
    for index, name in enumerate(names):
        place, first = panel(index, _ACROSS), index == 0
        for group in shown:
            label, colour, symbol = looks[(group["prior"], group["space"])]
            entry = group["figures"].get(f"{variant}/{name}")
            if entry is None:
                continue
            _add_null(
                figure,
                [label],
                [entry["null"]],
                (18, 4),
                name="null",
                showlegend=first and group is shown[0],
                hovertemplate=f"{label}, null: %{{y:.3f}}<extra></extra>",
                **place,
            )
            look = {"mode": "markers", "legendgroup": label, **place}
            figure.add_scatter(
                x=[label] * len(entry["values"]),
                y=entry["values"],
                name=label,
                showlegend=first,
                marker={"color": colour, "symbol": symbol, "size": 7, "opacity": 0.6},
                hovertemplate=f"{label}: %{{y:.3f}}<extra></extra>",
                **look,
            )
            figure.add_scatter(
                x=[label],
                y=[entry["mean"]],
                error_y={"array": [entry["sd"] or 0], "color": colour, "width": 8},
                showlegend=False,
                marker={"symbol": "line-ew", "size": 24, "line": {"color": colour, "width": 3}},
                hovertemplate=f"{label}: mean %{{y:.3f}}, SD {entry['sd'] or 0:.3f}<extra></extra>",
                **look,
            )
    return figure


def _panels(titles: list[str]) -> go.Figure:
    """Make panels in rows of at most five, each with its own scale and no names on the horizontal axis."""
    rows = -(-len(titles) // _ACROSS)
    broken = titles
    for name in ("mutual information", "separated attribute ", "DCI "):
        broken = [title.replace(name, "<br>".join(name.rsplit(" ", 1)), 1) for title in broken]
    figure = make_subplots(
        rows, min(_ACROSS, len(titles)), subplot_titles=broken, horizontal_spacing=0.06, vertical_spacing=0.2
    )
    figure.update_xaxes(showticklabels=False)
    figure.update_annotations(font_size=12)
    figure.update_layout(
        height=80 + 240 * rows, margin={**MARGIN, "t": 90}, legend={**_LEGEND, "y": 1 + 0.33 / rows}
    )
    return figure
