"""More paths through the latent space: A to B, two dimensions, all dimensions, flips, directions."""

from __future__ import annotations

import hashlib

import plotly.graph_objects as go
import streamlit as st

from lungvae_core.caches import BoundedCache
from lungvae_core.errors import UserError
from lungvae_core.explore.counterfactual import Counterfactual, changes
from lungvae_core.explore.ways import NEIGHBOURS, along_simplex, ways_of
from lungvae_core.palette import ORANGE, SKY
from lungvae_core.serving.lesions.selection import card
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import paths
from lungvae_core.serving.walks.live import start_code
from lungvae_core.serving.walks.render import Sheet, sheet_png
from pages.components.lesion_cards import lesion_cards
from pages.shared import charts, film, url
from pages.traversal import starts

GRID, SHEET_STEPS, FEW = 9, 7, 16
DIRECTIONS = {
    "malignancy": "Malignancy",
    "diameter": "Size",
    "malignancy_without_size": "Malignancy, size projected out",
    "malignancy_beyond_size": "Malignancy beyond size",
}

_pngs: BoundedCache[bytes] = BoundedCache(32 * 2**20)


def show(model: LoadedModel, start: starts.Start) -> None:
    """Show the picker of a path and the path itself; the choice is in the address."""
    titles = {name: title for name, (title, _) in SECTIONS.items()}
    section = url.segmented("way", "More ways from this start", titles, key="way")
    try:
        SECTIONS[section][1](model, start)
    except UserError as error:
        st.warning(str(error), icon=":material/warning:")


def between(model: LoadedModel, start: starts.Start) -> None:
    """Show a film from the start to another code."""
    end = starts.pick(model, key="b", label="To B")
    url.replace(("b", "b_row"), starts.remembered(end, "b"))
    descriptions = ways_of(model.entry.prior)
    titles = {name: description.partition(":")[0] for name, description in descriptions.items()}
    kind = url.segmented("by", "Way", titles, key="way-by", help="  \n".join(descriptions.values()))
    a, b = start_code(model, start.name), start_code(model, end.name)
    way = paths.between(model, kind, a, b, rows=(start.row, end.row))
    film.show(
        model,
        way.codes,
        patient=start.patient,
        key="between",
        title=f"{titles[kind].lower()} to {end.label}",
        ends=(start.label, end.label),
    )
    own = model.score(b[None], patient=end.patient)
    if own is not None and end.patient != start.patient:
        st.caption(f"B's own score is {own[0]:.2f}. {scoring.of_walk(model, end.patient)}")
    if kind == NEIGHBOURS and way.rows:
        lesions = "The lesion" if len(way.rows) == 1 else f"The {len(way.rows)} lesions"
        st.markdown(f"**{lesions} that it leads along**" + (", in order" if len(way.rows) > 1 else ""))
        lesion_cards(
            model.entry.name,
            [card(model, row) for row in way.rows],
            key="between-lesions",
            smallest=92,
            action="Choose this lesion",
        )


def grid(model: LoadedModel, start: starts.Start) -> None:
    """Show two dimensions at once, as one picture."""
    order = model.order.tolist()
    names = {str(at): paths.named(model, at) for at in order}
    left, right = st.columns(2)
    with left:
        first = int(url.selectbox("across", "Across", names, key="grid-across"))
    url.start("up", [str(order[1]), *names] if len(order) > 1 else names, key="grid-up")
    with right:
        second = int(url.selectbox("up", "Up", names, key="grid-up"))
    with st.spinner("Decoding…"):
        sheet = paths.grid(
            model, start_code(model, start.name), first, second, GRID, start.label, start.patient
        )
    _picture(sheet, f"{model.entry.name}_z{first}_z{second}", "A grid of generated images: two dimensions")
    st.caption("The blue frame is the tile nearest to the start. The rest of the code stays the same.")


