"""Home: what this app is, three ways in, and how good the models are compared with size alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.report import HeldOut, Report, UnitFigures
from lungvae_core.evaluation.report_view.blocks import ends
from lungvae_core.evaluation.report_words import Row
from lungvae_core.palette import ORANGE, SKY
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.jobs.evaluations import find_reports, read_report
from lungvae_core.serving.models.registry import LoadedModel, ModelEntry
from lungvae_core.vae.latents import FAMILIES
from pages.shared import charts, common, tour

MODEL, SIZE = SKY, ORANGE


def main() -> None:
    """Draw the page from top to bottom."""
    common.compact()
    common.introduce(tour.HOME)
    ways_in()
    figures()


def ways_in() -> None:
    """Show links for a clinician, for a researcher and for anyone who has two minutes."""
    clinician, researcher, visitor = st.columns(3)
    with way_in(
        clinician,
        ":material/stethoscope: **As a clinician**",
        "Browse lesions as the model arranges them, with the readers' ratings of each; or upload one of your "
        "own, which stays on this machine.",
    ):
        st.page_link("map/latent_map.py", label="Look at the map", icon=":material/scatter_plot:")
        st.page_link(
            "predict/predict.py",
            label="Bring a lesion",
            icon=":material/biotech:",
            query_params={"source": "upload"},
        )
    with way_in(
        researcher,
        ":material/science: **As a researcher**",
        "Analyse the latent space, compare a Gaussian with a Dirichlet prior, evaluate models without leaks, "
        "and train your own.",
    ):
        st.page_link("traversal/traversal.py", label="Walk", icon=":material/tune:")
        st.page_link("compare.py", label="Compare", icon=":material/compare:")
        st.page_link("work/train.py", label="Train a model", icon=":material/model_training:")
    with way_in(
        visitor,
        ":material/play_circle: **With two minutes**",
        "Follow one lesion from the map to its score in seven steps; or just drag a slider and watch the "
        "image change.",
    ):
        if st.button("Take the tour", type="primary", icon=":material/tour:"):
            tour.go(1)
        st.page_link(
            "traversal/traversal.py",
            label="Drag a slider",
            icon=":material/swipe:",
            query_params={"start": "malignant"},
        )


@contextmanager
def way_in(column: DeltaGenerator, title: str, text: str) -> Iterator[None]:
    """Draw a box with a title and a text; what the block draws stands below them in a row."""
    with column, st.container(border=True, height="stretch", gap="xsmall"):
        st.markdown(title)
        st.caption(text)
        with st.container(horizontal=True, gap="xsmall", vertical_alignment="center"):
            yield


def figures() -> None:
    """Show the figures of the shipped models and of the picked one."""
    entries = registry().entries()
    picked = st.session_state.get("model_name")
    shown = [entry for entry in entries if entry.shipped or entry.name == picked]
    st.subheader("How good the models are", anchor=False)
    if not shown:
        st.info("There is no model yet. Train one on the Train page.", icon=":material/info:")
        return
    chart, summary = st.columns([1.15, 1], gap="large")
    with chart:
        overview(shown)
    with summary:
        st.markdown(
            "How well a score ranks lesions that readers rated malignant above those they rated benign "
            "(AUC: 0.5 is chance, 1 is perfect). **The lesion's size alone** is shown for comparison, on "
            "the same lesions: a model that cannot beat a ruler has learned little more than size."
        )
        judged_honestly()
        against_diagnosis()
    with st.expander("All figures of each model, and how they were obtained", icon=":material/fact_check:"):
        for entry in shown:
            with st.container(border=True):
                describe(entry)


def overview(shown: list[ModelEntry]) -> None:
    """Show each model's AUC per nodule beside that of size: one chart, and one sentence per model."""
    rows: list[Row] = []
    about: list[str] = []
    for entry in shown:
        report = _honest_report(entry)
        if report is None:
            continue
        part, unseen = report.parts[-1]
        nodules = _nodules(part)
        whose = "never seen by the model" if unseen else "all, most of them seen without labels"
        about.append(f"{nodules.count:,} nodules of {nodules.patients:,} patients, {whose}")
        rows += report_words.forest(part, "nodule", entry.title)
    if not rows:
        st.info("No model here has been evaluated yet.", icon=":material/info:")
        return
    # Models evaluated on the same lesions share their baselines.
    rows = [row for at, row in enumerate(rows) if row not in rows[:at]]
    rows.sort(key=lambda row: row.kind != "model")
    areas = "; ".join(f"{row.name} AUC {report_words.figure(row.interval, 2)}" for row in rows)
    charts.show(
        charts.kept(_intervals, rows),
        key="home-overview",
        alt=f"AUC per nodule with 95 % intervals. {areas}.",
    )
    st.caption(
        f"AUC per nodule, 95 % intervals over patients; {'; '.join(dict.fromkeys(about))}. Malignancy is the "
        "readers' suspicion."
    )


