"""Lesions' images and what a map shows of them, over HTTP, so that hovering a point asks nobody.

GET /api/models/{name}/points?unit=&method=   float32 little-endian (N, 2), positions on a map
GET /api/models/{name}/colours?unit=&by=      JSON, a colour a point and the legend
GET /api/models/{name}/lesions?unit=          JSON, what is known of each point, column by column
GET /api/models/{name}/sprites                JPEG, all slices at 32x32, 128 a line, in the table's order;
                                              202 while it is being made, which takes long without the data
GET /api/models/{name}/slices/{row}.png       PNG, one slice at 64x64; ?kind=reconstruction for that

Answers are not to be stored: they can hold a hospital's own images.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lungvae_core.errors import UserError
from lungvae_core.explore import colours
from lungvae_core.files import atomic_path
from lungvae_core.serving.registry import LoadedModel, Registry

SPRITE = 32  # pixels a side
WINDOWS = {"Lung": (1500, -600), "Mediastinum": (350, 50)}  # width, level in HU
SPRITES_A_LINE = 128  # 4,096 pixels wide, which every browser can hold
_HEADERS = {"Cache-Control": "no-store"}

Result = TypeVar("Result")


def _kept(function: Callable[..., Result]) -> Callable[..., Result]:
    """Keep the function's results for as long as the model, its first argument, is in memory."""
    kept: WeakKeyDictionary[LoadedModel, dict[tuple, Result]] = WeakKeyDictionary()

    @wraps(function)
    def wrapper(model: LoadedModel, *arguments: Any) -> Result:
        results = kept.setdefault(model, {})
        if arguments not in results:
            results[arguments] = function(model, *arguments)
        return results[arguments]

    return wrapper


