"""Controls of the latent map: unit, method, dimensions, colour, filter, layers, custom map parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore import filters
from lungvae_core.explore.filters import UNKNOWN, Column
from lungvae_core.explore.maps import METRICS, PARAMETERS, TITLES, UNITS
from lungvae_core.parameters import ParameterError, choice, integer, items, number, shown
from lungvae_core.serving.maps import custom_maps, points
from lungvae_core.serving.maps.custom_maps import ABSENT, FAILED, MAKING, READY
from lungvae_core.serving.models.answers import kept
from lungvae_core.serving.models.registry import LoadedModel
from pages.shared import access, url

DIMS = {"2": "2D", "3": "3D"}
MOST_PARAMETERS = 8  # of a custom map
MOST_TEXTS = 2000  # distinct values offered for a text column
_COLUMNS, _SEARCH, _LAST = "map_columns", "map_search", "last_map_where"
_MADE = "map_made"  # method -> parameters of a custom map, as written in the address


@dataclass(frozen=True)
class View:
    """What a map shows."""

    unit: str
    method: str
    dims: int
    by: str
    map_key: str  # of a map made with custom parameters, or empty
    where: str  # a filter as JSON, or empty
    contours: bool
    clusters: str  # the method whose clusters are outlined, or empty


def show(model: LoadedModel) -> View:
    """Draw all controls in one line; their values are in the address."""
    choices = points.colour_choices(model)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall"):
        unit = url.segmented(
            "unit",
            "A point is a",
            UNITS,
            key="map_unit",
            help="A nodule lies at the mean of its slices' codes and is shown by its largest slice.",
        )
        method = url.segmented(
            "method",
            "Map",
            TITLES,
            key="map_method",
            help="UMAP and t-SNE keep neighbours together; PCA shows the directions of largest variance.",
        )
        dims = int(url.segmented("dims", "In", DIMS, key="map_dims"))
        by = url.selectbox("colour", "Colour", choices, key="map_colour", width=200)
        where = _filter(model, unit)
        contours, clusters = _layers(model, dims)
        map_key = _own_map(model, unit, method, dims)
    return View(unit, method, dims, by, map_key, where, contours, clusters)


# ---- filter and search ---------------------------------------------------------------------------


@kept
def _columns(model: LoadedModel, unit: str) -> dict[str, Column]:
    return {column.name: column for column in filters.columns(points.unit_table(model, unit))}


def _filter(model: LoadedModel, unit: str) -> str:
    """Draw the popover of search and conditions; return the filter as JSON, empty if none is set."""
    columns = _columns(model, unit)
    _take_over(columns)
    st.session_state[_COLUMNS] = [name for name in st.session_state.get(_COLUMNS, []) if name in columns]
    conditions = _conditions(columns)
    count = f" ({len(conditions)})" if conditions else ""
    with st.popover(
        f"Filter{count}",
        icon=":material/filter_alt:",
        width="content",
        help="Search for a patient or a lesion, and filter by columns.",
    ):
        st.text_input(
            "Search",
            key=_SEARCH,
            placeholder="LIDC-IDRI-0001, or with a nodule: LIDC-IDRI-0001 2",
            help="A part of the patient's id; add the numbers of nodule and slice for a single one.",
        )
        st.multiselect(
            "Conditions on",
            list(columns),
            format_func=lambda name: columns[name].title,
            key=_COLUMNS,
            placeholder="Any columns of the table",
        )
        for name in st.session_state[_COLUMNS]:
            _condition(model, unit, columns[name])
        if conditions:
            st.button("Show all", icon=":material/filter_alt_off:", on_click=_clear, key="map_where_clear")
    where = json.dumps(conditions, ensure_ascii=False, separators=(",", ":")) if conditions else ""
    st.session_state[_LAST] = where
    url.write("where", where or None)
    return where


def _condition(model: LoadedModel, unit: str, column: Column) -> None:
    """Draw the widgets for the condition on one column."""
    name = column.name
    if column.kind == "number":
        low, high = st.columns(2)
        for place, end, limit in ((low, "from", column.low), (high, "to", column.high)):
            label, key = f"{column.title}, {end}", f"map_where_{name}_{end}"
            place.number_input(label, value=None, key=key, placeholder=f"{limit:.4g}")
        return
    options, key = _options(model, unit, column), f"map_where_{name}"
    st.session_state[key] = [value for value in st.session_state.get(key, []) if value in options]
    st.multiselect(column.title, options, key=key, placeholder="Any")


@kept
def _options(model: LoadedModel, unit: str, column: Column) -> list[str]:
    values = points.unit_table(model, unit)[column.name]
    options = list(column.options)
    if column.kind == "text":
        options = sorted(str(value) for value in values.dropna().unique())[:MOST_TEXTS]
    return [*options, UNKNOWN] if values.isna().any() else options


def _conditions(columns: dict[str, Column]) -> list[dict[str, Any]]:
    """Read the filter from the widgets."""
    state = st.session_state
    conditions: list[dict[str, Any]] = []
    if search := str(state.get(_SEARCH) or "").strip():
        conditions.append({"search": search})
    for name in state.get(_COLUMNS, []):
        if columns[name].kind == "number":
            ends = {end: state.get(f"map_where_{name}_{end}") for end in ("from", "to")}
            ends = {end: value for end, value in ends.items() if value is not None}
            if ends:
                conditions.append({"column": name, **ends})
        elif state.get(f"map_where_{name}"):
            conditions.append({"column": name, "in": list(state[f"map_where_{name}"])})
    return conditions


def _take_over(columns: dict[str, Column]) -> None:
    """Give the widgets initial values: from the address, else those set when the user left the page."""
    if _COLUMNS in st.session_state:
        return
    text = url.sent("where") or st.session_state.get(_LAST, "")
    try:
        conditions = filters.parse(text)
    except UserError as error:
        url.say(error)
        conditions = []
    names = []
    for condition in conditions:
        if "search" in condition:
            st.session_state[_SEARCH] = condition["search"]
            continue
        name = condition["column"]
        if name not in columns or ("in" in condition) == (columns[name].kind == "number"):
            url.say(UserError(f"There is no {shown(name)} to filter by so; it was left out."))
            continue
        names.append(name)
        if "in" in condition:
            st.session_state[f"map_where_{name}"] = [str(value) for value in condition["in"]]
        for end in {"from", "to"} & set(condition):
            st.session_state[f"map_where_{name}_{end}"] = float(condition[end])
    st.session_state[_COLUMNS] = names


def _clear() -> None:
    for name in [str(name) for name in st.session_state if str(name).startswith("map_where_")]:
        if name != "map_where_clear":
            del st.session_state[name]
    st.session_state[_COLUMNS], st.session_state[_SEARCH] = [], ""


# ---- layers --------------------------------------------------------------------------------------


@kept
def _cluster_methods(model: LoadedModel) -> dict[str, str]:
    try:
        methods = points.clusters(model).report["methods"]
    except UserError:
        return {}
    return {name: str(one["title"]) for name, one in methods.items()}


def _layers(model: LoadedModel, dims: int) -> tuple[bool, str]:
    """Return (whether density is drawn, the method whose clusters are outlined)."""
    methods = {"none": "none", **_cluster_methods(model)}
    url.start("density", ("0", "1"), key="map_density_state")
    if "map_density" not in st.session_state:
        st.session_state["map_density"] = st.session_state["map_density_state"] == "1"
    url.start("clusters", methods, key="map_clusters")
    with st.popover("Layers", icon=":material/layers:", width="content"):
        density = st.toggle(
            "Density",
            key="map_density",
            disabled=dims == 3,
            help="Lines around the smallest regions that hold 25, 50, 75 and 95 % of all points.",
        )
        if len(methods) > 1:
            st.segmented_control(
                "Outlines of clusters",
                list(methods),
                required=True,
                format_func=methods.__getitem__,
                key="map_clusters",
                disabled=dims == 3,
                help="Clusters are computed in the latent space, not on the map, so one cluster may be "
                "several regions here.",
            )
        else:
            st.caption(f"No clusters yet. Make them with `lungvae clusters {model.entry.folder.name}`.")
        if dims == 3:
            st.caption("Drawn on maps of two dimensions.")
    st.session_state["map_density_state"] = "1" if density else "0"
    url.keep("density", key="map_density_state", unless="0")
    clusters = url.keep("clusters", key="map_clusters", unless="none")
    flat = dims == 2
    return density and flat, clusters if flat and clusters != "none" else ""


# ---- custom map ----------------------------------------------------------------------------------


def _own_map(model: LoadedModel, unit: str, method: str, dims: int) -> str:
    """Draw the popover of a method's parameters; return the map's key, empty for the stored one."""
    if _MADE not in st.session_state:
        st.session_state[_MADE] = {method: url.sent("made")}
    made: dict[str, str] = st.session_state[_MADE]
    try:
        parameters = _parse(method, made.get(method, ""))
    except ParameterError as error:
        url.say(error)
        parameters, made[method] = {}, ""
    with st.popover("Method", icon=":material/tune:", width="content"):
        submitted = None
        if PARAMETERS[method]:
            submitted = _form(method, parameters)
        else:
            st.caption("PCA has no parameters.")
        if made.get(method) and st.button("Back to the stored map", icon=":material/undo:", key="map_stored"):
            made[method] = ""
            st.rerun()
    key = ""
    try:
        if submitted is not None:
            with access.acting():
                custom_maps.request(model, unit, method, dims, submitted)
            made[method] = ",".join(f"{name}:{value}" for name, value in submitted.items())
            st.rerun()
        if made.get(method):
            key = custom_maps.key_of(model, unit, method, dims, parameters)
    except UserError as error:
        st.toast(str(error), icon=":material/warning:")
        if submitted is None:
            made[method] = ""
    url.write("made", made.get(method, "") or None)
    if not key:
        return ""
    state = custom_maps.status(model, key).state
    if state != READY:
        st.session_state["map_waiting"] = (key, unit, method, dims, parameters)
        return ""
    return key


def _form(method: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Draw the widgets of a method's parameters; return their values when the user submits the form."""
    values: dict[str, Any] = {}
    with st.form(f"map_form_{method}", border=False):
        for name, (low, high, default, title) in PARAMETERS[method].items():
            kind = int if isinstance(default, int) else float
            field = st.number_input if name == "seed" else st.slider
            value = parameters.get(name, default)
            values[name] = field(title, kind(low), kind(high), kind(value), key=f"map_{method}_{name}")
        if method == "umap":
            metric = parameters.get("metric", METRICS[0])
            values["metric"] = st.radio(
                "Distance",
                METRICS,
                index=METRICS.index(metric) if metric in METRICS else 0,
                horizontal=True,
                key="map_umap_metric",
            )
        st.caption("Takes a minute or two on one core. Other parameters give another view of the same codes.")
        return values if st.form_submit_button("Make this map", icon=":material/play_arrow:") else None


