"""What an exported explorer shows: maps, colours, small images, precomputed traversals, figures."""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from lungvae_core import ATTRIBUTION, NOTICE
from lungvae_core.data.slices import MALIGNANCY_WORDS
from lungvae_core.errors import UserError
from lungvae_core.explore import colours
from lungvae_core.explore.directions import walk
from lungvae_core.explore.maps import METHODS, TITLES, UNITS
from lungvae_core.explore.traversal import strip
from lungvae_core.palette import grey
from lungvae_core.serving.lesions.cases import evaluated
from lungvae_core.serving.lesions.images import SHEET, file_of, sheet
from lungvae_core.serving.maps.points import lesions, unit_table
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import paths

SIDES = {"slice": 32, "nodule": 64}  # pixels per side of a point's image
STEPS = 11  # of a traversal
DIMENSIONS = 16  # to traverse, those that vary most
LESIONS = 4  # to start from, in addition to the prior and the class means
COLOURS = ("malignancy", "score", "size", "bands", "patient", "split", "quality")
QUALITY = 82  # of the JPEGs: an error of one grey level is finer than what a decoder can draw
WALKED = {"malignancy": "malignancy", "diameter": "size"}  # directions to traverse too, and their names

Progress = Callable[[int, int], None]


def gather(
    model: LoadedModel, *, real: bool, units: tuple[str, ...] = UNITS, on_progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Everything the file shows, ready for JSON; images and arrays as base64.

    With `real`, CT slices are used where this machine has them. Otherwise reconstructions are used; they are
    generated, as are all images of a traversal. Raises UserError if `real` is set and this machine has no
    slices, or if a map is missing.
    """
    if real and not model.real.any():
        raise UserError(
            f"The CT slices behind {model.entry.name} are not on this machine. Import the data set, or leave "
            "out --ct to export reconstructions."
        )
    starts = _starts(model)
    rows = sum(len(unit_table(model, unit)) for unit in units)
    steps = _Steps(on_progress, rows + len(starts))
    low, high = model.window
    return {
        "title": model.entry.title,
        "name": model.entry.name,
        "notice": NOTICE,
        "attribution": model.entry.data.attribution or ATTRIBUTION,
        "data": f"{model.entry.data.name}, {len(model.table):,} slices",
        "prior": model.entry.prior,
        "dimensions": model.entry.dimensions,
        "window": f"W {high - low:.0f} L {(low + high) / 2:.0f} HU",
        "words": {str(rating): word for rating, word in MALIGNANCY_WORDS.items()},
        "methods": {method: TITLES[method] for method in METHODS if _has(model, units, method)},
        "units": {unit: _unit(model, unit, real, steps) for unit in units},
        "traversals": _traversals(model, starts, steps),
        "scores": scoring.of_set(model),
        "figures": _figures(model),
    }


class _Steps:
    """Progress over images and starts."""

    def __init__(self, on_progress: Progress, total: int) -> None:
        self._on_progress, self._total, self._done = on_progress, total, 0

    def __call__(self, count: int) -> None:
        self._done += count
        self._on_progress(self._done, self._total)


def _has(model: LoadedModel, units: tuple[str, ...], method: str) -> bool:
    try:
        return all(len(model.map(unit, method)) for unit in units)
    except UserError:
        return False


def _unit(model: LoadedModel, unit: str, real: bool, steps: _Steps) -> dict[str, Any]:
    table = unit_table(model, unit)
    columns = lesions(model, unit)
    shown = {
        name: columns[name]
        for name in ("row", "patient", "patients", "nodule", "slice", "malignancy", "diameter", "score")
        if name in columns
    }
    rows = table["row"].to_numpy()
    offered = colours.available(model.table)
    return {
        "count": len(table),
        "side": SIDES[unit],
        "across": SHEET // SIDES[unit],
        "lesions": shown,
        "real": (model.real[rows] if real else np.zeros(len(rows), bool)).astype(int).tolist(),
        "points": {
            method: _base64(np.rint(np.clip(model.map(unit, method), -1, 1) * 32767).astype("<i2"))
            for method in METHODS
            if _has(model, (unit,), method)
        },
        "colours": {name: _colouring(colours.colour(table, name)) for name in COLOURS if name in offered},
        "sheet": _jpeg(sheet(rows, SIDES[unit], partial(_images, model, real), steps)),
    }


def _colouring(colouring: colours.Colouring) -> dict[str, Any]:
    return {**colouring.summary(), "index": _base64(np.asarray(colouring.index, "<i2"))}


def _images(model: LoadedModel, real: bool, rows: np.ndarray) -> np.ndarray:
    return model.images(rows)[0] if real else model.decode(model.codes[rows])


def _starts(model: LoadedModel) -> list[tuple[str, np.ndarray, str | None]]:
    """(name, code (K,), its patient): means of the prior and the classes, and lesions of different scores."""
    starts: list[tuple[str, np.ndarray, str | None]] = [
        ("Prior mean" if name == "prior" else f"{name.capitalize()} mean", code, None)
        for name, code in model.starts.items()
    ]
    nodules = model.nodules[0]
    rows = nodules["row"].to_numpy()
    if "score" in model.table:
        rows = rows[np.argsort(model.table["score"].to_numpy(float)[rows], kind="stable")]
    at = np.linspace(0.1, 0.9, min(LESIONS, len(rows))) * (len(rows) - 1)
    for row in rows[np.rint(at).astype(int)]:
        entry = model.lesion(row)
        patient = str(entry["patient_id"])
        starts.append((f"{patient}, nodule {entry['nodule']}", model.codes[row], patient))
    return starts


def _traversals(
    model: LoadedModel, starts: list[tuple[str, np.ndarray, str | None]], steps: _Steps
) -> dict[str, Any]:
    """For each start, a sheet with one line of STEPS images per traversal, and the scores along it."""
    dimensions = [int(at) for at in model.order[:DIMENSIONS]]
    labels, directions = paths.names(model), _directions(model)
    walked = [{"name": f"towards {name}", "help": ""} for name in directions]
    for at in dimensions:
        label = labels.get(at)
        walked.append({"name": paths.named(model, at), "help": label.sentence if label else ""})
    sheets = []
    for name, code, patient in starts:
        lines = [walk(space, direction, code, STEPS)[1] for space, direction in directions.values()]
        lines += [strip(model.latent, code, at, paths.span(model, at, code), STEPS)[1] for at in dimensions]
        codes = np.concatenate([code[None], *lines])
        images = grey(model.decode(codes))
        tall = np.zeros((len(lines) + 1, 64, STEPS, 64), np.uint8)
        tall[0, :, 0] = images[0]  # the start itself comes first
        tall[1:] = images[1:].reshape(len(lines), STEPS, 64, 64).transpose(0, 2, 1, 3)
        scores = model.score(codes, patient=patient)
        sheets.append(
            {
                "name": name,
                "sheet": _jpeg(Image.fromarray(tall.reshape(-1, STEPS * 64))),
                "scores": None if scores is None else np.round(scores, 3).tolist(),
                "scored": scoring.of_walk(model, patient),
                "familiarity": np.round(model.familiarity(codes), 3).tolist(),
                # The step nearest to the start, where a slider begins.
                "near": [int(np.abs(line - code).sum(1).argmin()) for line in lines],
            }
        )
        steps(1)
    return {"steps": STEPS, "walks": walked, "starts": sheets}


def _directions(model: LoadedModel) -> dict[str, Any]:
    learned = paths.directions(model)
    return {
        title: (learned.space, learned.directions[name])
        for name, title in WALKED.items()
        if learned is not None and name in learned.directions
    }


def _figures(model: LoadedModel) -> dict[str, Any] | None:
    """The evaluation's AUCs, those of size alone, and how they were computed, in words."""
    figures = evaluated(model.evaluation)
    if figures is None:
        return None
    table, description = figures
    return {
        "columns": [str(name) for name in table.columns],
        "rows": [[str(value) for value in row] for row in table.itertuples()],
        "words": description,
    }


def _jpeg(picture: Image.Image) -> str:
    return base64.b64encode(file_of(picture, "JPEG", quality=QUALITY, optimize=True)).decode()


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
