"""Compare: two models of the same data side by side, sharing the selection and the hovered lesion."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from lungvae_core.errors import UserError
from lungvae_core.explore import colours
from lungvae_core.explore.maps import TITLES, UNITS
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.lesions import cases
from lungvae_core.serving.lesions.cases import Case
from lungvae_core.serving.lesions.selection import cards, counted
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import comparison
from pages.components.latent_map import latent_map
from pages.components.lesion_cards import lesion_cards
from pages.predict import parts
from pages.shared import common, figures, selection, url

HEIGHT = 380
NEIGHBOURS = 6
LINK = "compare"


def main() -> None:
    """Draw the page from top to bottom."""
    common.compact()
    common.introduce("Compare")
    first = common.current_model()
    place, *rest = st.columns([1.5, 1, 1.2, 1.6], vertical_alignment="bottom")
    second = beside(first, place)
    unit, method, by = controls(first, second, rest)
    maps(first, second, unit, method, by)
    selection.to_address(first)
    row = selection.focus(first)
    if row is None:
        st.info("Nothing selected yet. Click a lesion in either map.", icon=":material/touch_app:")
    else:
        lesion(first, second, row)
    st.subheader("The two models", anchor=False)
    st.table(comparison.facts(first, second))
    st.caption(comparison.facts_note(first, second))
    dimensions(first, second)


def beside(first: LoadedModel, place: DeltaGenerator) -> LoadedModel:
    """Pick the other model among those trained on the same lesions; stop the page if there is none."""
    others = comparison.others(registry(), first)
    if not others:
        common.stop(
            f"No other model here was trained on the lesions of {first.entry.title}. Train one on the Train "
            "page, or pick another model on the left."
        )
    titles = {entry.name: entry.title for entry in others}
    with place:
        name = url.selectbox("beside", f"Beside {first.entry.title}", titles, key="compare_beside")
    try:
        second = registry().load(name)
    except UserError as error:
        common.stop(str(error))
    if not comparison.same_rows(first, second):
        common.stop(f"{second.entry.title} was trained on other slices of these lesions: rows do not match.")
    return second


def controls(
    first: LoadedModel, second: LoadedModel, columns: Sequence[DeltaGenerator]
) -> tuple[str, str, str]:
    """Show the controls that both maps share; return the unit of a point, the method and the colour."""
    of_second = colours.available(second.table)
    choices = {name: title for name, title in colours.available(first.table).items() if name in of_second}
    with columns[0]:
        unit = url.segmented("unit", "A point is a", UNITS, key="compare_unit")
    with columns[1]:
        method = url.segmented("method", "Map", TITLES, key="compare_method")
    with columns[2]:
        by = url.selectbox("colour", "Colour", choices, key="compare_colour")
    return unit, method, by


def maps(first: LoadedModel, second: LoadedModel, unit: str, method: str, by: str) -> None:
    """Draw both maps; they share the hovered lesion and the selection."""
    for side in ("left", "right"):
        selection.from_map(first, f"compare_{side}")
    selection.from_address(first)
    for side, model, column in zip(("left", "right"), (first, second), st.columns(2), strict=True):
        with column:
            st.markdown(f"**{model.entry.title}**")
            try:
                model.map(unit, method)
            except UserError as error:
                st.error(str(error))
                continue
            latent_map(
                model.entry.name,
                unit=unit,
                method=method,
                by=by,
                key=f"compare_{side}",
                link=LINK,
                selection=selection.for_map(first),
                height=HEIGHT,
            )


def lesion(first: LoadedModel, second: LoadedModel, row: int) -> None:
    """Show one lesion in both models: its reconstructions, scores and neighbours."""
    chosen = selection.rows(first)
    both = [cases.case_of_row(model, row, count=NEIGHBOURS) for model in (first, second)]
    st.subheader(both[0].title, anchor=False)
    if len(chosen) > 1:
        st.caption(f"The first of {counted(first, chosen)} that are selected.")
    images(first, second, both)
    for model, case, column in zip((first, second), both, st.columns(2, gap="large"), strict=True):
        with column:
            parts.score(model, case, of=f"of {model.entry.title}")
    st.markdown(f"**Most similar to each model, from other patients.** {comparison.overlap(first, both)}")
    for model, case, column in zip((first, second), both, st.columns(2, gap="large"), strict=True):
        with column:
            picked = lesion_cards(
                model.entry.name,
                cards(model, case.neighbours),
                key=f"compare_neighbours_{model.entry.name}",
                smallest=70,
                label=f"Most alike lesions for {model.entry.title}",
            )
            if picked is not None and picked != row:
                selection.select(first, [picked], picked)
                st.rerun()


def images(first: LoadedModel, second: LoadedModel, both: list[Case]) -> None:
    """Show the slice once, then the reconstruction and error of each model."""
    slice_column, *columns = st.columns(5, gap="small")
    with slice_column:
        if both[0].image is None:
            st.info("This slice is not on this machine; beside it are the models' reconstructions.")
        else:
            figures.lesion(first, both[0].image, "CT slice", spacing_mm=both[0].spacing_mm)
    for at, (model, case) in enumerate(zip((first, second), both, strict=True)):
        with columns[2 * at]:
            figures.generated(model, case.reconstruction, f"{model.entry.title}: what it kept of it")
        with columns[2 * at + 1]:
            parts.error(model, case)


def dimensions(first: LoadedModel, second: LoadedModel) -> None:
    """Show side by side what the dimensions of each model change, as measured."""
    with st.expander("What their dimensions move", icon=":material/straighten:"):
        for model, column in zip((first, second), st.columns(2, gap="large"), strict=True):
            with column:
                st.markdown(f"**{model.entry.title}**")
                named = comparison.named_dimensions(model)
                if named is None:
                    st.caption(f"Not measured yet; run `lungvae measure {model.entry.folder}` does it.")
                else:
                    st.dataframe(named, hide_index=True, width="stretch")
        st.caption(
            "Guided dimensions first, then those that change the image most. Numbers of dimensions cannot "
            "be compared across models. For the method see the page Measured traversals."
        )


main()
