"""The lesion card's parts: the readers' ratings as a table, the scores of a nodule's slices as a chart."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from lungvae_core.palette import GREY, ORANGE, SKY, VERMILLION
from lungvae_core.serving.lesions.lesion_facts import Rating
from lungvae_core.serving.lesions.nodule_score import NoduleScore
from pages.shared.charts import Chart


def ratings_table(ratings: Sequence[Rating]) -> None:
    """Show one line per characteristic, one column per reader, and what the numbers mean."""
    readers = max(len(rating.values) for rating in ratings)
    head = "".join(
        f'<th scope="col" class="number" title="reader {n + 1}">{n + 1}</th>' for n in range(readers)
    )
    lines = []
    for rating in ratings:
        cells = "".join(
            f'<td class="number" title="{escape(word)}">{value}</td>'
            for value, word in zip(rating.values, rating.meanings, strict=True)
        )
        cells += '<td class="number"></td>' * (readers - len(rating.values))
        low, high = rating.ends
        lines.append(
            f'<tr><th scope="row" title="scale {low} to {high}">{escape(rating.name)}</th>{cells}'
            f'<td class="said">{escape(rating.caption)}</td></tr>'
        )
    st.html(
        '<table class="card-table" aria-label="Every reader\'s ratings"><thead><tr>'
        f'<th scope="col">reader</th>{head}<th scope="col">in words</th></tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def facts_table(facts: Sequence[tuple[str, str]]) -> None:
    """Show names and values, one line each."""
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in facts
    )
    st.html(
        '<table class="card-table card-facts" aria-label="The nodule and its scan">'
        f"<tbody>{lines}</tbody></table>"
    )


def slice_scores(nodule: NoduleScore, shown: int, *, numbers: Sequence[int] | None = None) -> Chart:
    """Draw each slice's score as a bar, orange if it raises the nodule's score, which is a line.

    `shown` is the slice in the viewer, from 0; its bar has a frame. `numbers` are the slices' own numbers,
    by default 1 .. M.
    """
    count = len(nodule.slices)
    bars = {
        "type": "bar",
        "x": list(numbers or range(1, count + 1)),
        "y": nodule.slices.tolist(),
        "marker": {
            "color": [ORANGE if drive > 0 else SKY for drive in nodule.drives],
            "line": {"color": VERMILLION, "width": [3 if at == shown else 0 for at in range(count)]},
        },
        "customdata": (nodule.score - nodule.drives).tolist(),
        "hovertemplate": "slice %{x}: %{y:.2f}<br>the nodule without it: %{customdata:.2f}<extra></extra>",
    }
    across = {"x0": 0, "x1": 1, "xref": "x domain", "yref": "y"}
    shapes: list[dict[str, Any]] = [
        {
            "type": "line",
            "y0": nodule.score,
            "y1": nodule.score,
            "line": {"color": GREY, "width": 2, "dash": "dash"},
            **across,
        }
    ]
    if nodule.band is not None:
        low, high = nodule.band
        look = {"fillcolor": GREY, "opacity": 0.25, "layer": "below", "line": {"width": 0}}
        shapes.insert(0, {"type": "rect", "y0": low, "y1": high, **look, **across})
    return Chart(
        [bars],
        {
            "height": 130,
            "margin": {"l": 4, "r": 4, "t": 6, "b": 4},
            "showlegend": False,
            "bargap": 0.15,
            "xaxis": {"fixedrange": True, "tickformat": "d", "nticks": 8},
            "yaxis": {"range": [0, 1], "tickvals": [0, 0.5, 1], "fixedrange": True},
            "shapes": shapes,
        },
    )