def _parse(method: str, text: str) -> dict[str, Any]:
    """Parse a method's parameters from the address: "neighbours:30,metric:cosine"."""
    parameters: dict[str, Any] = {}
    for part in items("made", text, MOST_PARAMETERS, longest=200):
        name, _, value = part.partition(":")
        if name == "metric" and method == "umap":
            parameters[name] = choice(name, value, METRICS)
            continue
        low, high, default, _ = PARAMETERS[method][choice("made", name, PARAMETERS[method])]
        if isinstance(default, int):
            parameters[name] = integer(name, value, int(low), int(high))
        else:
            parameters[name] = number(name, value, low, high)
    return parameters


def waiting(model: LoadedModel) -> None:
    """Show the progress of a custom map that was requested and is not ready yet."""
    request = st.session_state.pop("map_waiting", None)
    if request is not None:
        _progress(model, *request)


@st.fragment(run_every=1.0)
def _progress(
    model: LoadedModel, key: str, unit: str, method: str, dims: int, parameters: dict[str, Any]
) -> None:
    status = custom_maps.status(model, key)
    if status.state == READY:
        st.rerun()
    title = f"{TITLES[method]} of {unit}s in {dims} dimensions, with your own parameters"
    with st.container(horizontal=True, vertical_alignment="center", key="map_making"):
        if status.state == MAKING:
            progress = f"{title}: {status.progress}. The stored map is shown until then."
            st.caption(f":material/progress_activity: {progress}")
            if st.button("Stop", icon=":material/stop:", key="map_stop"):
                with access.acting():
                    custom_maps.stop(model, key)
                st.session_state[_MADE][method] = ""
                st.rerun()
            return
        if status.state == FAILED:
            st.caption(f":material/error: {title}: {status.error}")
        elif status.state == ABSENT:
            st.caption(f"{title}: not made yet. The stored map is shown.")
        if st.button("Make it", icon=":material/play_arrow:", key="map_make"):
            try:
                with access.acting():
                    custom_maps.request(model, unit, method, dims, parameters)
            except UserError as error:
                st.toast(str(error), icon=":material/warning:")
            st.rerun(scope="fragment")
