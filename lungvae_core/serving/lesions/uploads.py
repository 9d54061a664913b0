"""Uploaded images while they are in use: only in this process's memory, under a name nobody can guess.

GET /api/uploads/{token}/{i}.hu    int16 little-endian (rows, columns), HU of one slice
GET /api/uploads/{token}/{i}.mask  uint8 (rows, columns), 1 inside the lesion's outline; 204 without one

Nothing is written to the disk, to an address that a person sees or to a log. The most recently used uploads
are kept, up to a number of bytes; a dropped one is read again from the browser's upload.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lungvae_core.caches import BoundedCache
from lungvae_core.data.series import Series
from lungvae_core.errors import UserError
from lungvae_core.parameters import integer
from lungvae_core.serving.models.answers import MOST_ROWS, refusal, respond

MOST_BYTES = 2**30  # of uploads with their masks
MOST_UPLOAD_MB = 400  # of one file: 300 slices of 512x512, zipped or as NIfTI, with room
GONE = "This upload is no longer in memory. Choose the file again."
_HEADERS = {"Cache-Control": "no-store", "X-Generated": "0"}


@dataclass
class Upload:
    """An upload in memory, and the outline that was chosen for its lesion."""

    series: Series
    marked: np.ndarray | None = None  # (slices, rows, columns) bool, all lesions of a mask file
    mask: np.ndarray | None = None  # (slices, rows, columns) bool, the one that is looked at
    version: int = 0  # grows with each change of the mask

    def outline(self, mask: np.ndarray | None) -> None:
        """Choose another outline, or none."""
        self.mask, self.version = mask, self.version + 1


class Uploads:
    """The uploads of one process, within a number of bytes; may be called from many threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        # An upload's two masks come later, and have half its bytes each.
        self._kept: BoundedCache[Upload] = BoundedCache(most_bytes, size=lambda one: 2 * one.series.hu.nbytes)

    def put(self, series: Series) -> str:
        """Keep an upload and return its token. Others may be dropped, the least recently used first."""
        token = secrets.token_urlsafe(24)
        self._kept.put(token, Upload(series))
        return token

    def get(self, token: str) -> Upload | None:
        """An upload by its token; None if there is none or it was dropped."""
        return self._kept.peek(token)

    def drop(self, token: str) -> None:
        """Forget an upload."""
        self._kept.drop(token)


KEPT = Uploads()


def source(token: str) -> str:
    """The address below which an upload's slices are served."""
    return f"/api/uploads/{token}"


def stay_in_memory() -> None:
    """Make the server keep uploads in memory, up to the largest allowed size.

    Starlette spools what is larger than a megabyte to a temporary file, and a patient's images must not
    touch the disk.
    """
    MultiPartParser.spool_max_size = max(MultiPartParser.spool_max_size, (MOST_UPLOAD_MB + 16) * 2**20)


def routes(uploads: Uploads = KEPT) -> list[BaseRoute]:
    """This module's routes."""
    stay_in_memory()

    def answer(make: Callable[[Upload, int], Response]) -> Callable[[Request], Response]:
        # A plain function, not a coroutine: Starlette runs it in a thread, beside the event loop.
        def endpoint(request: Request) -> Response:
            upload = uploads.get(request.path_params["token"])
            if upload is None:
                return JSONResponse({"error": GONE}, status_code=404, headers=_HEADERS)
            try:
                index = integer("index", request.path_params["index"], 0, MOST_ROWS)
            except UserError as error:
                return refusal(error)
            if index >= len(upload.series.hu):
                text = f"There is no slice {index} in this upload; it has {len(upload.series.hu)}."
                return JSONResponse({"error": text}, status_code=404, headers=_HEADERS)
            return make(upload, index)

        return endpoint

    base = "/api/uploads/{token}/{index}"
    return [Route(f"{base}.hu", answer(_hu)), Route(f"{base}.mask", answer(_mask))]


def _hu(upload: Upload, index: int) -> Response:
    return respond(upload.series.hu[index].astype("<i2").tobytes(), generated=False)


def _mask(upload: Upload, index: int) -> Response:
    mask = upload.mask
    if mask is None or not mask[index].any():
        return Response(status_code=204, headers=_HEADERS)
    return respond(mask[index].astype(np.uint8).tobytes(), generated=False)