def contact_sheet(model: LoadedModel, start: starts.Start) -> None:
    """Show all dimensions as a contact sheet, those that carry little on request."""
    order = model.order.tolist()
    if len(order) > FEW and not st.toggle(
        f"All {len(order)} dimensions", help=f"Else the {FEW} that carry most."
    ):
        order = order[:FEW]
    with st.spinner("Decoding…"):
        sheet = paths.contact_sheet(
            model, start_code(model, start.name), order, SHEET_STEPS, start.label, start.patient
        )
    _picture(
        sheet, f"{model.entry.name}_dimensions", "A contact sheet of generated images, one row per dimension"
    )


def flip(model: LoadedModel, start: starts.Start) -> None:
    """Show the smallest change of the start's code that moves the score to the other side."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = st.slider("Past a model score of", 0.05, 0.95, 0.5, 0.05, width=260, key="flip-target")
        few = st.toggle("As few dimensions as possible", key="flip-few")
    code = start_code(model, start.name)
    with st.spinner("Searching…"):
        change = paths.flip(model, code, patient=start.patient, target=target, dimensions=0 if few else None)
    if change.already:
        st.info(f"The score is {change.score_before:.2f} and lies on that side already.")
        return
    st.markdown(change.in_words(changes(model.hu(model.decode(change.path[[0, -1]])))))
    if change.warning:
        st.warning(change.warning, icon=":material/warning:")
    film.show(
        model,
        along_simplex(paths.space(model), change.before, change.after, paths.STEPS),
        patient=start.patient,
        key="flip",
        title="the smallest change",
        ends=(start.label, "score flipped"),
    )
    charts.show(_changed(model, change), alt="Which dimensions changed, and by how much")


def direction(model: LoadedModel, start: starts.Start) -> None:
    """Show a film along malignancy or size."""
    learned = paths.directions(model)
    if learned is None:
        st.info(
            f"This model has no directions yet. Make them with `lungvae directions {model.entry.folder}`.",
            icon=":material/info:",
        )
        return
    titles = {name: title for name, title in DIRECTIONS.items() if name in learned.directions}
    name = url.segmented("along", "Along", titles, key="way-along")
    codes = paths.along_direction(model, name, start_code(model, start.name))
    film.show(
        model,
        codes,
        patient=start.patient,
        key="direction",
        title=f"{titles[name].lower()} through {start.label}",
        ends=("least", "most"),
    )
    st.page_link("knowledge/directions.py", label="How well each direction predicts, and how certain it is")


def _changed(model: LoadedModel, change: Counterfactual) -> go.Figure:
    """Draw which dimensions changed, in the lesions' standard deviations."""
    largest = paths.largest_changes(model, change.before, change.after)[::-1]  # plotly draws from below
    figure = go.Figure(
        go.Bar(
            x=[deviations for _, deviations in largest],
            y=[paths.named(model, dimension) for dimension, _ in largest],
            orientation="h",
            marker_color=[SKY if deviations < 0 else ORANGE for _, deviations in largest],
        )
    )
    figure.update_layout(
        height=60 + 24 * len(largest),
        margin={"l": 0, "r": 0, "t": 28, "b": 0},
        title={"text": "The largest changes, in standard deviations of the lesions", "font_size": 14},
    )
    return figure


def _picture(sheet: Sheet, name: str, alt: str) -> None:
    key = sheet.heading + hashlib.sha256(sheet.images.data).hexdigest()
    content = _pngs.get(key, lambda: sheet_png(sheet))
    st.image(content, caption=alt, width="stretch")
    st.download_button(
        "PNG", content, f"{name}.png", "image/png", on_click="ignore", icon=":material/download:"
    )


SECTIONS = {
    "between": ("From A to B", between),
    "grid": ("Two dimensions", grid),
    "sheet": ("All dimensions", contact_sheet),
    "flip": ("Smallest change that flips the score", flip),
    "direction": ("Malignancy and size", direction),
}
