"""The Predict page's view of a lesion, from the set or uploaded: images, scores, neighbours, map."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import pandas as pd
import streamlit as st

from lungvae_core.data.slices import malignancy_meaning, rating_text
from lungvae_core.errors import UserError
from lungvae_core.explore.maps import TITLES
from lungvae_core.serving.lesions import cases
from lungvae_core.serving.lesions.cases import Case, NoduleCase
from lungvae_core.serving.lesions.nodule_score import attended_words
from lungvae_core.serving.lesions.selection import cards
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.training.lesion_space import metric
from pages.components.latent_map import latent_map
from pages.components.lesion_cards import lesion_cards
from pages.shared import charts, figures, url
from pages.shared.lesion_figures import slice_scores

NEIGHBOURS = 8
SCORE_WORDS = "(0 to 1, not a probability of cancer)"


def pictures(model: LoadedModel, case: Case) -> None:
    """Show the slice, its reconstruction and their difference side by side."""
    first, second, third = st.columns(3, gap="small")
    with first:
        if case.image is None:
            st.info("This slice is not on this machine; beside it is the model's reconstruction.")
        else:
            how = f" ({model.spacing_words})" if model.spacing_words else ""
            figures.lesion(model, case.image, f"CT slice: {case.title}{how}", spacing_mm=case.spacing_mm)
    with second:
        figures.generated(model, case.reconstruction, "Reconstruction by the model")
    with third:
        error(model, case)


def error(model: LoadedModel, case: Case) -> None:
    """Show the difference between slice and reconstruction; nothing if this machine lacks the slice."""
    png, caption = cases.error_png(case), cases.error_words(model, case)
    if png is None:
        return
    low, high = model.window
    full = round(cases.ERROR_FULL * (high - low))
    scale = f'<div class="scale">−{full}<i></i>+{full} HU</div>'
    figures.picture(png, scale, f"Error: {caption}", alt=f"Reconstruction less CT slice, {caption}")


def score(model: LoadedModel, case: Case, *, of: str = "") -> None:
    """Show the model score with its interval, and where it lies among others; `of` says what is scored."""
    if case.score is None:
        st.info("This model has no classifier, so there is no score.")
        return
    label = " ".join(filter(None, ("Model score", of, SCORE_WORDS)))
    st.markdown(f"**Model score** {of} {SCORE_WORDS}")
    value, among = st.columns([1, 1.9], vertical_alignment="center")
    with value:
        st.metric(label, f"{case.score:.2f}", label_visibility="collapsed")
        st.markdown(f":small[{interval(case.band)}]")
    with among:
        _among(case.score, case.band, cases.score_histograms(model))
    st.caption(f"{cases.score_context(model, case.score)} {case.score_note}")


def interval(band: tuple[float, float] | None) -> str:
    """Describe a score's interval in words."""
    if band is None:
        return "No interval: this model has none for its scores."
    return f"90 % interval: **{band[0]:.2f} to {band[1]:.2f}**"


def _among(value: float, band: tuple[float, float] | None, histograms: dict[str, list[float]]) -> None:
    """Draw the score as a line and its interval as a band over the stored scores of benign and malignant."""
    if not histograms:
        return
    most = max(max(shares) for shares in histograms.values()) or 1
    bars = "".join(
        f'<div class="bars{way}">'
        + "".join(f'<i style="height: {100 * share / most:.1f}%"></i>' for share in histograms.get(name, []))
        + "</div>"
        for name, way in (("benign", ""), ("malignant", " down"))
    )
    field = ""
    if band is not None:
        field = f'<div class="band" style="left: {band[0]:.2%}; width: {band[1] - band[0]:.2%}"></div>'
    alt = f"Score {value:.2f} among the stored scores of benign slices above and malignant ones below"
    st.html(
        f'<div class="among" role="img" aria-label="{alt}">{bars}{field}'
        f'<div class="at" style="left: {value:.2%}"></div>'
        '<div class="ends"><span>0</span><span>benign above, malignant below</span><span>1</span></div></div>'
    )


def usual(case: Case) -> None:
    """Say how usual the image is for the model."""
    for warning, text in cases.hints(case):
        if warning:
            st.warning(text, icon=":material/error:")
        else:
            st.caption(text)


