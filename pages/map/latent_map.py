"""Latent map: a point for every slice or nodule, its image on hover, and a selection that other pages use."""

from __future__ import annotations

import numpy as np
import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore.neighbours import VOTERS
from lungvae_core.number_text import interval, plural
from lungvae_core.serving.maps import points
from lungvae_core.serving.models import scoring
from lungvae_core.serving.walks import paths
from lungvae_core.training.lesion_space import metric
from pages.components.latent_map import latent_map
from pages.map import controls, group
from pages.shared import common, film, selection

HEIGHT = 450
MAP_KEY = "latent_map"

common.compact()
model = common.current_model()
low, high = model.window
images = (
    f"Images are CT slices in the model's window (W {high - low:.0f} / L {(low + high) / 2:.0f} HU)."
    if model.real.any()
    else "**The slices themselves are not on this machine: every image here is a reconstruction, generated "
    "by the model.**"
)
common.introduce("Latent map", images=images, scoring=scoring.of_set(model))

view = controls.show(model)
controls.waiting(model)
try:
    if not view.map_key:
        model.map(view.unit, view.method, view.dims)
except UserError as error:
    common.stop(f"{error} Or choose 2D or another map.")

# Apply what the map reported since the last run before drawing anything.
selection.from_map(model, MAP_KEY)
group.from_address(model)
selection.from_address(model)

map_column, list_column = st.columns([1.5, 1], gap="small")
with map_column:
    state = latent_map(
        model.entry.name,
        unit=view.unit,
        method=view.method,
        by=view.by,
        dims=view.dims,
        map_key=view.map_key,
        where=view.where,
        contours=view.contours,
        clusters=view.clusters,
        paths=view.dims == 2,
        key=MAP_KEY,
        selection=selection.for_map(model),
        height=HEIGHT,
    )
    st.caption(
        "Drag to draw around points, hold Shift to add; turn the wheel to zoom, until points become images. "
        "Distances and axes have no clinical meaning."
    )
    apart = points.separation(model, view.unit, view.method, view.dims, view.map_key)
    if apart is not None:
        st.caption(
            f"How far malignant and benign lie apart: the {VOTERS} nearest nodules of other patients vote "
            f"with an AUC of {interval(apart.on_map)} on this map and {interval(apart.by_code)} by "
            f"{metric(model.run.config)}; 0.5 is chance. Over {plural(apart.nodules, 'nodule')}"
            + (" of patients that the model was not trained on." if apart.held_out else ".")
        )

selected = selection.rows(model)
with list_column, st.container(height=HEIGHT + 40, border=True):
    if not selected:
        st.markdown("**Selection**")
        st.caption(
            "Nothing selected yet. Click a point for its card, or draw around a group: what is typical of "
            "it appears here, and you can save, download or open it on other pages."
        )
    group.show(model, selected, key="map-group")

drawn = state["path"]
if drawn and drawn.get("points"):
    st.subheader("Along the line that you drew")
    try:
        xy = points.places(model, view.unit, view.method, 2, view.map_key)
        codes = model.codes if view.unit == "slice" else model.nodules[1]
        way, places = paths.drawn(model, xy, codes, np.array(drawn["points"], float))
        film.show(model, way.codes, patient=None, key="drawn", title="a line drawn on the map", places=places)
        st.caption("Each point has the weighted mean code of the lesions nearest to it on the map.")
    except UserError as error:
        st.warning(str(error), icon=":material/warning:")

selection.to_address(model)
