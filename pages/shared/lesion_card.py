"""One lesion's card: its slices, every reader's ratings, its scores, and the most similar lesions."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore.neighbours import FAR, UNUSUAL
from lungvae_core.serving.lesions import lesion, lesion_facts
from lungvae_core.serving.lesions.cases import ratings
from lungvae_core.serving.lesions.lesion_facts import Scores
from lungvae_core.serving.lesions.nodule_score import NOTE, attended_words
from lungvae_core.serving.lesions.selection import cards
from lungvae_core.serving.models.registry import LoadedModel
from pages.components.lesion_cards import lesion_cards
from pages.components.slice_viewer import slice_viewer
from pages.shared import charts
from pages.shared.lesion_figures import facts_table, ratings_table, slice_scores

NEIGHBOURS = 6


def show(model: LoadedModel, row: int, *, key: str, wide: bool = False) -> int | None:
    """Show the card of the nodule with slice `row`; return the row of a neighbour that was just clicked.

    `key` distinguishes several cards on one page. `wide` puts images and text side by side.
    """
    try:
        rows = lesion.slices(model, row)
    except UserError as error:
        st.error(str(error))
        return None
    entry = model.lesion(row)
    st.markdown(f"**{entry['patient_id']}, nodule {entry['nodule']}**")
    if wide:
        left, right = st.columns([1, 1.15], gap="large")
    else:
        left = right = st.container(gap="small")
    with left:
        _buttons(model, row, key)
        _slices(model, row, rows, key, 520 if wide else 420)
    with right:
        readers = lesion_facts.ratings(model, row)
        if readers:
            st.markdown("**What every reader said**")
            ratings_table(readers)
            st.caption("Suspicion on CT, not pathology. Readers differ between scans.")
        with st.expander("Size and scan", icon=":material/straighten:", expanded=wide):
            facts_table(lesion_facts.facts(model, row))
        return _neighbours(model, row, key)


@st.fragment
def _slices(model: LoadedModel, row: int, rows: list[int], key: str, size: int) -> None:
    """Show the slices and their scores; a fragment, so that scrolling through slices redraws nothing else."""
    viewer, moved = f"{key}_slices", f"{key}_moved"  # moved: (row, slice, count of jumps)

    def follow() -> None:
        view = st.session_state[viewer].get("view")
        if view:
            st.session_state[moved] = (row, view["slice"], turns)

    def go(to: int) -> None:
        st.session_state[moved] = (row, to, turns + 1)

    of, at, turns = st.session_state.get(moved, (None, 0, 0))
    if of != row:
        at, turns = rows.index(row), turns + 1
        st.session_state[moved] = (row, at, turns)
    real, outlined = bool(model.real[rows].any()), lesion.outlined(model, rows)
    entry = model.lesion(row)
    slice_viewer(
        f"/api/models/{quote(model.entry.name)}/nodules/{rows[0]}",
        key=viewer,
        count=len(rows),
        at=at,
        turn=turns,
        spacing_mm=lesion.spacing_mm(model, rows),
        window="Lung" if real else "Model's",
        model_window=model.window,
        generated=not real,
        outlines=outlined,
        size=size,
        label=f"Slices of nodule {entry['nodule']} of {entry['patient_id']}",
        on_change=follow,
    )
    st.caption(_of_pixels(model, real, outlined))
    scores = lesion_facts.scores(model, rows[at])
    if scores is not None:
        _scores(scores, at, len(rows), key, go)


def _of_pixels(model: LoadedModel, real: bool, outlined: bool) -> str:
    """Describe the viewer's pixels."""
    if not real:
        return (
            "The CT is not on this machine: these are the model's reconstructions, **generated**. They "
            "contain no HU outside the model's window."
        )
    sentences = ["CT in its own pixels."]
    if outlined:
        sentences.append(
            "The outline comes from the data set; in LIDC-IDRI, it contains what at least half of "
            "the readers outlined."
        )
    if model.spacing_words:
        sentences.append(f"The model sees it {model.spacing_words}.")
    return " ".join(sentences)


