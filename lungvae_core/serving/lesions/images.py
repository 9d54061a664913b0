"""Lesions' images over HTTP, so that hovering a point of a map needs no request.

GET /api/models/{name}/sprites                JPEG, all slices at 32x32, 128 per line, in the table's order;
                                              202 while it is being made, which takes long without the data
GET /api/models/{name}/slices/{row}.png       PNG, one slice at 64x64; ?kind=reconstruction for that

Responses must not be stored: they can contain a hospital's own images.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path
from lungvae_core.palette import grey
from lungvae_core.parameters import Query
from lungvae_core.serving.models.answers import BASE, HEADERS, MOST_ROWS, answering, kept
from lungvae_core.serving.models.registry import LoadedModel, Registry

SPRITE = 32  # pixels per side
KINDS = ("slice", "reconstruction")
SPRITES_A_LINE = 128  # 4,096 pixels wide, which every browser supports


def png(image: np.ndarray) -> bytes:
    """An image (rows, columns), uint8 or float in 0..1, as a greyscale PNG."""
    stream = io.BytesIO()
    grey_levels = image if image.dtype == np.uint8 else grey(image)
    Image.fromarray(grey_levels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


class Sprites:
    """A model's slices at 32x32 in one JPEG, 128 per line, in the table's order.

    From the data they are made in seconds. Reconstructions take a minute or two on a few cores, so they are
    made in the background and kept in the workspace; a model may also include them as sprites.jpg.
    """

    def __init__(self, model: LoadedModel, cache: Path) -> None:
        self._model = model
        self._cache = cache
        self._lock = threading.Lock()
        self._jpeg: bytes | None = None
        self._worker: threading.Thread | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in memory in addition to the model's."""
        return 0 if self._jpeg is None else len(self._jpeg)

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
        # If the disk is full, only the next start takes longer.
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


@kept
def sprites(model: LoadedModel, cache: Path) -> Sprites:
    """The model's sprites; `cache` is the folder for those that take long to make."""
    return Sprites(model, cache)


def routes(registry: Callable[[], Registry]) -> list[BaseRoute]:
    """This module's routes; `registry` returns the process's single registry."""

    def get_sprites(model: LoadedModel, _query: Query) -> Response:
        jpeg = sprites(model, registry().settings.workspace / "cache").get()
        if jpeg is None:
            return JSONResponse({"making": True}, status_code=202, headers=HEADERS)
        return Response(jpeg, media_type="image/jpeg", headers=HEADERS)

    return [
        Route(f"{BASE}/sprites", answering(registry, get_sprites)),
        Route(f"{BASE}/slices/{{row}}.png", answering(registry, _get_slice, row=(0, MOST_ROWS))),
    ]


def _get_slice(model: LoadedModel, query: Query, row: int) -> Response:
    if row >= len(model.codes):
        raise UserError(f"There is no slice {row}; the model has {len(model.codes)}.")
    if query.choice("kind", KINDS, KINDS[0]) == "reconstruction":
        image, real = model.decode(model.codes[row][None])[0], False
    else:
        image, real = model.image(row)
    return Response(png(image), media_type="image/png", headers=HEADERS | {"X-Generated": str(int(not real))})


def _atlas(model: LoadedModel) -> bytes:
    count = len(model.codes)
    lines = -(-count // SPRITES_A_LINE)
    sheet = np.zeros((lines, SPRITE, SPRITES_A_LINE, SPRITE), np.uint8)
    for start in range(0, count, SPRITES_A_LINE):
        rows = np.arange(start, min(start + SPRITES_A_LINE, count))
        images, _ = model.images(rows)
        small = images.reshape(len(rows), SPRITE, 2, SPRITE, 2).mean((2, 4))
        sheet[rows // SPRITES_A_LINE, :, rows % SPRITES_A_LINE] = grey(small)
    stream = io.BytesIO()
    Image.fromarray(sheet.reshape(lines * SPRITE, SPRITES_A_LINE * SPRITE)).save(stream, "JPEG", quality=85)
    return stream.getvalue()