def _honest_report(entry: ModelEntry) -> Report | None:
    """The model's evaluation, or None if it has none or it leaks."""
    try:
        report = registry().evaluation(entry)
    except UserError:
        return None  # described below, with the reason
    return None if report is None or report.leaks else report


def _nodules(part: Report | HeldOut) -> UnitFigures:
    """The figures per nodule, which every report of a run has."""
    assert part.units.nodule is not None
    return part.units.nodule


def judged_honestly() -> None:
    """Sum up the newest report of the nested protocol in a sentence, if there is one."""
    nested = next((each for each in find_reports()[0] if each.protocol == "nested"), None)
    if nested is None:
        return
    report = read_report(nested.path)
    st.markdown(f"**With labels, every patient tested unseen:** {report_words.verdict(report)}")
    st.page_link(
        "evaluation/evaluation.py",
        label="The whole evaluation",
        icon=":material/fact_check:",
        query_params={"report": nested.name},
    )


def against_diagnosis() -> None:
    """Sum up the newest report with confirmed diagnoses, a model's own last, in one sentence."""
    reports = (read_report(each.path) for each in find_reports()[0])
    part = next((each.diagnosis for each in reports if each.diagnosis and not each.leaks), None)
    if part is not None:
        st.markdown(report_words.diagnosis_verdict(part))


def describe(entry: ModelEntry) -> None:
    """Describe one model: what it is, and its evaluation or why it has none."""
    whose = "ships with the project" if entry.shipped else "your own run"
    st.subheader(entry.title, anchor=False)
    st.caption(
        f"{FAMILIES[entry.prior].label} prior, {entry.dimensions} dimensions, {whose}. "
        f"Trained on {entry.data.name}, {entry.data.count:,} slices."
    )
    try:
        model = registry().load(entry.name)
        report = model.evaluation
    except UserError as error:
        st.error(str(error))
        return
    if report is None:
        st.info(
            "This model has not been evaluated. `lungvae classify` does it, for data with ratings.",
            icon=":material/info:",
        )
        return
    if report.leaks:
        reasons = " ".join(report.leaks)
        st.error(f"**{report_words.LEAK_SENTENCE}** {reasons}", icon=":material/report:")
    verdict(*report.parts[-1])
    columns = st.columns(len(report.parts), gap="medium")
    for column, (part, unseen) in zip(columns, report.parts, strict=True):
        title = "Patients whose pixels the model never saw" if unseen else "All patients"
        nodules, slices = _nodules(part), part.units.slice
        column.markdown(
            f"**{title}**  \n{nodules.patients:,} patients, {nodules.count:,} nodules "
            f"({nodules.malignant:,} malignant){f', {slices.count:,} slices' if slices else ''}"
        )
        charts.show(
            charts.kept(forest, part),
            where=column,
            key=f"forest-{entry.name}-{title}",
            alt=f"AUC of {entry.title} and of size alone with their intervals; {title.lower()}.",
        )
    protocol(model, report)