def png(image: np.ndarray) -> bytes:
    """An image (rows, columns), uint8 or float in 0..1, as a greyscale PNG."""
    stream = io.BytesIO()
    Image.fromarray(_grey(image)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def windowed(hu: np.ndarray, width: float, level: float) -> np.ndarray:
    """HU of any shape as uint8 grey: black at level - width/2, white at level + width/2."""
    return _grey((hu.astype(np.float32) - (level - width / 2)) / width)


class Sprites:
    """A model's slices at 32x32 in one JPEG, 128 a line, in the table's order.

    From the data they are made in seconds. Reconstructions take a minute or two on a few cores, so they are
    made beside the requests, and kept in the workspace; a model may also bring them as sprites.jpg.
    """

    def __init__(self, model: LoadedModel, cache: Path) -> None:
        self._model = model
        self._cache = cache
        self._lock = threading.Lock()
        self._jpeg: bytes | None = None
        self._worker: threading.Thread | None = None

    def get(self) -> bytes | None:
        """The JPEG, or None while it is being made."""
        with self._lock:
            if self._jpeg is None and self._model.real.any():
                self._jpeg = _atlas(self._model)
            if self._jpeg is None:
                self._jpeg = self._read()
            if self._jpeg is None and (self._worker is None or not self._worker.is_alive()):
                self._worker = threading.Thread(target=self._make, name="sprites", daemon=True)
                self._worker.start()
            return self._jpeg

    def _make(self) -> None:
        jpeg = _atlas(self._model)
        with self._lock:
            self._jpeg = jpeg
        # A full disk costs only the next start's time.
        with contextlib.suppress(UserError), atomic_path(self._cache / self._file) as temporary:
            temporary.write_bytes(jpeg)

    @property
    def _file(self) -> str:
        # The same weights and codes give the same images.
        digest = hashlib.sha256(self._model.codes.tobytes())
        digest.update((self._model.entry.folder / "model.safetensors").read_bytes())
        return f"sprites-{digest.hexdigest()[:16]}.jpg"

    def _read(self) -> bytes | None:
        for path in (self._model.entry.folder / "sprites.jpg", self._cache / self._file):
            if path.is_file():
                content = path.read_bytes()
                lines = -(-len(self._model.table) // SPRITES_A_LINE)
                try:
                    with Image.open(io.BytesIO(content)) as picture:
                        if picture.size == (SPRITES_A_LINE * SPRITE, lines * SPRITE):
                            return content
                except OSError:
                    continue
        return None


@_kept
def sprites(model: LoadedModel, cache: Path) -> Sprites:
    """The model's sprites; `cache` is the folder that keeps those that take long."""
    return Sprites(model, cache)


@_kept
def unit_table(model: LoadedModel, unit: str) -> pd.DataFrame:
    """A row a point of the map of `unit`: the slices, or the nodules by their representative slice.

    Has the table's columns and `row`, the row of the slice to show. A nodule's score and reconstruction
    quality are its slices' means.
    """
    table = model.table
    if unit == "slice":
        return table.assign(row=np.arange(len(table)))
    if unit != "nodule":
        raise UserError(f"There is no map of {unit!r}. Choose slice or nodule.")
    of_row, nodules = nodule_of_row(model), model.nodules[0]
    chosen = table.iloc[nodules["row"].to_numpy()].reset_index(drop=True)
    chosen = chosen.assign(row=nodules["row"].to_numpy(), slices=nodules["slices"].to_numpy())
    means = {name: table[name].groupby(of_row).mean() for name in ("score", "ssim") if name in table}
    return chosen.assign(**{name: mean.to_numpy() for name, mean in means.items()})


@_kept
def nodule_of_row(model: LoadedModel) -> np.ndarray:
    """(N,) for each slice, the position of its nodule in `model.nodules`."""
    key = ["patient_id", "nodule"]
    ours, theirs = (pd.MultiIndex.from_frame(table[key]) for table in (model.table, model.nodules[0]))
    return theirs.get_indexer(ours)


@_kept
def lesions(model: LoadedModel, unit: str) -> dict[str, Any]:
    """What is known of each point of a map, column by column, ready for JSON; unknown values are None."""
    points = unit_table(model, unit)
    patients, names = pd.factorize(points["patient_id"].astype(str))
    found: dict[str, Any] = {
        "row": points["row"].tolist(),
        "patient": patients.tolist(),
        "patients": list(names),
        "nodule": points["nodule"].tolist(),
        "slice": points["slice"].tolist(),
        "real": model.real[points["row"].to_numpy()].astype(int).tolist(),
    }
    for column, name, digits in _SHOWN:
        if column in points:
            found[name] = _plain(points[column], digits)
    if unit == "nodule":
        found["slices"] = points["slices"].tolist()
        found["point_of_row"] = nodule_of_row(model).tolist()
    return found


def routes(registry: Callable[[], Registry]) -> list[BaseRoute]:
    """This module's routes; `registry` gives the process's one registry."""

    def answer(make: Callable[[LoadedModel, Request], Response]) -> Callable[[Request], Response]:
        # A plain function, not a coroutine: Starlette runs it in a thread, beside the event loop.
        def endpoint(request: Request) -> Response:
            try:
                return make(_model(registry(), request.path_params["name"]), request)
            except UserError as error:
                return JSONResponse({"error": str(error)}, status_code=404, headers=_HEADERS)

        return endpoint

    base = "/api/models/{name}"
    return [
        Route(f"{base}/points", answer(_get_points)),
        Route(f"{base}/colours", answer(_get_colours)),
        Route(f"{base}/lesions", answer(_get_lesions)),
        Route(
            f"{base}/sprites",
            answer(lambda model, _: _get_sprites(model, registry().settings.workspace / "cache")),
        ),
        Route(f"{base}/slices/{{row:int}}.png", answer(_get_slice)),
    ]


_SHOWN = [
    ("malignancy", "malignancy", 0),
    ("diameter_mm", "diameter", 1),
    ("score", "score", 3),
    ("n_readers", "readers", 0),
]


def _model(registry: Registry, name: str) -> LoadedModel:
    # `load` also opens a folder by its path, which an address must not.
    if not any(entry.name == name for entry in registry.entries()):
        raise UserError(f"There is no model {name!r}.")
    return registry.load(name)


def _get_points(model: LoadedModel, request: Request) -> Response:
    query = request.query_params
    xy = model.map(query.get("unit", "slice"), query.get("method", "umap"))
    return Response(xy.astype("<f4").tobytes(), media_type="application/octet-stream", headers=_HEADERS)


def _get_colours(model: LoadedModel, request: Request) -> Response:
    query = request.query_params
    table = unit_table(model, query.get("unit", "slice"))
    return JSONResponse(colours.colour(table, query.get("by", "malignancy")).summary(), headers=_HEADERS)


def _get_lesions(model: LoadedModel, request: Request) -> Response:
    return JSONResponse(lesions(model, request.query_params.get("unit", "slice")), headers=_HEADERS)


def _get_sprites(model: LoadedModel, cache: Path) -> Response:
    jpeg = sprites(model, cache).get()
    if jpeg is None:
        return JSONResponse({"making": True}, status_code=202, headers=_HEADERS)
    return Response(jpeg, media_type="image/jpeg", headers=_HEADERS)


def _get_slice(model: LoadedModel, request: Request) -> Response:
    row = request.path_params["row"]
    if row >= len(model.table):
        raise UserError(f"There is no slice {row}; the model has {len(model.table)}.")
    if request.query_params.get("kind") == "reconstruction":
        image, real = model.decode(model.codes[row][None])[0], False
    else:
        image, real = model.image(row)
    return Response(
        png(image), media_type="image/png", headers=_HEADERS | {"X-Generated": str(int(not real))}
    )


def _atlas(model: LoadedModel) -> bytes:
    count = len(model.table)
    lines = -(-count // SPRITES_A_LINE)
    sheet = np.zeros((lines, SPRITE, SPRITES_A_LINE, SPRITE), np.uint8)
    for start in range(0, count, SPRITES_A_LINE):
        rows = np.arange(start, min(start + SPRITES_A_LINE, count))
        images, _ = model.images(rows)
        small = images.reshape(len(rows), SPRITE, 2, SPRITE, 2).mean((2, 4))
        sheet[rows // SPRITES_A_LINE, :, rows % SPRITES_A_LINE] = _grey(small)
    stream = io.BytesIO()
    Image.fromarray(sheet.reshape(lines * SPRITE, SPRITES_A_LINE * SPRITE)).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _grey(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _plain(values: pd.Series, digits: int) -> list[Any]:
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    return [None if np.isnan(n) else int(n) if digits == 0 else round(float(n), digits) for n in numbers]
