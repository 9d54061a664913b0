"""The data of a map, over HTTP: positions, colours, facts about each point, filters, density, clusters.

Below /api/models/{name}; `unit` is slice or nodule, `map` the key of a map with custom parameters
(`custom_maps`), or empty:

points?unit=&method=&dims=&map=     float32 little-endian (N, dims), about -1..1
colours?unit=&by=                   uint32 little-endian L, L bytes of JSON (title, palette, labels, counts,
                                    unknown, low, high, note), then int16 (N,): index into palette, -1 unknown
lesions?unit=                       JSON, column by column
filter?unit=&where=                 uint8 (N,), 1 is shown; `where` is `explore.filters`' JSON
contours?unit=&method=&map=         JSON, the smallest regions that hold shares of the points
outlines?unit=&method=&map=&clusters=   JSON, where clusters lie and what they contain

Positions are sent to the browser once, in binary; changing the colour sends only colours.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lungvae_core.data.columns import RATINGS
from lungvae_core.data.slices import malignant
from lungvae_core.errors import UserError
from lungvae_core.explore import colours, contours, filters, maps
from lungvae_core.explore.clusters.report import Clusters, load_clusters
from lungvae_core.explore.colours import Colouring
from lungvae_core.explore.neighbours import VOTERS, votes
from lungvae_core.parameters import Query, choice
from lungvae_core.serving.lesions.lesion import nodule_of
from lungvae_core.serving.maps import custom_maps
from lungvae_core.serving.models.answers import BASE, answering, kept, respond
from lungvae_core.serving.models.registry import LoadedModel, Registry
from lungvae_core.statistics.roc import auc_interval
from lungvae_core.training.encode import trained_rows

_DIMENSION, _CLUSTER, _COLUMN = "dim-", "cluster-", "column-"
_JSON = "application/json"


@kept
def unit_table(model: LoadedModel, unit: str) -> pd.DataFrame:
    """One row per point of the map of `unit`: the slices, or the nodules by their representative slice.

    It has the table's columns, those derived from them (`filters.with_derived`) and `row`, the row of the
    slice to show. A nodule's score and reconstruction quality are its slices' means.
    """
    table = model.table
    if unit == "slice":
        return filters.with_derived(table.assign(row=np.arange(len(table))))
    if unit != "nodule":
        raise UserError(f"There is no map of {unit[:20]!r}. Choose slice or nodule.")
    of_row, nodules = nodule_of(model), model.nodules[0]
    chosen = table.iloc[nodules["row"].to_numpy()].reset_index(drop=True)
    chosen = chosen.assign(row=nodules["row"].to_numpy(), slices=nodules["slices"].to_numpy())
    means = {name: table[name].groupby(of_row).mean() for name in ("score", "ssim", "mse") if name in table}
    return filters.with_derived(chosen.assign(**{name: mean.to_numpy() for name, mean in means.items()}))


@kept
def lesions(model: LoadedModel, unit: str) -> dict[str, Any]:
    """The facts about each point of a map, column by column, ready for JSON; unknown values are None."""
    points = unit_table(model, unit)
    patients, names = pd.factorize(points["patient_id"].astype(str))
    columns: dict[str, Any] = {
        "row": points["row"].tolist(),
        "patient": patients.tolist(),
        "patients": list(names),
        "nodule": points["nodule"].tolist(),
        "slice": points["slice"].tolist(),
        "real": model.real[points["row"].to_numpy()].astype(int).tolist(),
    }
    for column, name, digits in _SHOWN:
        if column in points:
            columns[name] = _plain(points[column], digits)
    if unit == "nodule":
        columns["slices"] = points["slices"].tolist()
        columns["point_of_row"] = nodule_of(model).tolist()
    return columns


@kept
def _lesions_text(model: LoadedModel, unit: str) -> bytes:
    return _text(lesions(model, unit))


_SHOWN = [
    ("malignancy", "malignancy", 2),
    ("diameter_mm", "diameter", 1),
    ("score", "score", 3),
    ("n_readers", "readers", 0),
]


@kept
def colour_choices(model: LoadedModel) -> dict[str, str]:
    """The colourings of a model's map: name -> title, in the order of a menu."""
    titles = dict(colours.available(model.table))
    built_in = {"malignancy", "score", "diameter_mm", "patient_id", "split", "ssim"}
    built_in |= set(RATINGS)
    try:
        methods = clusters(model).report["methods"]
        titles |= {f"{_CLUSTER}{name}": f"Cluster: {one['title']}" for name, one in methods.items()}
    except UserError:  # the model has none
        pass
    for column in filters.columns(unit_table(model, "slice")):
        if column.name not in built_in and column.name != "size_band" and column.kind != "text":
            titles[f"{_COLUMN}{column.name}"] = column.title
    for at in model.order.tolist():
        titles[f"{_DIMENSION}{at}"] = f"Latent dimension z {at}"
    return titles


