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
from typing import Any

import numpy as np
from PIL import Image
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path
from lungvae_core.palette import grey
from lungvae_core.parameters import Query
from lungvae_core.serving.models.answers import BASE, HEADERS, MOST_ROWS, answering, kept, respond
from lungvae_core.serving.models.registry import LoadedModel, Registry

SPRITE = 32  # pixels per side
KINDS = ("slice", "reconstruction")
SHEET = 4096  # pixels across a sheet of images, which every browser supports


def file_of(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as a file of a kind that Pillow writes, with Pillow's options."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png(image: np.ndarray) -> bytes:
    """An image (rows, columns), uint8 or float in 0..1, as a greyscale PNG."""
    grey_levels = image if image.dtype == np.uint8 else grey(image)
    return file_of(Image.fromarray(grey_levels), "PNG", compress_level=1)


def sheet(
    rows: np.ndarray,
    side: int,
    read: Callable[[np.ndarray], np.ndarray],
    on_line: Callable[[int], None] = lambda _: None,
) -> Image.Image:
    """Images of rows at `side` pixels, as many per line as fit SHEET pixels.

    `read` returns images (M, 64, 64) in 0..1 of M rows; `on_line` gets M after each line.
    """
    across, factor = SHEET // side, 64 // side
    lines = -(-len(rows) // across)
    levels = np.zeros((lines, side, across, side), np.uint8)
    for line in range(lines):
        part = rows[line * across : (line + 1) * across]
        small = read(part).reshape(len(part), side, factor, side, factor).mean((2, 4))
        levels[line, :, : len(part)] = grey(small).transpose(1, 0, 2)
        on_line(len(part))
    return Image.fromarray(levels.reshape(lines * side, SHEET))


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
            if self._jpeg is None:
                self._jpeg = _atlas(self._model) if self._model.real.any() else self._read()
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
                lines = -(-len(self._model.codes) // (SHEET // SPRITE))
                try:
                    with Image.open(io.BytesIO(content)) as picture:
                        if picture.size == (SHEET, lines * SPRITE):
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
        return respond(jpeg, "image/jpeg")

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
    return respond(png(image), "image/png", generated=not real)


def _atlas(model: LoadedModel) -> bytes:
    picture = sheet(np.arange(len(model.codes)), SPRITE, lambda rows: model.images(rows)[0])
    return file_of(picture, "JPEG", quality=85)
