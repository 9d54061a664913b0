"""The Evaluation page's figures: forests, curves, confusion, calibration, and the leak as steps."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import UNITS, Interval, Report, UnitFigures
from lungvae_core.evaluation.report_words import Row
from lungvae_core.number_text import number

# Okabe and Ito's, each with a shape of its own; readable on a light and on a dark page.
COLOURS = {"model": "#56b4e9", "size": "#e69f00", "readers": "#cc79a7", "pixels": "#999999"}
SHAPES = {"model": "circle", "size": "square", "readers": "diamond", "pixels": "triangle-up"}
KIND_WORDS = {
    "model": "the model",
    "size": "size alone",
    "readers": "readers' ratings",
    "pixels": "from pixels",
}
GREY = "#8f959b"
_GRID = {"zeroline": False, "showgrid": True, "gridcolor": "rgba(143, 149, 155, 0.25)"}
_NO_GRID = {"zeroline": False, "showgrid": False}
LINE = 30  # height of a forest's line


def forest(
    groups: Sequence[tuple[str, Sequence[Row]]],
    *,
    axis: str = "AUC",
    zero: float | None = None,
    digits: int = 3,
    legend: bool = False,
) -> go.Figure:
    """Values with their 95 % intervals, a line each, the figure and interval written at its right."""
    figure = go.Figure()
    at: list[int] = []
    names: list[str] = []
    y = 0
    shown: set[str] = set()
    for heading, rows in groups:
        rows = [row for row in rows if row.interval.value is not None]
        if not rows:
            continue
        if heading:
            at.append(y)
            names.append(f"<b>{heading}</b>")
            y -= 1
        for row in rows:
            _line(figure, row, y, digits, legend=legend and row.kind not in shown)
            shown.add(row.kind)
            at.append(y)
            names.append(f"<b>{row.name}</b>" if legend and row.kind == "model" else row.name)
            y -= 1
    figure.update_layout(
        height=LINE * max(1, -y) + (100 if legend else 70),
        margin={"l": 0, "r": 165, "t": 34 if legend else 8, "b": 0},
        showlegend=legend,
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0, "itemclick": False},
        xaxis={"title": axis, **_GRID},
        yaxis={"tickvals": at, "ticktext": names, "range": [y + 0.4, 0.6], **_NO_GRID},
    )
    if zero is not None:
        figure.add_vline(x=zero, line={"color": GREY, "width": 1.5})
    return figure


def _line(figure: go.Figure, row: Row, y: int, digits: int, *, legend: bool) -> None:
    value = row.interval.value or 0.0
    low = value if row.interval.low is None else row.interval.low
    high = value if row.interval.high is None else row.interval.high
    said = words.figure(row.interval, digits)
    figure.add_scatter(
        x=[value],
        y=[y],
        error_x={"array": [high - value], "arrayminus": [value - low], "thickness": 2, "width": 4},
        mode="markers",
        name=KIND_WORDS[row.kind],
        legendgroup=row.kind,
        showlegend=legend,
        marker={"color": COLOURS[row.kind], "symbol": SHAPES[row.kind], "size": 11},
        hovertemplate=f"{row.name}: {said}<br>{row.note}<extra></extra>",
    )
    figure.add_annotation(
        x=1,
        xref="paper",
        xanchor="left",
        xshift=8,
        y=y,
        text=f"<b>{said}</b>" if row.kind == "model" and legend else said,
        showarrow=False,
        align="left",
    )


def all_figures(found: UnitFigures) -> go.Figure:
    """Every figure of a unit on 0..1, those of which higher is better first."""
    rows = words.figure_rows(found)
    better = [Row(title, value, "model") for name, title, value in rows if words.FIGURE_WORDS[name][1]]
    worse = [Row(title, value, "size") for name, title, value in rows if not words.FIGURE_WORDS[name][1]]
    groups = [("Higher is better", better), ("Lower is better", worse)]
    figure = forest(groups, axis="0 to 1")
    figure.update_xaxes(range=[-0.01, 1.01])
    return figure


def curves(found: UnitFigures) -> go.Figure:
    """ROC, precision and recall, and reliability, side by side; dashed is chance, or perfect calibration."""
    figure = make_subplots(
        1,
        3,
        subplot_titles=[
            f"ROC, AUC {number(found.auc.value)}",
            "Precision and recall" + _with(", AP", found.average_precision),
            "Reliability" + _with(", ECE", found.ece),
        ],
        horizontal_spacing=0.11,
    )
    drawn = found.curves
    if drawn is None:
        return figure
    line = {"color": COLOURS["model"], "width": 2.5}
    dashed = {"color": GREY, "width": 1, "dash": "dash"}
    prevalence = found.malignant / max(found.count, 1)
    for column, (x, y, chance) in enumerate(
        (
            (drawn.roc.fpr, drawn.roc.tpr, (0.0, 1.0)),
            (drawn.pr.recall, drawn.pr.precision, (prevalence, prevalence)),
        ),
        start=1,
    ):
        figure.add_scatter(x=[0, 1], y=chance, mode="lines", line=dashed, hoverinfo="skip", row=1, col=column)
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line=line,
            hovertemplate="%{x:.3f}, %{y:.3f}<extra></extra>",
            row=1,
            col=column,
        )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=dashed, hoverinfo="skip", row=1, col=3)
    bins = drawn.reliability
    figure.add_scatter(
        x=[one.mean_probability for one in bins],
        y=[one.share for one in bins],
        error_y={
            "array": [(one.share if one.high is None else one.high) - one.share for one in bins],
            "arrayminus": [one.share - (one.share if one.low is None else one.low) for one in bins],
            "thickness": 1.5,
            "width": 3,
        },
        mode="markers+lines",
        line={"color": COLOURS["model"], "width": 1},
        marker={"size": 8, "color": COLOURS["model"]},
        customdata=[[one.count] for one in bins],
        hovertemplate="said %{x:.2f}, malignant %{y:.2f}, of %{customdata[0]}<extra></extra>",
        row=1,
        col=3,
    )
    titles = (
        ("1 − specificity", "sensitivity"),
        ("recall", "precision"),
        ("probability said", "share malignant"),
    )
    for column, (across, up) in enumerate(titles, start=1):
        figure.update_xaxes(
            title_text=across, range=[-0.02, 1.02], tickvals=[0, 0.5, 1], zeroline=False, row=1, col=column
        )
        figure.update_yaxes(
            title_text=up, range=[-0.02, 1.04], tickvals=[0, 0.5, 1], zeroline=False, row=1, col=column
        )
    figure.update_annotations(font_size=13)
    figure.update_layout(height=350, margin={"l": 10, "r": 10, "t": 32, "b": 10}, showlegend=False)
    return figure


def confusion(found: UnitFigures) -> go.Figure:
    """Counts at the threshold with their share of the truth: blue is right, orange is wrong."""
    figure = go.Figure()
    counts = found.confusion
    if counts is None:
        return figure
    cells = (
        (0, 1, counts.tp, counts.tp + counts.fn, True),
        (1, 1, counts.fn, counts.tp + counts.fn, False),
        (0, 0, counts.fp, counts.fp + counts.tn, False),
        (1, 0, counts.tn, counts.fp + counts.tn, True),
    )
    for x, y, count, whole, right in cells:
        share = count / whole if whole else 0.0
        colour = COLOURS["model"] if right else COLOURS["size"]
        figure.add_shape(
            type="rect",
            x0=x - 0.48,
            x1=x + 0.48,
            y0=y - 0.48,
            y1=y + 0.48,
            fillcolor=colour,
            opacity=0.15 + 0.5 * share,
            line_width=0,
        )
        figure.add_annotation(
            x=x, y=y, text=f"<b>{count:,}</b><br>{share:.1%}", showarrow=False, font_size=16
        )
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="markers", marker={"opacity": 0}, hoverinfo="skip")
    figure.update_xaxes(
        tickvals=[0, 1],
        ticktext=["called<br>malignant", "called<br>benign"],
        tickangle=0,
        range=[-0.5, 1.5],
        side="top",
        showgrid=False,
        zeroline=False,
    )
    figure.update_yaxes(
        tickvals=[0, 1],
        ticktext=["is<br>benign", "is<br>malignant"],
        range=[-0.5, 1.5],
        showgrid=False,
        zeroline=False,
    )
    figure.update_layout(height=260, margin={"l": 0, "r": 0, "t": 10, "b": 0}, showlegend=False)
    return figure


def differences(report: Report) -> go.Figure:
    """The model's AUC less each baseline's, with the 95 % interval; 0 is no difference."""
    rows = [
        Row(
            f"less {words.baseline_name(one.baseline)}, per {one.unit}",
            Interval(value=part.difference, low=part.low, high=part.high),
            "model" if one.baseline == "" else _kind(report, one.baseline),
        )
        for _, one in words.comparisons(report)
        if (part := one.paired or one.delong) is not None
    ]
    return forest([("", rows)], axis="AUC of the model less AUC of the baseline", zero=0.0)


def subgroups(report: Report) -> go.Figure:
    """The AUC within each group, groups of one attribute together."""
    groups = [
        (
            words.SUBGROUP_WORDS.get(name, name.replace("_", " ")),
            [Row(f"{one.group} (n {one.count:,})", one.auc, "model") for one in members if one.auc],
        )
        for name, members in (report.subgroups or {}).items()
    ]
    return forest(groups)


def stages(report: Report) -> go.Figure:
    """The same folds' VAE before it saw labels and after the joint phase."""
    groups = [
        (
            f"Per {unit}",
            [
                Row(title, found.auc, "pixels" if name == "vae" else "model")
                for name, title in words.STAGE_WORDS.items()
                if (stage := getattr(report.stages, name)) is not None
                and (found := getattr(stage, unit)) is not None
            ],
        )
        for unit in UNITS
    ]
    return forest(groups)


