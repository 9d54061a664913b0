"""Uploaded images while they are looked at: in this process's memory only, under a name nobody can guess.

GET /api/uploads/{token}/{i}.hu    int16 little-endian (rows, columns), HU of one slice
GET /api/uploads/{token}/{i}.mask  uint8 (rows, columns), 1 inside the lesion's outline; 204 where none is

Nothing is written to the disk, to an address that a person sees or to a log. The uploads used last are kept,
up to a number and a size; one that had to go is read again from the browser's own upload.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from lungvae_core.data.series import Series

MOST = 12
MOST_BYTES = 2**30
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

    @property
    def size(self) -> int:
        """Bytes in memory."""
        masks = sum(0 if mask is None else mask.nbytes for mask in (self.marked, self.mask))
        return self.series.hu.nbytes + masks


@dataclass
class Uploads:
    """The uploads of one process, those used last at the end; may be called from many threads."""

    most: int = MOST
    most_bytes: int = MOST_BYTES
    _kept: OrderedDict[str, Upload] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, series: Series) -> str:
        """Keep an upload; gives its token. Others may have to go, the one that was used longest ago first."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._kept[token] = Upload(series)
            self._make_room()
        return token

    def get(self, token: str) -> Upload | None:
        """An upload by its token; None where there is none or it had to go."""
        with self._lock:
            found = self._kept.get(token)
            if found is not None:
                self._kept.move_to_end(token)
            return found

    def drop(self, token: str) -> None:
        """Forget an upload."""
        with self._lock:
            self._kept.pop(token, None)

    def _make_room(self) -> None:
        while len(self._kept) > 1 and (
            len(self._kept) > self.most
            or sum(upload.size for upload in self._kept.values()) > self.most_bytes
        ):
            self._kept.popitem(last=False)


KEPT = Uploads()


def source(token: str) -> str:
    """The address below which an upload's slices are."""
    return f"/api/uploads/{token}"


def stay_in_memory() -> None:
    """Have the server take uploads up to their greatest size in memory.

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
            index = request.path_params["index"]
            if index >= len(upload.series.hu):
                text = f"There is no slice {index} in this upload; it has {len(upload.series.hu)}."
                return JSONResponse({"error": text}, status_code=404, headers=_HEADERS)
            return make(upload, index)

        return endpoint

    base = "/api/uploads/{token}/{index:int}"
    return [Route(f"{base}.hu", answer(_hu)), Route(f"{base}.mask", answer(_mask))]


def _hu(upload: Upload, index: int) -> Response:
    return _bytes(upload.series.hu[index].astype("<i2"))


def _mask(upload: Upload, index: int) -> Response:
    mask = upload.mask
    if mask is None or not mask[index].any():
        return Response(status_code=204, headers=_HEADERS)
    return _bytes(mask[index].astype(np.uint8))


def _bytes(values: np.ndarray) -> Response:
    return Response(values.tobytes(), media_type="application/octet-stream", headers=_HEADERS)
