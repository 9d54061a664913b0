"""Paths through one model's latent space, and what they need from it, cached while it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from lungvae_core.caches import CachePerOwner
from lungvae_core.errors import UserError
from lungvae_core.explore import ways
from lungvae_core.explore.coordinates import Space
from lungvae_core.explore.counterfactual import Counterfactual, Lesions, counterfactual
from lungvae_core.explore.directions import Directions, load_directions, walk
from lungvae_core.explore.measured import record
from lungvae_core.explore.measured.record import Label, labels
from lungvae_core.explore.traversal import active
from lungvae_core.number_text import latent_value
from lungvae_core.serving.lesions.lesion import nodule_of
from lungvae_core.serving.models.answers import kept
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks.render import Sheet
from lungvae_core.vae.config import Rated

STEPS = 25  # of a film
MOST_BYTES = 64 * 2**20  # of sheets of one model; a sheet of 64 lines takes eight megabytes

_sheets: CachePerOwner[Sheet] = CachePerOwner(MOST_BYTES)


@dataclass(frozen=True)
class Way:
    """Codes (T, K) from A to B, and the rows of the table along the path."""

    codes: np.ndarray
    rows: tuple[int, ...] = ()


@kept
def space(model: LoadedModel) -> Space:
    """Coordinates in which straight lines are valid codes."""
    return Space.fit(model.codes, simplex=model.latent.simplex)


@kept
def graph(model: LoadedModel) -> ways.Graph:
    """The nodules' representative slices, linked to their nearest neighbours."""
    return ways.Graph(model.codes[model.nodules[0]["row"].to_numpy()], model.entry.prior)


@kept
def directions(model: LoadedModel) -> Directions | None:
    """directions.json, or None if the model has none that can be read."""
    try:
        return load_directions(model.entry.folder, model.codes)
    except UserError:
        return None


@kept
def flips(model: LoadedModel) -> Lesions:
    """The codes in the form that counterfactuals need; UserError without a classifier."""
    if model.classifier is None:
        raise UserError(
            "This model has no classifier, so that there is no score to change. Make one with "
            f"`lungvae classify {model.entry.folder}`."
        )
    return Lesions(model.classifier, model.codes, model.table["patient_id"].astype(str).to_numpy())


def measured(model: LoadedModel) -> dict[str, Any] | None:
    """measured.json; None without a usable one, which the page of the measured traversals reports."""
    try:
        return model.measured
    except UserError:
        return None


@kept
def names(model: LoadedModel) -> dict[int, Label]:
    """Each dimension's guide and its result in the measured traversals; empty if there is neither."""
    report = measured(model)
    labelled = {} if report is None else dict(enumerate(labels(report)))
    return labelled | {
        at: _guided(at, guide, report, labelled.get(at))
        for at, guide in enumerate(model.run.config.objective.guided)
    }


def _guided(at: int, guide: str, report: dict[str, Any] | None, label: Label | None) -> Label:
    """A guided dimension's label: what it was trained to follow, then what it was measured to change."""
    name = f"guided: {guide}" + (f" · {label.name}" if label and label.name else "")
    sentences = [f"Trained to rise with the training patients' {guide}."]
    if report is None or label is None:
        sentences.append("What it does to a decoded lesion has not been measured.")
    else:
        sentences.append(label.sentence)
        if guide in get_args(Rated):
            sentences.append(record.judged_sentence(report, at, guide))
    return Label(name, " ".join(sentences))


@kept
def carried(model: LoadedModel) -> tuple[list[int], list[int], str]:
    """(dimensions in use, guided first, then by what they carry; unused ones; the order in words)."""
    used = active(model.codes, model.latent)
    guided = list(range(len(model.run.config.objective.guided)))
    order, by = model.order.tolist(), "how much the lesions differ in them"
    if (report := measured(model)) is not None:
        order, by = record.order(report), "how much they change the picture, as measured"
    order = guided + [at for at in order if at not in guided]
    return [at for at in order if used[at]], [at for at in order if not used[at]], by


def named(model: LoadedModel, dimension: int) -> str:
    """A dimension with its name, as "z 62 · grows"."""
    label = names(model).get(dimension)
    return f"z {dimension} · {label.name}" if label is not None and label.name else f"z {dimension}"


def between(
    model: LoadedModel,
    kind: str,
    a: np.ndarray,
    b: np.ndarray,
    *,
    rows: tuple[int | None, int | None] = (None, None),
    steps: int = STEPS,
) -> Way:
    """The path of that kind (see `ways.ways_of`) from code a (K,) to b; `rows` are those of A and B, if any.

    A path along neighbours leads over nodules other than A's and B's. UserError for an unknown kind, and if
    no chain of neighbours exists.
    """
    if kind not in ways.ways_of(model.entry.prior):
        raise UserError(f"There is no way {kind[:20]!r} for a {model.entry.prior} model.")
    if kind == ways.STRAIGHT:
        return Way(ways.straight(model.latent, a, b, steps))
    if kind == ways.ROUND:
        return Way(ways.round_way(a, b, steps))
    if kind == ways.SIMPLEX:
        return Way(ways.along_simplex(space(model), a, b, steps))
    nodules = model.nodules[0]
    own = np.zeros(len(nodules), bool)
    for row in rows:
        if row is not None:
            own[nodule_of(model)[row]] = True
    members = graph(model).way(a, b, without=own)
    passed = nodules["row"].to_numpy()[members]
    return Way(ways.along(a, b, model.codes[passed], steps), tuple(int(row) for row in passed))


