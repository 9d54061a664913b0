"""A nodule's slices in the scan's order: their HU and the readers' outlines, also over HTTP.

GET /api/models/{name}/nodules/{row}/{index}.hu    int16 little-endian (64, 64), HU; header X-Generated: 0
                                                   for CT, 1 for the model's reconstruction
GET /api/models/{name}/nodules/{row}/{index}.mask  uint8 (64, 64), 1 inside the lesion; 404 without one

`row` is any slice of the nodule; `index` counts its slices by their position along the body. CT is sent in
its own pixels, even for a model that sees slices at a fixed spacing, since it is meant for reading. Responses
must not be stored: they can contain a hospital's own images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from lungvae_core.data.columns import NODULE, numbers
from lungvae_core.errors import UserError
from lungvae_core.parameters import Query
from lungvae_core.serving.models.answers import BASE, MOST_ROWS, answering, kept, respond
from lungvae_core.serving.models.registry import LoadedModel, Registry


def slices(model: LoadedModel, row: int) -> list[int]:
    """Rows of all slices of the nodule that `row` is a slice of, along the body from feet to head.

    Raises UserError where the model has no such row.
    """
    if not 0 <= row < len(model.codes):
        raise UserError(f"There is no slice {row}; the model has {len(model.codes):,}.")
    nodule_of, rows = _order(model)
    return rows[nodule_of[row]]


def nodule_of(model: LoadedModel) -> np.ndarray:
    """(N,) int: the number, from 0, of each row's nodule."""
    return _order(model)[0]


@dataclass(frozen=True)
class Nodule:
    """Where the table has a nodule."""

    rows: tuple[int, ...]  # its slices, in the table's order
    largest: int  # the row of its representative slice


@kept
def of_patients(model: LoadedModel) -> dict[str, dict[Any, Nodule]]:
    """Every patient's nodules by their ids, in the table's order, to pick a lesion from."""
    nodules = model.nodules[0]
    rows: list[list[int]] = [[] for _ in range(len(nodules))]
    for row, number in enumerate(nodule_of(model)):
        rows[number].append(row)
    by_patient: dict[str, dict[Any, Nodule]] = {}
    columns = (nodules[name].tolist() for name in ("patient_id", "nodule", "row"))
    for own, patient, nodule, largest in zip(rows, *columns, strict=True):
        by_patient.setdefault(patient, {})[nodule] = Nodule(tuple(own), largest)
    return by_patient


def hu(model: LoadedModel, row: int) -> tuple[np.ndarray, bool]:
    """((64, 64) int16 HU of a slice, whether the model made it): its CT pixels if this machine has them.

    A reconstruction is in the model's window and at its spacing, if it has a fixed one.
    """
    if model.real[row] and model.pixels is not None:
        return model.pixels.slices(np.array([row]))[0], False
    image = model.decode(model.codes[row][None])[0]
    return np.rint(model.hu(np.clip(image, 0, 1))).astype(np.int16), True


def mask(model: LoadedModel, row: int) -> np.ndarray | None:
    """(64, 64) uint8, 1 inside the lesion's outline; None if this machine has no CT or no outline of it."""
    pixels = model.pixels
    if pixels is None or pixels.at[row] < 0:
        return None
    outline = np.asarray(pixels.data.masks[pixels.at[row]])
    return outline if outline.any() else None


def outlined(model: LoadedModel, rows: list[int]) -> bool:
    """Whether this machine has an outline of any of the slices."""
    return any(mask(model, row) is not None for row in rows)


def spacing_mm(model: LoadedModel, rows: list[int]) -> float | None:
    """The pixel spacing that the images of `rows` share, as `hu` returns them; None if unknown.

    Reconstructions have one only if the model sees all slices at a fixed spacing.
    """
    real = model.real[rows]
    if not real.any():
        return model.spacing_mm or None
    spacings = np.unique(numbers(model.table, "pixel_spacing_mm")[rows])
    return float(spacings[0]) if real.all() and len(spacings) == 1 and np.isfinite(spacings[0]) else None


def routes(registry: Callable[[], Registry]) -> list[BaseRoute]:
    """This module's routes; `registry` returns the process's single registry."""
    base = f"{BASE}/nodules/{{row}}/{{index}}"
    ends = (0, MOST_ROWS)
    return [
        Route(f"{base}.hu", answering(registry, _get_hu, row=ends, index=ends)),
        Route(f"{base}.mask", answering(registry, _get_mask, row=ends, index=ends)),
    ]


def _row_of(model: LoadedModel, row: int, index: int) -> int:
    """The row of the slice that a request is about."""
    rows = slices(model, row)
    if index >= len(rows):
        raise UserError(f"There is no slice {index} of this nodule; it has {len(rows)}, the first being 0.")
    return rows[index]


def _get_hu(model: LoadedModel, _query: Query, row: int, index: int) -> Response:
    values, generated = hu(model, _row_of(model, row, index))
    return respond(values.astype("<i2").tobytes(), generated=generated)


def _get_mask(model: LoadedModel, _query: Query, row: int, index: int) -> Response:
    outline = mask(model, _row_of(model, row, index))
    if outline is None:
        raise UserError(
            "This slice has no outline: nobody drew one, or its CT is not here and it is generated."
        )
    return respond(outline.tobytes(), generated=False)


@kept
def _order(model: LoadedModel) -> tuple[np.ndarray, list[list[int]]]:
    """((N,) each row's nodule, each nodule's rows in order)."""
    table = model.table
    nodule_of = table.groupby(NODULE, sort=False).ngroup().to_numpy()
    # If positions along the body are unknown or equal, slices are sorted by number.
    places = {"nodule": nodule_of, "slice": table["slice"].to_numpy()}
    if "z_mm" in table:
        places["z"] = table["z_mm"].to_numpy(float)
    order = pd.DataFrame(places).sort_values([name for name in ("nodule", "z", "slice") if name in places])
    ends = np.flatnonzero(np.diff(order["nodule"].to_numpy())) + 1
    return nodule_of, [part.tolist() for part in np.split(order.index.to_numpy(), ends)]