@kept
def clusters(model: LoadedModel) -> Clusters:
    """The model's clusters.json; UserError if it has none."""
    return load_clusters(model.entry.folder, model.codes, len(model.nodules[0]))


@kept
def colouring(model: LoadedModel, unit: str, by: str) -> Colouring:
    """The colours of a map's points by one of `colour_choices`; UserError for another."""
    table = unit_table(model, unit)
    if by.startswith(_DIMENSION):
        dimensions = {f"{_DIMENSION}{at}": at for at in range(model.entry.dimensions)}
        at = dimensions[choice("by", by, dimensions)]
        codes = model.codes if unit == "slice" else model.nodules[1]
        return colours.scale(f"Latent dimension z {at}", codes[:, at].astype(float))
    if by.startswith(_CLUSTER):
        method = by.removeprefix(_CLUSTER)
        members = _members(model, unit, method)
        described = clusters(model).report["methods"][method]
        count = int(members.max()) + 1
        return colours.groups(
            f"Cluster: {described['title']}",
            members,
            [f"cluster {number + 1}" for number in range(count)],
            "Made in the latent space, not on the map. Grey: in none.",
        )
    if by.startswith(_COLUMN):
        name = by.removeprefix(_COLUMN)
        columns = {column.name for column in filters.columns(table)}
        if name not in columns:
            raise UserError(f"There is no column {name[:40]!r} to colour by.")
        return colours.column(table[name], filters.title(name))
    return colours.colour(table, by)


def places(model: LoadedModel, unit: str, method: str, dims: int, key: str) -> np.ndarray:
    """(N, dims) float32: a stored map, or one made with other parameters; UserError if there is none.

    A custom map is identified by its `key` alone; method and dims are ignored.
    """
    return _custom_places(model, unit, key) if key else _stored_places(model, unit, method, dims)


@dataclass(frozen=True)
class Separation:
    """How far malignant and benign nodules lie apart: the AUC of a vote of nearest other patients."""

    on_map: dict[str, float]  # value, low, high, with the neighbours on the map
    by_code: dict[str, float]  # with the neighbours by what the model compares lesions by
    nodules: int
    held_out: bool  # of patients that the model was not trained on alone, since labels shaped the codes


@kept
def separation(model: LoadedModel, unit: str, method: str, dims: int, key: str) -> Separation | None:
    """The separation of a map; None if either class has fewer nodules than a vote has neighbours.

    On a map of slices, each nodule is at the position of its representative slice.
    """
    by_code = _vote_by_code(model)
    if by_code is None:
        return None
    xy = places(model, unit, method, dims, key)
    on_map = _vote(model, xy[model.nodules[0]["row"].to_numpy()] if unit == "slice" else xy)
    assert on_map is not None
    figure, nodules = on_map
    return Separation(figure, by_code[0], nodules=nodules, held_out=model.run.config.labels_shape_codes)


@kept
def _vote_by_code(model: LoadedModel) -> tuple[dict[str, float], int] | None:
    """`_vote` by what the model compares lesions by: the same for every map."""
    return _vote(model, model.lesion_space.points(model.nodules[1]))


