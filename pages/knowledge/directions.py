"""Directions of malignancy, size and ratings in the latent space, and counterfactuals."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from lungvae_core.data.counted import counted_in_words
from lungvae_core.data.slices import malignancy_meaning, rating_text
from lungvae_core.errors import UserError
from lungvae_core.explore.counterfactual import Change, Counterfactual, changes, in_words, measured_curves
from lungvae_core.explore.directions import Directions, load_directions, walk
from lungvae_core.number_text import interval
from lungvae_core.palette import diverging
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import paths
from lungvae_core.serving.walks.live import DIFFERENCE_FULL
from pages.knowledge import directions_figures
from pages.shared import charts, common, figures, lesion_picker, url

STEPS = 7
STARTS = {"malignant": "Malignant mean", "benign": "Benign mean", "prior": "Prior", "lesion": "The lesion"}
SIDES = {"other": "the other side", "malignant": "malignant", "benign": "benign"}


def main() -> None:
    """Draw the page from top to bottom."""
    common.introduce("Directions")
    model = common.current_model()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = lesion_picker.pick_in_address(model, key="directions")
        st.caption(lesion_words(model, row))
    st.header("Along a direction", anchor="along")
    try:
        opened = load_directions(model.entry.folder, model.codes)
    except UserError as error:
        st.info(str(error), icon=":material/explore:")
    else:
        directions(model, opened, row)
    st.header("What would flip the score", anchor="counterfactual")
    flip(model.entry.name, row)


def lesion_words(model: LoadedModel, row: int) -> str:
    """What the readers said of a slice's nodule."""
    entry = model.lesion(row)
    parts = []
    rating, diameter = entry.get("malignancy"), entry.get("diameter_mm")
    if rating is not None and not pd.isna(rating):
        parts.append(f"readers: malignancy {rating_text(rating)}, {malignancy_meaning(rating)}")
    if diameter is not None and not pd.isna(diameter):
        parts.append(f"diameter {diameter:.1f} mm")
    return "; ".join(parts)


def directions(model: LoadedModel, opened: Directions, row: int) -> None:
    """Show one direction's walk and figures, then compare all directions."""
    report = opened.report
    with st.container(horizontal=True, vertical_alignment="bottom"):
        titles = {each: directions_figures.title(each) for each in opened.directions}
        name = url.selectbox("direction", "Direction", titles, key="direction", width=290)
        starts = {each: title for each, title in STARTS.items() if each == "lesion" or each in model.starts}
        start = url.segmented("from", "Walk from", starts, key="direction-from")
    direction = opened.directions[name]
    code = model.codes[row] if start == "lesion" else model.starts[start]
    patient = str(model.lesion(row)["patient_id"]) if start == "lesion" else None
    values, codes = walk(opened.space, direction, code, STEPS)
    images, scores = model.decode(codes), model.score(codes, patient=patient)
    for step, column in enumerate(st.columns(STEPS, gap="small")):
        with column:
            score = "" if scores is None else f" · score {scores[step]:.2f}"
            figures.generated(model, images[step], f"{values[step]:+.1f} SD{score}")
    at = float(direction.score(opened.space.to(code[None]))[0])
    curves = measured_curves(model.hu(images))
    if curves or scores is not None:
        charts.show(
            charts.kept(directions_figures.along, values, curves, scores, at),
            alt="Score and measured properties along the direction",
        )
    st.caption(
        f"**{directions_figures.title(name).capitalize()}**: {direction.label}. The walk follows the pattern "
        "(how codes change on average where the direction's score rises, Haufe et al. 2014), over the 1st to "
        "99th percentile of the lesions, in standard deviations over nodules; the dotted line is the start. "
        "Measured in the generated images; gaps are where no lesion was found in one. "
        f"{scoring.of_walk(model, patient)}"
    )
    with st.container(horizontal=True):
        for label, value in held_out_figures(direction.figures):
            st.metric(label, value, width=300)
    compare(report)


def held_out_figures(entry: dict) -> list[tuple[str, str]]:
    """A direction's figures on patients that it was not fitted on, as (label, value)."""
    score = entry["score"]
    name = "AUC" if score["name"] == "auc" else "R²"
    shown = [(f"{name} on held-out patients, {entry['judged']['nodules']:,} nodules", interval(score, 2))]
    if entry["matched"]:
        shown.append(("AUC among diameters within 10 %", interval(entry["matched"]["size"]["auc"], 2)))
    if entry["with_diameter"] is not None:
        shown.append(("Rank correlation with the diameter", f"{entry['with_diameter']:.2f}"))
    halves = entry["stability"]["pattern"]["halves"]
    if halves["value"] is not None:
        cosine = f"{halves['value']:.2f} (shuffled {halves['null']:.2f})"
        shown.append(("Cosine between two halves of the patients", cosine))
    return shown