def spread(report: Report) -> go.Figure:
    """AUCs of folds and of seeds, a dot each; the stroke is the mean."""
    figure = go.Figure()
    names: list[str] = []
    lines: list[tuple[str, list[float], str]] = []
    for unit in UNITS:
        found = report.units.of(unit)
        if found is not None and found.auc_by_fold:
            folds = [value for value in found.auc_by_fold if value is not None]
            lines.append((f"Folds, per {unit}", folds, COLOURS["pixels"]))
        seeds = [value for row in report.per_seed or [] if (value := getattr(row, unit)) is not None]
        if seeds:
            lines.append((f"Seeds, per {unit}", seeds, COLOURS["model"]))
    for at, (name, values, colour) in enumerate(reversed(lines)):
        names.append(name)
        figure.add_scatter(
            x=values,
            y=[at] * len(values),
            mode="markers",
            marker={"size": 10, "color": colour, "opacity": 0.6},
            hovertemplate=f"{name}: %{{x:.3f}}<extra></extra>",
        )
        mean = sum(values) / max(len(values), 1)
        figure.add_scatter(
            x=[mean, mean],
            y=[at - 0.3, at + 0.3],
            mode="lines",
            line={"color": GREY, "width": 2},
            hovertemplate=f"mean {mean:.3f}<extra></extra>",
        )
    figure.update_layout(
        height=32 * len(names) + 70,
        margin={"l": 0, "r": 10, "t": 8, "b": 0},
        showlegend=False,
        xaxis={"title": "AUC", **_GRID},
        yaxis={"tickvals": list(range(len(names))), "ticktext": names, **_NO_GRID},
    )
    return figure