def _vote(model: LoadedModel, points: np.ndarray) -> tuple[dict[str, float], int] | None:
    """(AUC with its interval, nodules counted) of the vote of the nearest of the nodules' points (M, D)."""
    table = model.table.iloc[model.nodules[0]["row"].to_numpy()]
    labels = malignant(table)
    judged = ~np.isnan(labels)
    voting, patients = labels[judged], table["patient_id"].astype(str).to_numpy()[judged]
    shown = np.ones(len(voting), bool)
    if model.run.config.labels_shape_codes:
        if "split" not in table:
            return None  # which patients shaped the codes is not known
        shown = ~trained_rows(table)[judged]
    if min(voting[shown].sum(), (1 - voting[shown]).sum()) < VOTERS:
        return None
    figure = auc_interval(voting[shown], votes(points[judged], voting, patients)[shown], patients[shown])
    return figure, int(shown.sum())


@kept
def _custom_places(model: LoadedModel, unit: str, key: str) -> np.ndarray:
    return custom_maps.read(model, unit, key)


@kept
def _stored_places(model: LoadedModel, unit: str, method: str, dims: int) -> np.ndarray:
    return model.map(unit, method, dims)


@kept
def _members(model: LoadedModel, unit: str, method: str) -> np.ndarray:
    return contours.membership(clusters(model), method, nodule_of(model), unit)


@kept
def _contours(model: LoadedModel, unit: str, method: str, key: str) -> bytes:
    return _text({"levels": contours.contours(_flat(model, unit, method, key))})


@kept
def _outlines(model: LoadedModel, unit: str, method: str, key: str, which: str) -> bytes:
    members = _members(model, unit, which)
    return _text(contours.outlines(clusters(model), which, members, _flat(model, unit, method, key)))


def _flat(model: LoadedModel, unit: str, method: str, key: str) -> np.ndarray:
    xy = places(model, unit, method, 2, key)
    if xy.shape[1] != 2:
        raise UserError("Density and outlines are drawn on maps of two dimensions.")
    return xy


def routes(registry: Callable[[], Registry]) -> list[BaseRoute]:
    """This module's routes; `registry` returns the process's single registry."""
    made = {
        "points": _get_points,
        "colours": _get_colours,
        "lesions": _get_lesions,
        "filter": _get_filter,
        "contours": _get_contours,
        "outlines": _get_outlines,
    }
    return [Route(f"{BASE}/{name}", answering(registry, make)) for name, make in made.items()]


def _map_of(query: Query) -> tuple[str, str, str]:
    """(unit, method, key of a custom map or empty) of an address; the key alone identifies a custom map."""
    unit, method = query.choice("unit", maps.UNITS, "slice"), query.choice("method", maps.METHODS, "umap")
    sent = query.get("map")
    return (unit, maps.METHODS[0], custom_maps.checked_key(sent)) if sent else (unit, method, "")


def _get_points(model: LoadedModel, query: Query) -> Response:
    unit, method, key = _map_of(query)
    dims = int(query.choice("dims", [str(each) for each in maps.DIMS], "2"))
    return respond(places(model, unit, method, dims, key).astype("<f4").tobytes())


def _get_colours(model: LoadedModel, query: Query) -> Response:
    unit = query.choice("unit", maps.UNITS, "slice")
    shades = colouring(model, unit, query.get("by", "malignancy"))
    legend = json.dumps(shades.summary(), ensure_ascii=False).encode()
    return respond(struct.pack("<I", len(legend)) + legend + shades.index.astype("<i2").tobytes())


def _get_lesions(model: LoadedModel, query: Query) -> Response:
    return respond(_lesions_text(model, query.choice("unit", maps.UNITS, "slice")), _JSON)


def _get_filter(model: LoadedModel, query: Query) -> Response:
    table = unit_table(model, query.choice("unit", maps.UNITS, "slice"))
    return respond(filters.mask(table, filters.parse(query.get("where"))).astype(np.uint8).tobytes())


def _get_contours(model: LoadedModel, query: Query) -> Response:
    return respond(_contours(model, *_map_of(query)), _JSON)


def _get_outlines(model: LoadedModel, query: Query) -> Response:
    which = query.choice("clusters", list(clusters(model).report["methods"]), "kmeans")
    return respond(_outlines(model, *_map_of(query), which), _JSON)


def _text(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _plain(values: pd.Series, digits: int) -> list[Any]:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    rounded = [None if np.isnan(n) else round(float(n), digits) for n in numbers]
    return [int(n) if n is not None and n.is_integer() else n for n in rounded]