def _scores(scores: Scores, at: int, count: int, key: str, go: Callable[[int], None]) -> None:
    """Show the scores in words and as bars; `go` is called with the slice that the user wants."""
    nodule = scores.nodule
    lines = [f"Slice {at + 1} of {count}: **{scores.slice:.2f}**{_interval(scores.band)}"]
    if count > 1:
        lines.append(f"Nodule: **{nodule.score:.2f}**{_interval(nodule.band)}")
    st.markdown("**Model score**, not a probability of cancer  \n" + "  \n".join(lines))
    if count > 1:
        charts.show(
            slice_scores(nodule, at),
            key=f"{key}_scores",
            alt=f"Score of each of {count} slices; the nodule's, their mean, is {nodule.score:.2f}.",
        )
        most = int(abs(nodule.drives).argmax())
        st.caption(
            "One bar per slice; orange bars raise the nodule's score (dashed), blue ones lower it. Slice "
            f"{most + 1} drives it most: without it, the nodule would have "
            f"{nodule.score - nodule.drives[most]:.2f}."
        )
        st.button(
            f"Show slice {most + 1}",
            icon=":material/visibility:",
            key=f"{key}_most",
            disabled=most == at,
            on_click=go,
            args=(most,),
        )
    with st.expander("How these scores were obtained", icon=":material/help:"):
        st.caption(
            f"{scores.note} {NOTE} {attended_words(nodule)} "
            + (
                "The interval contains 90 % of classifiers fitted to resampled patients without this one; "
                "the score itself can lie outside it."
                if scores.band is not None
                else "This model has no interval for its scores."
            )
        )


def _interval(band: tuple[float, float] | None) -> str:
    return "" if band is None else f" (90 %: {band[0]:.2f} to {band[1]:.2f})"


def _buttons(model: LoadedModel, row: int, key: str) -> None:
    """Draw the buttons that lead to other pages with this lesion."""
    query = {"model": model.entry.name, "row": str(row)}
    traversal, predict = "traversal/traversal.py", "predict/predict.py"
    buttons: tuple[tuple[str, str, str, str, dict[str, str]], ...] = (
        ("Walk", "tune", "Walk from this lesion, dimension by dimension", traversal, {}),
        ("Predict", "biotech", "The model's prediction for this slice", predict, {}),
        ("Path", "route", "A path from this lesion to another", traversal, {"way": "between"}),
    )
    with st.container(horizontal=True, gap="xsmall"):
        for label, icon, what, page, more in buttons:
            if st.button(label, icon=f":material/{icon}:", help=what, key=f"{key}_{label.lower()}"):
                st.switch_page(page, query_params=query | more)


def _neighbours(model: LoadedModel, row: int, key: str) -> int | None:
    """Show the most similar lesions of other patients; return one that was just clicked."""
    patient = str(model.lesion(row)["patient_id"])
    code = model.codes[row]
    rows, distances = model.nearness.neighbours(code, NEIGHBOURS, exclude_patient=patient)
    if not len(rows):
        return None
    st.markdown("**Most similar to the model, from other patients**")
    far = float(model.familiarity(code[None], exclude_patient=patient)[0])
    if far >= UNUSUAL:
        how = "far from all lesions" if far >= FAR else "unusual"
        st.caption(
            f"This slice is {how}: its nearest lesion is farther than that of {min(far, 0.99):.0%} of the "
            "model's own slices."
        )
    picked = lesion_cards(
        model.entry.name,
        cards(model, rows.tolist(), readers=True),
        key=f"{key}_neighbours",
        smallest=96,
        label="Most similar lesions of other patients",
    )
    with st.expander("All their ratings", icon=":material/table:"):
        st.dataframe(ratings(model, rows.tolist(), distances.tolist()), hide_index=True)
    return picked
