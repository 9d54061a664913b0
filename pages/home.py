"""Home: what this is, three ways in, and how good the models are, beside what a lesion's size alone gives."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.serving.registry import LoadedModel, ModelEntry
from lungvae_core.serving.routes import registry
from pages import common

SIZES = {"diameter": "Diameter alone", "area": "Area alone"}
WHOSE = {
    "diameter": "the readers' diameter",
    "area": "the area that the readers outlined",
}
MODEL, SIZE = "#56b4e9", "#e69f00"  # Okabe and Ito's


def main() -> None:
    """The page from top to bottom."""
    common.introduce(
        "Lung lesion explorer",
        shows="A variational autoencoder squeezes a CT slice of a lung lesion into a few dozen numbers and "
        "draws it again from them. These pages let you walk through what such models learned: which lesions "
        "they hold alike, what each number changes in the picture, and what a classifier makes of it.",
        does_not_mean=(
            "- **Not a diagnosis, nor a second opinion.** Nothing here was tested for care, and no page "
            "gives advice about a patient.\n"
            "- **Malignancy here is an opinion.** The labels are readers' ratings of how suspicious a nodule "
            "looks, not the outcome of a biopsy.\n"
            "- **One data set.** Shipped models know the scanners, readers and case mix of LIDC-IDRI only.\n"
            "- **Not a clinical factor.** A model's dimensions and a map's axes have no clinical meaning of "
            "their own."
        ),
    )
    ways_in()
    figures()


def ways_in() -> None:
    """Links for a clinician, a researcher and somebody who has two minutes."""
    clinician, researcher, visitor = st.columns(3)
    with clinician, st.container(border=True, height="stretch"):
        st.markdown(":material/stethoscope: **As a clinician**")
        st.caption(
            "Look through the lesions as the model arranges them, with the readers' ratings, or see which "
            "lesions it finds most like a slice of your own. An upload stays on this machine, in memory."
        )
        st.page_link("latent_map.py", label="Look at the map", icon=":material/scatter_plot:")
        st.page_link("predict.py", label="Bring a slice", icon=":material/biotech:")
    with researcher, st.container(border=True, height="stretch"):
        st.markdown(":material/science: **As a researcher**")
        st.caption(
            "Take the latent space apart one dimension at a time, compare Gaussian and Dirichlet priors, and "
            "train a model of your own. The figures below say how they were made."
        )
        st.page_link("traversal.py", label="Walk along dimensions", icon=":material/tune:")
        st.page_link("train.py", label="Train a model", icon=":material/model_training:")
    with visitor, st.container(border=True, height="stretch"):
        st.markdown(":material/play_circle: **With two minutes**")
        st.caption(
            "Start from the mean of the lesions that readers rated malignant and drag a slider. The picture "
            "changes under your hand; blue and orange show where it got darker and brighter."
        )
        st.page_link(
            "traversal.py",
            label="Drag a slider",
            icon=":material/swipe:",
            query_params={"start": "malignant"},
        )


def figures() -> None:
    """The figures of the shipped models and of the one that is picked."""
    entries = registry().entries()
    picked = st.session_state.get("model_name")
    shown = [entry for entry in entries if entry.shipped or entry.name == picked]
    st.header("How good the models are")
    if not shown:
        st.info("There is no model yet. Train one on the Train page.", icon=":material/info:")
        return
    st.markdown(
        "How well each score ranks malignant above benign lesions (AUC: 0.5 is chance, 1 is perfect), with "
        "95 % intervals. Beside each model stands what **the lesion's size alone** gives on the same "
        "lesions, since a model that cannot beat a ruler has learned little more than size."
    )
    for entry in shown:
        with st.container(border=True):
            describe(entry)


def describe(entry: ModelEntry) -> None:
    """One model: what it is and its evaluation, or why there is none."""
    whose = "ships with the project" if entry.shipped else "your own run"
    st.subheader(entry.title, anchor=False)
    st.caption(
        f"{entry.prior.capitalize()} prior, {entry.dimensions} dimensions, {whose}. "
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
    heldout = report.get("heldout")
    unseen = "Patients whose pixels the model never saw"
    if report["protocol"] == "joint":  # its report is of held-out patients only
        parts = [(report, unseen)]
    else:
        parts = [(report, "All patients"), *([(heldout, unseen)] if heldout else [])]
    if report["protocol"] == "released":
        st.error(
            "**These figures leak.** As in the paper's released code, labels of patients that test the "
            "classifier have shaped the codes. They say nothing about patients that are new to the model.",
            icon=":material/report:",
        )
    verdict(heldout or report, parts[-1][1] == unseen)
    columns = st.columns(len(parts), gap="medium")
    for column, (part, title) in zip(columns, parts, strict=True):
        nodules = part["units"]["nodule"]
        column.markdown(
            f"**{title}**  \n{nodules['patients']:,} patients, {nodules['count']:,} nodules "
            f"({nodules['malignant']:,} malignant), {part['units']['slice']['count']:,} slices"
        )
        column.plotly_chart(
            forest(part), config={"displayModeBar": False}, key=f"forest-{entry.name}-{title}"
        )
    protocol(model, report)


def verdict(part: dict[str, Any], heldout: bool) -> None:
    """Say in a sentence whether the model beats size, on nodules."""
    ours = part["units"]["nodule"]["auc"]
    sizes = {name: both["nodule"]["auc"] for name, both in part.get("baselines", {}).items() if name in SIZES}
    if not sizes:
        st.info("This data set has no sizes to compare with.", icon=":material/info:")
        return
    best = max(sizes, key=lambda name: sizes[name]["value"])
    size = sizes[best]
    where = "nodules of patients that the model never saw" if heldout else "nodules"
    figures = f"{_figure(size)} from {WHOSE[best]} against {_figure(ours)} from the model, per nodule"
    if size["low"] > ours["high"]:
        st.warning(f"**Size alone is clearly better** on {where}: {figures}.", icon=":material/straighten:")
    elif size["value"] >= ours["value"]:
        st.warning(f"**Size alone is better** on {where}: {figures}.", icon=":material/straighten:")
    elif size["high"] >= ours["low"]:
        st.info(
            f"The model is ahead of size alone on {where}, but the intervals overlap: {figures}.",
            icon=":material/straighten:",
        )
    else:
        st.success(f"The model is ahead of size alone on {where}: {figures}.", icon=":material/straighten:")


def forest(part: dict[str, Any]) -> go.Figure:
    """AUCs with their intervals: the model and the size baselines, per nodule and per slice."""
    figure = go.Figure()
    names, values, below, above, colours = [], [], [], [], []
    for unit in ("slice", "nodule"):  # drawn from below
        scores = {"Model": part["units"][unit]["auc"]} | {
            SIZES[name]: both[unit]["auc"]
            for name, both in part.get("baselines", {}).items()
            if name in SIZES
        }
        for name, area in reversed(scores.items()):
            names.append(f"{name}, per {unit}")
            values.append(area["value"])
            below.append(area["value"] - area["low"])
            above.append(area["high"] - area["value"])
            colours.append(MODEL if name == "Model" else SIZE)
    for at, name in enumerate(names):
        figure.add_scatter(
            x=[values[at]],
            y=[name],
            error_x={"array": [above[at]], "arrayminus": [below[at]], "thickness": 2, "width": 5},
            mode="markers+text",
            marker={
                "color": colours[at],
                "size": 10,
                "symbol": "circle" if colours[at] == MODEL else "square",
            },
            text=f"{values[at]:.2f}",
            textposition="top center",
            hovertemplate=f"{name}<br>AUC %{{x:.3f}} ({values[at] - below[at]:.3f} to "
            f"{values[at] + above[at]:.3f})<extra></extra>",
        )
    figure.update_layout(
        height=52 * len(names) + 60,
        margin={"l": 0, "r": 10, "t": 8, "b": 0},
        showlegend=False,
        xaxis={"title": "AUC", "range": [min(0.5, *values) - 0.02, 1.0], "zeroline": False},
        yaxis={"range": [-0.5, len(names) - 0.4]},
    )
    return figure


def protocol(model: LoadedModel, report: dict[str, Any]) -> None:
    """How the figures were made, and how well the model draws."""
    lines = [
        f"Labels: {report['label_rule']}. Protocol: {report['protocol_in_words']}; "
        f"{'seed' if len(report['seeds']) == 1 else 'seeds'} {', '.join(map(str, report['seeds']))}."
    ]
    if report.get("transductive") and report["protocol"] == "frozen":
        lines.append(
            "The encoder saw the pixels, never the labels, of most of all these patients, so the figures "
            "over all of them can flatter it."
        )
    lines.append("Intervals: 95 %, by drawing patients again. One training, so no claim about a prior.")
    st.caption(" ".join(lines))
    drawn = report.get("reconstruction")
    if drawn:
        low, high = model.window
        st.caption(
            f"Reconstruction of held-out patients' slices, {drawn['scale']} ({low:.0f} to {high:.0f} HU): "
            f"SSIM {drawn['ssim']:.2f}, mean squared error {drawn['mse']:.4f}, "
            f"{drawn['active_units']} of {model.entry.dimensions} dimensions in use, "
            f"KL {drawn['kl']:.0f} nats."
        )


def _figure(area: dict[str, float]) -> str:
    return f"AUC {area['value']:.2f} ({area['low']:.2f}–{area['high']:.2f})"


main()
