"""More paths through the latent space: A to B, two dimensions, all dimensions, flips, directions."""

from __future__ import annotations

import hashlib

import plotly.graph_objects as go
import streamlit as st

from lungvae_core.caches import BoundedCache
from lungvae_core.errors import UserError
from lungvae_core.explore.counterfactual import Counterfactual, changes, in_words
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

SECTIONS = {
    "between": "From A to B",
    "grid": "Two dimensions",
    "sheet": "All dimensions",
    "flip": "Smallest change that flips the score",
    "direction": "Malignancy and size",
}
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
    section = url.segmented("way", "More ways from this start", SECTIONS, key="way")
    try:
        {
            "between": between,
            "grid": grid,
            "sheet": sheet,
            "flip": flip,
            "direction": direction,
        }[section](model, start)
    except UserError as error:
        st.warning(str(error), icon=":material/warning:")


def between(model: LoadedModel, start: starts.Start) -> None:
    """Show a film from the start to another code."""
    end = starts.pick(model, key="b", label="To B")
    url.replace(("b", "b_row"), starts.remembered(end, "b"))
    known = ways_of(model.entry.prior)
    kind = url.segmented(
        "by",
        "Way",
        {name: words.partition(":")[0] for name, words in known.items()},
        key="way-by",
        help="  \n".join(known.values()),
    )
    a, b = start_code(model, start.name), start_code(model, end.name)
    way = paths.between(model, kind, a, b, rows=(start.row, end.row))
    title = f"{known[kind].partition(':')[0].lower()} to {end.label}"
    ends = (start.label, end.label)
    film.show(model, way.codes, patient=start.patient, key="between", title=title, ends=ends)
    own = model.score(b[None], patient=end.patient)
    if own is not None and end.patient != start.patient:
        st.caption(f"B's own score is {own[0]:.2f}. {scoring.of_walk(model, end.patient)}")
    if kind == NEIGHBOURS and way.rows:
        lesions = "The lesion" if len(way.rows) == 1 else f"The {len(way.rows)} lesions"
        st.markdown(f"**{lesions} that it leads along**" + (", in order" if len(way.rows) > 1 else ""))
        lesion_cards(
            model.entry.name, [card(model, row) for row in way.rows], key="between-lesions", smallest=92
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
        made = paths.grid(
            model, start_code(model, start.name), first, second, GRID, start.label, start.patient
        )
    _picture(made, f"{model.entry.name}_z{first}_z{second}", "A grid of generated images: two dimensions")
    st.caption("The blue frame is the tile nearest to the start. The rest of the code stays the same.")


def sheet(model: LoadedModel, start: starts.Start) -> None:
    """Show all dimensions as a contact sheet, those that carry little on request."""
    order = model.order.tolist()
    more = False
    if len(order) > FEW:
        more = st.toggle(f"All {len(order)} dimensions", help=f"Else the {FEW} that carry most.")
    chosen = order if more else order[:FEW]
    with st.spinner("Decoding…"):
        made = paths.contact_sheet(
            model, start_code(model, start.name), chosen, SHEET_STEPS, start.label, start.patient
        )
    _picture(
        made, f"{model.entry.name}_dimensions", "A contact sheet of generated images, one row per dimension"
    )


def flip(model: LoadedModel, start: starts.Start) -> None:
    """Show the smallest change of the start's code that moves the score to the other side."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        target = st.slider("Past a model score of", 0.05, 0.95, 0.5, 0.05, width=260, key="flip-target")
        few = st.toggle("As few dimensions as possible", key="flip-few")
    code = start_code(model, start.name)
    with st.spinner("Searching…"):
        found = paths.flip(model, code, patient=start.patient, target=target, dimensions=0 if few else None)
    if found.already:
        st.info(f"The score is {found.score_before:.2f} and lies on that side already.")
        return
    low, high = model.window
    told = in_words(changes(low + (high - low) * model.decode(found.path[[0, -1]])))
    verb = "raises" if found.upwards else "lowers"
    st.markdown(
        f"**What {verb} the score from {found.score_before:.2f} past {target:g}:** the generated lesion "
        f"{', '.join(told) if told else 'changes by nothing that is measured'}."
    )
    if found.warning:
        st.warning(found.warning, icon=":material/warning:")
    film.show(
        model,
        along_simplex(paths.space(model), found.before, found.after, paths.STEPS),
        patient=start.patient,
        key="flip",
        title="the smallest change",
        ends=(start.label, "score flipped"),
    )
    charts.show(_changed(model, found), alt="Which dimensions changed, and by how much")


def direction(model: LoadedModel, start: starts.Start) -> None:
    """Show a film along malignancy or size."""
    known = paths.directions(model)
    if known is None:
        st.info(
            f"This model has no directions yet. Make them with `lungvae directions {model.entry.folder}`.",
            icon=":material/info:",
        )
        return
    offered = {name: words for name, words in DIRECTIONS.items() if name in known.directions}
    name = url.segmented("along", "Along", offered, key="way-along")
    codes = paths.along_direction(model, name, start_code(model, start.name))
    film.show(
        model,
        codes,
        patient=start.patient,
        key="direction",
        title=f"{offered[name].lower()} through {start.label}",
        ends=("least", "most"),
    )
    st.page_link("knowledge/directions.py", label="How well each direction predicts, and how certain it is")


def _changed(model: LoadedModel, found: Counterfactual) -> go.Figure:
    """Draw which dimensions changed, in the lesions' standard deviations."""
    largest = paths.largest_changes(model, found.before, found.after)[::-1]  # plotly draws from below
    figure = go.Figure(
        go.Bar(
            x=[change for _, change in largest],
            y=[paths.named(model, dimension) for dimension, _ in largest],
            orientation="h",
            marker_color=[SKY if change < 0 else ORANGE for _, change in largest],
        )
    )
    figure.update_layout(
        height=60 + 24 * len(largest),
        margin={"l": 0, "r": 0, "t": 28, "b": 0},
        title={"text": "The largest changes, in standard deviations of the lesions", "font_size": 14},
    )
    return figure


def _picture(made: Sheet, name: str, alt: str) -> None:
    content = _pngs.get(made.heading + hashlib.sha256(made.images.data).hexdigest(), lambda: sheet_png(made))
    st.image(content, caption=alt, width="stretch")
    st.download_button(
        "PNG", content, f"{name}.png", "image/png", on_click="ignore", icon=":material/download:"
    )