def nodule(case: NoduleCase, shown: int, *, go: Callable[[int], None]) -> None:
    """Show a nodule's score from its slices, and which drive it; `go` is called with a slice to show."""
    judged = case.judged
    if judged is None:
        return
    index = case.slices.index(shown)
    numbers = [at + 1 for at in case.slices]

    def clicked() -> None:
        points = st.session_state["nodule_chart"]["selection"]["points"]
        if points:
            go(int(points[0]["x"]) - 1)

    st.markdown(f"**Nodule score**, mean of {len(numbers)} slices {SCORE_WORDS}")
    value, chart = st.columns([1, 1.9], vertical_alignment="center")
    with value:
        label = f"Nodule score {SCORE_WORDS}"
        st.metric(label, f"{judged.score:.2f}", label_visibility="collapsed")
        st.markdown(f":small[{interval(judged.band)}]")
        st.markdown(f":small[{attended_words(judged)}]")
    with chart:
        charts.show(
            slice_scores(judged, index, numbers=numbers),
            key="nodule_chart",
            on_select=clicked,
            selection_mode="points",
            alt=f"Score of each of {len(numbers)} slices; the nodule's, their mean, is {judged.score:.2f}.",
        )
    most = int(abs(judged.drives).argmax())
    st.caption(
        "A bar a slice, the one that is shown framed; orange bars raise the nodule's score (dashed), blue "
        f"ones lower it. Click one to see it. {' '.join(cases.nodule_words(case))}"
    )
    st.button(
        f"Show slice {numbers[most]}, which drives it most",
        icon=":material/visibility:",
        key="nodule_most",
        disabled=most == index,
        on_click=go,
        args=(case.slices[most],),
    )


def sorting_table(model: LoadedModel) -> None:
    """Show how well the model's scores rank the set's lesions, beside size alone."""
    evaluated = cases.evaluated(model.evaluation)
    if evaluated is None:
        st.warning("This model was not evaluated, so the quality of its scores is unknown.")
        return
    table, description = evaluated
    st.markdown("**How well such scores rank the data's lesions** (AUC)")
    st.table(table)
    st.caption(description)


def readers(model: LoadedModel, row: int) -> None:
    """Show the readers' ratings of a lesion of the set."""
    entry = model.lesion(row)
    rating = entry.get("malignancy")
    if rating is not None and not pd.isna(rating):
        st.markdown(
            f"**Readers:** malignancy {malignancy_meaning(rating)} ({rating_text(rating)})"
            + (f", diameter {entry['diameter_mm']:.1f} mm" if pd.notna(entry.get("diameter_mm")) else "")
        )


def neighbourhood(model: LoadedModel, case: Case) -> None:
    """Show the neighbours in the latent space and, beside them, the lesion's place on a map."""
    left, right = st.columns([1, 1.1], gap="large")
    with left:
        neighbours(model, case)
    with right:
        place(model, case)


def neighbours(model: LoadedModel, case: Case) -> None:
    """Show the nearest lesions of other patients, with images and each reader's rating."""
    heading("Nearest lesions of other patients")
    shown = [
        {**card, "title": f"{number}. {card['title']}"}
        for number, card in enumerate(cards(model, case.neighbours, readers=True), 1)
    ]
    picked = lesion_cards(
        model.entry.name,
        shown,
        key="neighbour_cards",
        smallest=104,
        action="Look at this lesion",
        label="Nearest lesions of other patients",
    )
    if picked is not None:
        st.session_state.pop("predict_source", None)
        url.write("row", str(picked))
        url.write("source", "set")
        st.rerun(scope="app")
    st.caption(
        f"Nearest by {metric(model.run.config)}, one slice a patient, nearest first. Similar to this model; "
        "not a diagnosis."
    )
    with st.expander("Every reader's ratings of them", icon=":material/groups:"):
        st.dataframe(cases.ratings(model, case.neighbours, case.distances))


def place(model: LoadedModel, case: Case) -> None:
    """Show where the lesion lies on the map of slices."""
    heading("Where it falls on the map")
    method = url.segmented("method", "Map", TITLES, key="predict_method", label_visibility="collapsed")
    try:
        own = case.row is not None
        marker = model.map("slice", method)[case.row] if own else model.place(case.code, "slice", method)
    except UserError as error:
        st.info(str(error))
        return
    latent_map(
        model.entry.name,
        unit="slice",
        method=method,
        by="malignancy" if "malignancy" in model.table else "patient",
        key="predict_map",
        marker=(float(marker[0]), float(marker[1])),
        marker_label="this lesion",
        neighbours=case.neighbours,
        selectable=False,
        height=400,
    )
    st.caption(
        (
            "The diamond is this lesion's own point"
            if own
            else "The map was made without this image: the diamond lies among its ten nearest slices in "
            "the latent space, which is approximate; trust the neighbours rather than the position"
        )
        + ". The numbers are the neighbours beside it. Distances and axes have no clinical meaning."
    )


def heading(text: str) -> None:
    """Draw a second-level heading in a size that fits half a page."""
    st.html(f'<h2 style="font-size: 1.35rem; padding: 0; margin: 0">{escape(text)}</h2>')
