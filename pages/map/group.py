"""The selected group: its lesions, what is typical of them, their mean image, and saved sets."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore.typical import FEWEST_PATIENTS
from lungvae_core.number_text import plural
from lungvae_core.parameters import integer
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.lesions import group, sets
from lungvae_core.serving.lesions.selection import cards, composition, counted, csv
from lungvae_core.serving.lesions.sets import NamedSet, SetExistsError
from lungvae_core.serving.models.registry import LoadedModel
from pages.components.lesion_cards import lesion_cards
from pages.map.group_figures import contrasts, shares
from pages.shared import access, charts, figures, lesion_card, selection, url

A_PAGE = 60  # cards
PARTS = {"gallery": "Gallery", "typical": "Typical", "mean": "Mean image", "sets": "Sets"}
_OPENED = "opened_set"  # (id as written in the address, its rows)


def from_address(model: LoadedModel) -> None:
    """Select the set named in the address as ?set=, once; call this before reading the selection."""
    sent = url.sent("set")
    if not sent or sent == st.session_state.get(_OPENED, ("", []))[0]:
        return
    try:
        _open(model, integer("set", sent, 1, sets.LARGEST_ID))
    except UserError as error:
        url.say(error)
        url.write("set", None)


def _open(model: LoadedModel, set_id: int) -> None:
    rows = sets.load(registry().settings, model, set_id)
    selection.select(model, rows)
    st.session_state[_OPENED] = (str(set_id), rows)
    url.write("set", str(set_id))


def show(model: LoadedModel, rows: Sequence[int], *, key: str) -> None:
    """Show the group `rows` of the model's table: a card if it is one lesion, the saved sets if it is empty.

    Clicking a lesion shows its card, with a way back; opening a set makes it the selection.
    """
    if url.sent("set") and sorted(rows) != st.session_state.get(_OPENED, ("", []))[1]:
        url.write("set", None)  # the selection has changed since
        st.session_state[_OPENED] = ("", [])
    if not rows:
        _sets(model, [], key)
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(f"**{counted(model, rows)}**")
        st.download_button(
            "CSV",
            lambda: csv(model, rows),
            file_name=f"{model.entry.name}-selection.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key=f"{key}_csv",
        )
    one, of = st.session_state.get(f"{key}_one", (None, None))
    if len(rows) == 1:
        picked = lesion_card.show(model, rows[0], key=f"{key}_card")
        if picked is not None and picked != rows[0]:
            selection.select(model, [picked], picked)
            st.rerun()
        with st.expander("Sets", icon=":material/bookmarks:"):
            _sets(model, list(rows), key)
    elif one is not None and of == list(rows):
        _card(model, one, list(rows), key)
    else:
        _parts(model, list(rows), key)


def _card(model: LoadedModel, row: int, rows: list[int], key: str) -> None:
    """Show a lesion of the group, or a similar one, instead of the group."""

    def back() -> None:
        st.session_state[f"{key}_one"] = (None, None)

    st.button("Back to the group", icon=":material/arrow_back:", key=f"{key}_back", on_click=back)
    picked = lesion_card.show(model, row, key=f"{key}_card")
    if picked != row:
        _open_card(picked, rows, key)


@st.fragment
def _parts(model: LoadedModel, rows: list[int], key: str) -> None:
    """Show one part at a time, so that a large group costs only what is on view."""
    part = url.segmented("group", "Of this group", PARTS, key=f"{key}_part", label_visibility="collapsed")
    if part == "gallery":
        _gallery(model, rows, key)
    elif part == "typical":
        _typical(model, rows, key)
    elif part == "mean":
        _mean(model, rows)
    else:
        _sets(model, rows, key)


def _gallery(model: LoadedModel, rows: list[int], key: str) -> None:
    orders = {name: title for name, title in group.ORDERS.items() if group.can_order(model, name)}
    pages = -(-len(rows) // A_PAGE)
    page = 1
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        order = st.selectbox(
            "Order",
            list(orders),
            format_func=orders.__getitem__,
            key=f"{key}_order",
            label_visibility="collapsed",
            width=190,
        )
        if pages > 1:
            if st.session_state.get(f"{key}_page", 1) > pages:
                st.session_state[f"{key}_page"] = 1
            page = st.pagination(pages, key=f"{key}_page", max_visible_pages=0)
            st.caption(f"{page} of {pages}", width="content")
    chosen = group.ordered(model, rows, order)
    shown = chosen[(page - 1) * A_PAGE : page * A_PAGE]
    picked = lesion_cards(
        model.entry.name,
        cards(model, shown),
        key=f"{key}_cards",
        picked=selection.focus(model),
        smallest=82,
        label="Lesions of the group",
    )
    real = model.real[shown]
    if real.all():
        st.caption("CT slices in the model's window.")
    elif not real.any():
        st.caption("Every image here is a reconstruction, generated by the model.")
    _open_card(picked, rows, key)


def _typical(model: LoadedModel, rows: list[int], key: str) -> None:
    differences = group.contrasts(model, rows)
    patients = model.table["patient_id"].iloc[rows].nunique()
    if len(rows) == len(model.codes):
        st.info(
            "The group contains all lesions, so there is nothing to compare it with.", icon=":material/info:"
        )
    elif not differences:
        st.info("This model's table has no ratings, sizes or scores to compare.", icon=":material/info:")
    else:
        differ = [group.FIGURES[each.name].title for each in differences if each.differs]
        charts.show(
            contrasts(differences),
            key=f"{key}_contrasts",
            alt="The group's ratings, size and scores against the rest. Different: "
            + (", ".join(differ) or "none"),
        )
        st.caption(
            "Means over nodules, each counted once, against all nodules outside the group. Bars: 95 % of "
            "draws of patients; a filled point's bar leaves out zero. "
            + (
                f"With {plural(patients, 'patient')} there are no intervals. "
                if patients < FEWEST_PATIENTS
                else ""
            )
            + f"{len(differences)} figures are compared at once, and the group was drawn on a map of the "
            "same codes that the score uses: this describes the group and is not a test."
        )
    rated = composition(model, rows)
    if len(rated):
        st.markdown("**Malignancy: the readers' rating**")
        ratings = "; ".join(f"{rating}: {share:.0%}" for rating, share in rated["selection"].items())
        charts.show(shares(rated), key=f"{key}_shares", alt=f"The group's ratings. {ratings}.")
        st.caption(
            "Shares of rated slices, compared with those of all slices. Suspicion on CT, not pathology."
        )
    st.markdown("**Nearest to the group's mean code**")
    picked = lesion_cards(
        model.entry.name,
        cards(model, group.most_typical(model, rows), readers=True),
        key=f"{key}_most_typical",
        picked=selection.focus(model),
        smallest=96,
        label="Most typical lesions of the group",
    )
    _open_card(picked, rows, key)


def _mean(model: LoadedModel, rows: list[int]) -> None:
    mean = group.mean_image(model, rows)
    of_pixels, of_codes = st.columns(2)
    kind = "CT slices" if mean.real else "reconstructions"
    sample = "" if mean.count == mean.of else f", an even sample of {mean.of:,}"
    caption = f"Mean of {mean.count:,} {kind}{sample}"
    with of_pixels:
        if mean.real:
            spacing = model.spacing_mm or None  # crops with different pixel sizes have no common scale
            figures.lesion(model, mean.image, caption, spacing_mm=spacing)
        else:
            figures.generated(model, mean.image, caption)
    with of_codes:
        figures.generated(
            model, model.decode(group.mean_code(model, rows)[None])[0], "Their mean code, decoded"
        )
    st.caption(
        "Neither is a patient's lesion. A mean blurs what differs between lesions: size, position of "
        "vessels, edges. Crops are centred on the lesion."
    )


def _open_card(picked: int | None, rows: list[int], key: str) -> None:
    """Show the card of a clicked lesion instead of the group."""
    if picked is not None:
        selection.set_focus(picked)
        st.session_state[f"{key}_one"] = (picked, rows)
        st.rerun()


def _sets(model: LoadedModel, rows: list[int], key: str) -> None:
    """Save the group under a name; open and delete saved sets."""
    settings = registry().settings
    try:
        if rows:
            _save(model, rows, key)
        saved = sets.sets(settings, model)
        if saved:
            st.markdown("**Sets of this data**")
        elif rows:
            st.caption(
                "No set has been saved yet. Sets are saved in the workspace, for every model of this data."
            )
        for each in saved:
            _set(model, each, key)
    except UserError as error:
        st.error(str(error))


def _save(model: LoadedModel, rows: list[int], key: str) -> None:
    """Draw the form that saves the group; if the name is taken, ask whether to replace that set."""
    with st.form(f"{key}_save", border=False):
        name = st.text_input(
            "Save this group as", max_chars=sets.LONGEST_NAME, key=f"{key}_name", placeholder="A name"
        )
        note = st.text_input("Note", max_chars=sets.LONGEST_NOTE, key=f"{key}_note", placeholder="Optional")
        save = st.form_submit_button("Save", icon=":material/bookmark_add:")
    clash = f"{key}_clash"
    replace = st.session_state.get(clash) == name and st.session_state.get(f"{key}_replace", False)
    if save or replace:
        st.session_state[clash] = None
        try:
            with access.allowed(access.DELETE) if replace else contextlib.nullcontext():
                kept = sets.save(registry().settings, model, name, rows, note=note, replace=replace)
            st.success(f"Saved “{url.plain(kept.name)}”: {kept.count:,} slices.", icon=":material/check:")
        except SetExistsError:
            st.session_state[clash] = name
        except UserError as error:
            st.error(str(error))
    if name and st.session_state.get(clash) == name:
        taken = url.plain(" ".join(name.split()))
        st.warning(f"There is a set “{taken}” already.", icon=":material/warning:")
        st.button("Replace it", key=f"{key}_replace")


def _set(model: LoadedModel, one: NamedSet, key: str) -> None:
    with st.container(border=True, gap="xsmall"):
        st.markdown(f"**{url.plain(one.name)}**, {plural(one.count, 'slice')}, {one.created[:10]}")
        if one.note:
            st.caption(url.plain(one.note))
        with st.container(horizontal=True, gap="xsmall"):
            if st.button("Open", icon=":material/folder_open:", key=f"{key}_open_{one.id}"):
                _open(model, one.id)
                st.rerun()
            with st.popover("Delete", icon=":material/delete:"):
                st.markdown(f"Delete “{url.plain(one.name)}”? The lesions stay; only their list is lost.")
                if st.button("Delete the set", type="primary", key=f"{key}_delete_{one.id}"):
                    try:
                        with access.allowed(access.DELETE):
                            sets.delete(registry().settings, one.id)
                    except UserError as error:
                        st.error(str(error))
                        return
                    st.rerun()
