"""The Train page's figures: curves over the epochs, and how much each latent dimension carries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.palette import GREY, ORANGE, PURPLE, SKY, VERMILLION
from lungvae_core.serving.jobs.progress import TrainingState
from lungvae_core.training.epochs import DimensionFigures
from lungvae_core.training.validate import ACTIVE, DEAD
from pages.shared.charts import MARGIN, panel

# Okabe-Ito colours, each with its own dash.
TRAINED, HELD_OUT, SCHEDULE, UNUSED = ORANGE, SKY, PURPLE, VERMILLION
_DASHES = {TRAINED: "dot", HELD_OUT: "solid", SCHEDULE: "dashdot"}
_COLUMNS = 3
_PANEL_PX = 205
_BELOW = 100  # a logarithmic axis starts at the threshold divided by this; smaller values are drawn there
_MOST_NAMES = 8  # maximum number of joint rounds that are labelled


@dataclass(frozen=True)
class _Line:
    part: str  # a part of a row of metrics.jsonl
    name: str  # in that part; empty if the part is the figure itself
    colour: str
    factor: float = 1.0


@dataclass(frozen=True)
class _Panel:
    title: str
    lines: tuple[_Line, ...]
    axis: Literal["nonnegative", "tozero", "log"] = "nonnegative"


def curves(state: TrainingState) -> go.Figure:
    """Draw every figure of the training over its epochs, one panel each, with the starts of joint rounds."""
    panels = _panels(state)
    rows = -(-len(panels) // _COLUMNS)
    height = rows * _PANEL_PX
    figure = make_subplots(
        rows,
        _COLUMNS,
        subplot_titles=[each.title for each in panels],
        vertical_spacing=62 / height,
        horizontal_spacing=0.07,
    )
    names = {TRAINED: "training slices", HELD_OUT: held_out_words(state), SCHEDULE: "as set"}
    named: set[str] = set()
    # Show all planned epochs, unless that would squeeze the curves into a corner.
    last = max(2, min(state.config.epochs, max(10, 2 * len(state.rows))))
    for number, each in enumerate(panels):
        place = panel(number, _COLUMNS)
        for line in each.lines:
            epochs, values = state.history(line.part, line.name)
            figure.add_scatter(
                x=epochs,
                y=[value * line.factor for value in values],
                name=names[line.colour],
                mode="lines+markers" if len(epochs) < 30 else "lines",
                line={"color": line.colour, "width": 2, "dash": _DASHES[line.colour]},
                marker={"size": 5},
                legendgroup=line.colour,
                showlegend=line.colour not in named,
                **place,
            )
            named.add(line.colour)
        if each.axis == "log":
            figure.update_yaxes(type="log", exponentformat="power", **place)
        else:
            figure.update_yaxes(rangemode=each.axis, tickformat="~g", **place)
        # The lowest panel of each column labels the shared axis.
        below = number + _COLUMNS >= len(panels)
        figure.update_xaxes(title_text="epoch" if below else "", title_standoff=4, **place)
        _mark_rounds(figure, state, place)
    figure.update_xaxes(range=[0.5, last + 0.5], tickformat="d")
    figure.for_each_annotation(lambda note: note.update(font_size=10 if note.textangle else 13))
    figure.update_layout(
        height=height + 70,
        margin={**MARGIN, "t": 30},
        legend={"orientation": "h", "y": -62 / height, "yanchor": "top"},
    )
    return figure


def held_out_words(state: TrainingState) -> str:
    """Say which slices the held-out figures are from; if labels leak, these patients are not unseen."""
    if state.leaks_from is None:
        return "held-out patients"
    return f"patients held out until epoch {state.leaks_from - 1}"


def _panels(state: TrainingState) -> list[_Panel]:
    def trained(name: str) -> _Line:
        return _Line("train", name, TRAINED)

    def held_out(name: str) -> _Line:
        return _Line("validation", name, HELD_OUT)

    config, dimensions = state.config, state.config.model.dimensions
    panels = [
        _Panel("Loss (objective a slice)", (trained("loss"), held_out("loss"))),
        _Panel("SSIM, held out (0..1)", (held_out("ssim"),)),
        _Panel("MSE, held out (0..1 scale)", (held_out("mse"),)),
        _Panel("KL (nats a slice)", (trained("kl"), held_out("kl")), "tozero"),
        _Panel(f"Active dimensions, held out (of {dimensions})", (held_out("active_units"),), "tozero"),
        _Panel("β, weight of the KL", (_Line("beta", "", SCHEDULE),), "tozero"),
        _Panel("Gradient norm (log scale)", (trained("gradient_norm"),), "log"),
        _Panel("Learning rate", (_Line("learning_rate", "", SCHEDULE),), "tozero"),
        _Panel("α₀, total concentration, held out", (held_out("alpha0"),), "tozero"),
        _Panel("Discriminator's loss (2: it cannot tell)", (trained("discriminator_loss"),), "tozero"),
    ]
    if config.joint.rounds and config.joint.label_weight:
        weight = 1 / config.joint.label_weight
        label = _Line("train", "label_loss", TRAINED, weight)
        panels.append(_Panel("Classifier's label loss (nats a slice)", (label,), "tozero"))
    # Runs without a figure, because of their age or latent family, have no panel for it.
    return [panel for panel in panels if any(state.history(line.part, line.name)[0] for line in panel.lines)]


def _mark_rounds(figure: go.Figure, state: TrainingState, place: dict[str, int]) -> None:
    """Draw a labelled vertical line where each joint round starts."""
    begun = state.rounds_begun()
    every = math.ceil(len(begun) / _MOST_NAMES)
    for number, first in begun:
        label = f"joint round {number}" if (number - 1) % every == 0 else ""
        figure.add_vline(
            x=first - 0.5,
            line={"color": GREY, "width": 1, "dash": "dash"},
            annotation={"text": label, "textangle": -90, "font": {"color": GREY}},
            annotation_position="top right",
            **place,
        )


def dimensions(units: DimensionFigures) -> go.Figure:
    """Draw both signs of collapse: each dimension's KL, sorted, and the norm of its decoder column.

    The two panels share their order, one above the other.
    """
    order = sorted(range(len(units.kl)), key=lambda number: -units.kl[number])
    figure = make_subplots(
        2,
        1,
        shared_xaxes=True,
        vertical_spacing=0.16,
        subplot_titles=(
            f"KL of each dimension (nats), sorted; dashed: active above {ACTIVE}",
            f"Norm of the decoder's weights for it, same order; dashed: used above {DEAD}",
        ),
    )
    _bars(figure, panel(0, 1), units.kl, order, ACTIVE, "KL {} nats")
    _bars(figure, panel(1, 1), units.column_norm, order, DEAD, "norm {}")
    figure.update_xaxes(title_text="dimensions, most informative first", row=2)
    figure.update_xaxes(range=[0.4, len(order) + 0.6], tickformat="d")
    figure.update_annotations(font_size=13)
    gap = 0.15 if len(order) <= 128 else 0
    figure.update_layout(height=400, bargap=gap, showlegend=False, margin={**MARGIN, "t": 30})
    return figure


def _bars(
    figure: go.Figure,
    place: dict[str, int],
    figures: list[float],
    order: list[int],
    least: float,
    hover: str,
) -> None:
    """Draw bars whose colour shows whether they exceed `least`, and a line there.

    The axis is logarithmic if small bars would vanish on a linear one.
    """
    values = [figures[number] for number in order]
    most = max(values)
    log = most > 20 * least and min(values) < most / 20
    floor = least / _BELOW if log else 0.0
    figure.add_bar(
        x=list(range(1, len(order) + 1)),
        y=[max(value, floor) for value in values],
        customdata=[[number, f"{value:.3g}"] for number, value in zip(order, values, strict=True)],
        hovertemplate="z %{customdata[0]}: " + hover.format("%{customdata[1]}") + "<extra></extra>",
        marker={"color": [HELD_OUT if value > least else UNUSED for value in values], "line": {"width": 0}},
        **place,
    )
    figure.add_scatter(
        x=[0, len(order) + 1],
        y=[least, least],
        mode="lines",
        line={"color": UNUSED, "width": 2, "dash": "dash"},
        hoverinfo="skip",
        **place,
    )
    if log:
        ends = [math.log10(floor), math.log10(most) + 0.15]
        figure.update_yaxes(type="log", exponentformat="power", dtick=1, range=ends, **place)
    else:
        figure.update_yaxes(rangemode="tozero", tickformat="~g", **place)