def drawn(
    model: LoadedModel, xy: np.ndarray, codes: np.ndarray, points: np.ndarray
) -> tuple[Way, np.ndarray]:
    """(the path, its positions (T, 2)) along a line of points (P, 2) drawn on the map xy (N, 2) of codes."""
    codes_along, places = ways.along_map(xy, codes, points, STEPS, model.latent)
    return Way(codes_along), places


def along_direction(model: LoadedModel, name: str, code: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """(steps, K) along a direction of directions.json through a code; UserError if it is unknown."""
    learned = directions(model)
    if learned is None or name not in learned.directions:
        raise UserError(f"The model has no direction {name[:40]!r}. Make it with `lungvae directions`.")
    return walk(learned.space, learned.directions[name], code, steps)[1]


def flip(
    model: LoadedModel, code: np.ndarray, *, patient: str | None, target: float, **options: Any
) -> Counterfactual:
    """The smallest change of a code (K,) that takes its score past `target`: see `counterfactual`.

    `options` are its towards, dimensions and seed. The score comes from the classifier used everywhere for
    `patient`, whose lesion it is: `LoadedModel.classifier_of`.
    """
    classifier = model.classifier_of(patient)
    return counterfactual(flips(model), classifier, code, patient=patient, target=target, **options)


@kept
def flip_of_row(
    model: LoadedModel, row: int, towards: str | None, target: float, few: bool
) -> Counterfactual:
    """The smallest change that takes the score of the slice `row` past `target`; `few` dimensions or any."""
    patient, most = str(model.lesion(row)["patient_id"]), 0 if few else None
    return flip(model, model.codes[row], patient=patient, target=target, towards=towards, dimensions=most)


def largest_changes(
    model: LoadedModel, before: np.ndarray, after: np.ndarray, most: int = 10
) -> list[tuple[int, float]]:
    """The dimensions in which two codes (K,) differ most, and by how many of the lesions' deviations."""
    ends = space(model).to(np.stack([before, after]))
    change = ends[1] - ends[0]
    return [(int(at), float(change[at])) for at in np.argsort(-np.abs(change), kind="stable")[:most]]


def span(model: LoadedModel, dimension: int, code: np.ndarray) -> np.ndarray:
    """(2,) the range of a dimension's walk: the lesions' range, extended if the code lies beyond it."""
    low, high = model.ranges[dimension].tolist()
    return np.array([min(low, float(code[dimension])), max(high, float(code[dimension]))])


def grid(
    model: LoadedModel, code: np.ndarray, first: int, second: int, steps: int, start: str, patient: str | None
) -> Sheet:
    """Two dimensions over their ranges, decoded and scored.

    `start` describes the code; `patient` is the patient of the data set whose lesion it is.
    """

    def make() -> Sheet:
        spans = np.stack([span(model, first, code), span(model, second, code)])
        codes, across, up = ways.grid(model.latent, code, first, second, spans, steps)
        images, scores = _tiles(model, codes, patient)
        lines = [latent_value(value) for value in up.tolist()]
        lines[0] = f"{lines[0]}: {named(model, second)} ↑"
        return Sheet(
            heading=f"{model.entry.title} · from {start} · {named(model, first)} by {named(model, second)}",
            images=images,
            lines=tuple(lines),
            columns=tuple(map(latent_value, across.tolist())),
            scores=scores,
            outlined=(int(np.abs(up - code[second]).argmin()), int(np.abs(across - code[first]).argmin())),
        )

    return _sheets.of(model).get(("grid", code.tobytes(), first, second, steps, start, patient), make)


def contact_sheet(
    model: LoadedModel, code: np.ndarray, dimensions: list[int], steps: int, start: str, patient: str | None
) -> Sheet:
    """One line per dimension, each varied alone over its range, decoded and scored; see `grid`."""

    def make() -> Sheet:
        spans = np.stack([span(model, at, code) for at in dimensions])
        codes, _ = ways.sheet(model.latent, code, dimensions, spans, steps)
        images, scores = _tiles(model, codes, patient)
        return Sheet(
            heading=f"{model.entry.title} · from {start} · each dimension from its least to its greatest",
            images=images,
            lines=tuple(named(model, at) for at in dimensions),
            scores=scores,
        )

    key = ("dimensions", code.tobytes(), tuple(dimensions), steps, start, patient)
    return _sheets.of(model).get(key, make)


def _tiles(
    model: LoadedModel, codes: np.ndarray, patient: str | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """(images (L, C, 64, 64), scores (L, C) or None) of codes (L, C, K)."""
    flat = codes.reshape(-1, codes.shape[-1])
    scores = model.score(flat, patient=patient)
    images = model.decode(flat).reshape(*codes.shape[:2], 64, 64)
    return images, None if scores is None else scores.reshape(codes.shape[:2])