def calibration(report: Report) -> go.Figure:
    """The calibration error of each unit before (open) and after (filled) temperature and bias."""
    figure = go.Figure()
    names: list[str] = []
    ends: list[float] = []
    for unit in reversed(UNITS):
        part = None if report.calibration is None else getattr(report.calibration, unit)
        if part is None or part.before is None or part.after is None:
            continue
        at = len(names)
        ends += [part.before, part.after]
        names.append(f"Per {unit}")
        figure.add_scatter(
            x=[part.before, part.after],
            y=[at, at],
            mode="lines+markers+text",
            line={"color": GREY, "width": 2},
            marker={
                "size": 12,
                "color": [COLOURS["size"], COLOURS["model"]],
                "symbol": ["square-open", "circle"],
                "line": {"width": 2},
            },
            text=[f"before {part.before:.3f}", f"after {part.after:.3f}"],
            textposition=["top right", "top left"] if part.after < part.before else ["top left", "top right"],
            hoverinfo="skip",
        )
    figure.update_layout(
        height=62 * len(names) + 60,
        margin={"l": 0, "r": 10, "t": 8, "b": 0},
        showlegend=False,
        xaxis={"title": "ECE (0 is perfect)", "range": [0, 1.3 * max([0.01, *ends])], **_GRID},
        yaxis={
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "range": [-0.5, len(names) - 0.3],
            **_NO_GRID,
        },
    )
    return figure


def leak(report: Report, name: str) -> go.Figure:
    """The leak as a waterfall: the honest figure (one of LEAK_FIGURES), then what each liberty adds to it."""
    rows = [row for row in words.leak_steps(report, name) if row[2] is not None]
    figure = go.Figure()
    values = [value for _, _, value, _ in rows if value is not None]
    if not values:
        return figure
    margin = max(0.2 * (max(values) - min(values)), 0.01)
    floor = min(values) - 2 * margin
    for at, (step, about, value, gain) in enumerate(reversed(rows)):
        value = value or 0.0
        start = floor if gain is None else value - gain
        if gain is None:
            colour, said = COLOURS["model"], number(value)
        else:
            colour = COLOURS["size"] if gain > 0 else COLOURS["pixels"]
            said = f"{number(value)} ({number(gain, signed=True)})"
        figure.add_bar(
            x=[value - start],
            base=[start],
            y=[at],
            orientation="h",
            width=0.62,
            marker={"color": colour},
            hovertemplate=f"{step}: {about}<br>{said}<extra></extra>",
        )
        figure.add_annotation(
            x=max(value, start), y=at, xanchor="left", xshift=6, text=f"<b>{said}</b>", showarrow=False
        )
        if at:
            figure.add_shape(
                type="line",
                x0=value,
                x1=value,
                y0=at - 1 - 0.31,
                y1=at - 0.31,
                line={"color": GREY, "width": 1, "dash": "dot"},
            )
    figure.update_layout(
        height=46 * len(rows) + 70,
        margin={"l": 0, "r": 10, "t": 8, "b": 0},
        showlegend=False,
        xaxis={
            "title": f"{words.LEAK_FIGURES[name]}; the axis does not begin at 0",
            "range": [floor, max(values) + 5 * margin],
            **_GRID,
        },
        yaxis={
            "tickvals": list(range(len(rows))),
            "ticktext": [step for step, _, _, _ in reversed(rows)],
            **_NO_GRID,
        },
    )
    return figure


def _kind(report: Report, name: str) -> str:
    found = (report.baselines or {}).get(name)
    return "pixels" if found is None else words.baseline_kind(name, found)


def _with(said: str, value: Interval | None) -> str:
    return "" if value is None else f"{said} {number(value.value)}"