def verdict(part: Report | HeldOut, unseen: bool) -> None:
    """Say in a sentence whether the model beats size on nodules."""
    best = report_words.best_size(part, "nodule")
    if best is None:
        st.info("This data set has no sizes to compare with.", icon=":material/info:")
        return
    ours, (name, size) = _nodules(part).auc, best
    value, low, high = ends(ours)
    size_value, size_low, size_high = ends(size)
    where = "nodules of patients that the model never saw" if unseen else "nodules"
    figures = (
        f"AUC {report_words.figure(size, 2)} from the {report_words.SIZE_WORDS.get(name, name)} against AUC "
        f"{report_words.figure(ours, 2)} from the model, per nodule"
    )
    if size_low > high or size_value >= value:
        clearly = "clearly " if size_low > high else ""
        mark, sentence = st.warning, f"**Size alone is {clearly}better** on {where}"
    elif size_high >= low:
        mark, sentence = st.info, f"The model is ahead of size alone on {where}, but the intervals overlap"
    else:
        mark, sentence = st.success, f"The model is ahead of size alone on {where}"
    mark(f"{sentence}: {figures}.", icon=":material/straighten:")


def forest(part: Report | HeldOut) -> go.Figure:
    """Draw AUCs with their intervals for the model and the size baselines, per nodule and per slice."""
    return _intervals(
        [
            replace(row, name=f"{row.name}, per {unit}")
            for unit in ("nodule", "slice")
            for row in report_words.forest(part, unit, "Model")
        ]
    )


def _intervals(rows: list[Row]) -> go.Figure:
    """Draw AUCs as points with bars, the first on top."""
    figure = go.Figure()
    for row in reversed(rows):
        value, low, high = np.array(ends(row.interval))[:, None]
        colour, symbol = (MODEL, "circle") if row.kind == "model" else (SIZE, "square")
        figure.add_scatter(
            x=value,
            y=[row.name],
            error_x=charts.error_bars(value, low, high, thickness=2, width=5),
            mode="markers+text",
            marker={"color": colour, "size": 10, "symbol": symbol},
            text=f"{value[0]:.2f}",
            textposition="top center",
            hovertemplate=f"{row.name}<br>AUC {report_words.figure(row.interval)}<extra></extra>",
        )
    least = min(0.5, *(ends(row.interval)[0] for row in rows))
    figure.update_xaxes(title_text="AUC", range=[least - 0.02, 1.0], zeroline=False)
    figure.update_yaxes(range=[-0.5, len(rows) - 0.4])
    margin = {**charts.NO_MARGIN, "r": 10, "t": 8}
    figure.update_layout(height=44 * len(rows) + 60, margin=margin, showlegend=False)
    return figure


def protocol(model: LoadedModel, report: Report) -> None:
    """Show how the figures were made, and how well the model reconstructs."""
    lines = [
        f"Labels: {report_words.label_rule(report)}. Protocol: {report.protocol_in_words}; "
        f"{report_words.seeds(report)}."
    ]
    if report.transductive and not report.leaks:
        lines.append(
            "The encoder saw the pixels, but not the labels, of most of these patients, so figures over "
            "all of them can be too high."
        )
    lines.append("Intervals: 95 %, patients resampled. One training, so no conclusion about the prior.")
    st.caption(" ".join(lines))
    drawn = report.validation
    if drawn is not None:
        low, high = model.window
        st.caption(
            "Reconstruction of held-out patients' slices, 0..1 of the model's HU window "
            f"({low:.0f} to {high:.0f} HU): SSIM {drawn.ssim:.2f}, mean squared error {drawn.mse:.4f}, "
            f"{drawn.active_units} of {model.entry.dimensions} dimensions in use, "
            f"KL {drawn.kl:.0f} nats."
        )


main()