def compare(report: dict) -> None:
    """Compare all directions."""
    if report["leak"]:
        st.warning(f"{report['leak'].capitalize()}.", icon=":material/warning:")
    transductive = (
        " The VAE itself was trained on these slices, without labels." if report["transductive"] else ""
    )
    st.caption(
        f"{report['nodules']:,} nodules of {report['patients']:,} patients; malignancy by "
        f"{report['label_rule']}, above 3 against below 3; {report['folds']} folds by patient, 95 % "
        f"intervals from {report['resamples']} resamples of patients, seed {report['seed']}.{transductive} "
        f"{counted_in_words(report)}"
    )
    scores, sure, angle = st.tabs(["How well they tell", "How sure they are", "How they lie to each other"])
    with scores:
        charts.show(
            charts.kept(directions_figures.held_out, report),
            alt="How well each direction predicts on other patients",
        )
        sizes = charts.kept(directions_figures.like_sizes, report)
        if sizes is not None:
            st.markdown("**Malignancy among nodules of similar size**")
            charts.show(sizes, alt="Malignancy among nodules of similar size")
            st.caption(
                "Every point is the share of pairs, one malignant and one benign nodule, that are put in "
                "order. *Projected out*: the size direction is removed from the malignancy direction. "
                "*Beyond size*: fitted to what the diameter does not explain."
            )
    with sure:
        with st.container(horizontal=True):
            measure = common.segmented("Directions from", directions_figures.MEASURES)
            vector = common.segmented("Of the", {"pattern": "pattern", "filter": "filter"})
        charts.show(
            charts.kept(directions_figures.steadiness, report, measure, vector),
            alt="Stability of each direction over other patients",
        )
        st.caption(
            "Cosine of the direction fitted to different patients: 1 is the same direction. The orange "
            "line is the same with values shuffled between patients. Folds and draws share patients, so "
            "even shuffled values look stable there; halves share none."
        )
    with angle:
        kinds = {"cosine": "angles of patterns", "correlation": "correlation of scores"}
        kind = common.segmented("Show", kinds)
        charts.show(charts.kept(directions_figures.angles, report, kind), alt="Angles between the directions")
        st.caption(
            "Cosines between patterns: 1 is the same direction, 0 at right angles, -1 opposite. "
            "Correlations of the directions' scores over nodules also say by how many standard deviations "
            "one score changes in a walk of one along the other."
        )


@st.fragment
def flip(name: str, row: int) -> None:
    """Show the counterfactual of the lesion; reruns when its own settings change."""
    model = common.current_model(again=True)
    if model.entry.name != name:  # the model was changed outside this fragment
        st.rerun()
    if model.classifier is None:
        st.info(
            "This model has no classifier, so there is no score to flip. Make one with `lungvae classify "
            f"{model.entry.folder}`.",
            icon=":material/info:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        side = common.segmented("Take the score to", SIDES)
        target = st.slider("Past a model score of", 0.05, 0.95, 0.5, 0.05, width=260)
        few = st.toggle(
            "Few dimensions", help="Change as few dimensions as possible, instead of all a little."
        )
    try:
        with st.spinner("Searching…"):
            change = paths.flip_of_row(model, row, None if side == "other" else side, target, few)
    except UserError as error:
        st.warning(str(error), icon=":material/warning:")
        return
    if change.already:
        side = "above" if change.upwards else "below"
        st.info(
            f"The lesion's score is {change.score_before:.2f}: it is {side} {target:g} already, and nothing "
            "needs to change.",
            icon=":material/info:",
        )
        return
    show(model, row, change)


def show(model: LoadedModel, row: int, change: Counterfactual) -> None:
    """Show before, after and the difference, and say what changed."""
    images = model.decode(change.path[[0, -1]])
    measured = changes(model.hu(images))
    columns = st.columns(4 if model.real[row] else 3)
    if model.real[row]:
        with columns[0]:
            figures.lesion(model, model.image(row)[0], "The CT slice", spacing_mm=model.shown_spacing(row))
    before, after, difference = columns[-3:]
    with before:
        figures.generated(model, images[0], f"Before: score {change.score_before:.2f}")
    with after:
        figures.generated(model, images[1], f"After: score {change.score_after:.2f}")
    with difference:
        colours = diverging(images[1] - images[0], DIFFERENCE_FULL)
        full = DIFFERENCE_FULL * (model.window[1] - model.window[0])
        st.image(
            colours.repeat(6, axis=0).repeat(6, axis=1),
            caption=f"After less before: blue -{full:.0f} to orange +{full:.0f} HU",
            width="stretch",
            alt=f"After less before: {', '.join(in_words(measured)) or 'nothing measured changes'}",
        )
    st.markdown(change.in_words(measured))
    left, right = st.columns([1.2, 1])
    with left:
        table = change_table(measured)
        if len(table):
            st.table(table)
        st.caption(f"{where(change)} {scoring.of_row(model, row)}")
        if change.warning:
            st.warning(change.warning, icon=":material/warning:")
    charts.show(
        charts.kept(directions_figures.path, change),
        where=right,
        alt="Measurements along the smallest change",
    )


def where(change: Counterfactual) -> str:
    """Say how large the change is and where it leads."""
    straight = ""
    if change.straight is not None:
        straight = f" The nearest lesion that scores on that side is {change.straight:.1f} away."
    return (
        f"The code changes by {change.distance:.2f} standard deviations of the lesions, in "
        f"{len(change.dimensions)} dimension(s), most in "
        f"{', '.join(f'z {at}' for at in change.dimensions[:4])}.{straight} The nearest lesion of another "
        f"patient is {change.nearest_before:.1f} away before and {change.nearest_after:.1f} after "
        f"({min(change.far_after, 0.99):.0%} of the lesions have a nearer one). Seed {change.seed}."
    )


def change_table(measured: list[Change]) -> pd.DataFrame:
    """The measured properties before and after, one row each."""

    def cell(value: float | None) -> str:
        return "not found" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"

    return pd.DataFrame(
        {
            "before": [cell(change.before) for change in measured],
            "after": [cell(change.after) for change in measured],
        },
        index=[change.title for change in measured],
    )


main()
