"""Decoding while a slider is dragged: a WebSocket that answers each wish with one small binary frame.

A rerun of a page per move cannot keep up, and an HTTP response leaves in two writes that Nagle's algorithm
and delayed acknowledgements hold apart by 40 ms; a WebSocket frame is one write.

The browser sends JSON text, one wish at a time:

    {"id": 7, "start": "row:12", "edits": [[3, 0.5]], "move": [5, 1.25]}

`start` is a name in `LoadedModel.starts`, "row:N", "draw:SEED" (from the prior), or a code itself (see
`code_name`); `edits` are dimensions set to values (see `explore.traversal.edited`), and `move` then takes one
dimension to a value along `Latent.path`, which on the simplex rescales the others. The answer is
little-endian and has the whole code, so that every slider follows:

    uint32 id, uint32 K, float32 score (NaN without a classifier), float32 code[K],
    uint8 image[64 * 64] of the model's window, int8 difference[64 * 64] to the decoded start, where
    +-127 is +-DIFFERENCE_FULL of the window's width (what lies beyond is clipped)

A bad wish closes the connection with code 1008 and the reason in words.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from urllib.parse import urlsplit

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from lungvae_core.errors import UserError
from lungvae_core.explore.traversal import edited
from lungvae_core.serving.registry import LoadedModel, Registry

DIFFERENCE_FULL = 0.25  # share of the window's width at which a difference is drawn in full colour
LARGEST = 1000.0  # no latent value of any use is larger, and float32 stays finite

_POLICY, _TROUBLE = 1008, 1011  # close codes of RFC 6455: the client's fault, and ours
_log = logging.getLogger(__name__)

_Edit = tuple[int, float]


class Wish(BaseModel):
    """What the browser asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: int = Field(ge=0, lt=2**32)
    start: str = Field(max_length=24_000)  # a code of 4,096 dimensions, the most a model has
    edits: tuple[_Edit, ...] = ()
    move: _Edit | None = None


class Session:
    """One connection's view of a model; it keeps the start that it decoded last."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._start = lru_cache(maxsize=4)(self._decode_start)

    @property
    def longest_message(self) -> int:
        """Characters that the longest reasonable wish has."""
        return 200 + 50 * self.model.entry.dimensions

    def answer(self, text: str) -> bytes:
        """The frame for a wish in JSON; UserError says what is wrong with it."""
        try:
            wish = Wish.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(f"A wish was not understood: {place} {first['msg']}.") from error
        for dimension, value in (*wish.edits, *([wish.move] if wish.move else [])):
            self._check(dimension, value)
        start, at_start = self._start(wish.start)
        code = edited(self.model.latent, start, dict(wish.edits))
        if wish.move is not None:
            dimension, value = wish.move
            code = self.model.latent.path(code, dimension, np.array([value], np.float32))[0]
        image = self.model.decode(code[None])[0]
        scores = self.model.score(code[None])
        return frame(wish.id, code, float("nan") if scores is None else float(scores[0]), image, at_start)

    def _decode_start(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        start = start_code(self.model, name)
        return start, self.model.decode(start[None])[0]

    def _check(self, dimension: int, value: float) -> None:
        count = self.model.entry.dimensions
        if not 0 <= dimension < count:
            raise UserError(f"There is no dimension {dimension}; they are 0 to {count - 1}.")
        low, high = (0.0, 1.0) if self.model.entry.prior == "dirichlet" else (-LARGEST, LARGEST)
        if not low <= value <= high:
            raise UserError(f"{value:g} lies outside {low:g} to {high:g}.")


def code_name(code: np.ndarray) -> str:
    """The name of a start that is a code (K,) itself, as an uploaded lesion's."""
    return "code:" + base64.urlsafe_b64encode(np.asarray(code, "<f4").tobytes()).decode()


def start_code(model: LoadedModel, name: str) -> np.ndarray:
    """The code (K,) of a start: one of `model.starts`, "row:N" of its table, "draw:SEED", a `code_name`."""
    if name in model.starts:
        return model.starts[name]
    kind, _, rest = name.partition(":")
    number = int(rest) if rest.isascii() and rest.isdigit() and len(rest) < 10 else -1
    if kind == "row" and 0 <= number < len(model.codes):
        return model.codes[number]
    if kind == "draw" and number >= 0:
        return model.latent.draw(number)
    if kind == "code":
        try:
            code = np.frombuffer(base64.urlsafe_b64decode(rest), "<f4")
        except ValueError:
            code = np.empty(0)
        if len(code) == model.entry.dimensions and (np.abs(code) <= LARGEST).all():  # NaN is neither
            return model.latent.valid(code)
    raise UserError(f"There is no start {name[:40]!r} in this model.")


def frame(identity: int, code: np.ndarray, score: float, image: np.ndarray, at_start: np.ndarray) -> bytes:
    """The binary answer for a code (K,) and images (64, 64) in 0..1; its layout is in the module's text."""
    difference = np.clip((image - at_start) / DIFFERENCE_FULL, -1, 1)
    return b"".join(
        (
            struct.pack("<IIf", identity, len(code), score),
            np.asarray(code, "<f4").tobytes(),
            np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).tobytes(),
            np.rint(difference * 127).astype(np.int8).tobytes(),
        )
    )


@cache
def _workers() -> ThreadPoolExecutor:
    """Threads for decoding. One core each: a 64x64 image is too small to be worth sharing among cores."""
    return ThreadPoolExecutor(
        max_workers=max(1, (os.cpu_count() or 2) - 1), thread_name_prefix="live", initializer=_one_core
    )


def _one_core() -> None:
    default = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.get_num_threads()  # this thread takes up its own setting
    # PyTorch takes a thread's setting as the default of threads that start later; a passing one puts it back.
    restore = threading.Thread(target=torch.set_num_threads, args=(default,))
    restore.start()
    restore.join()


def same_origin(websocket: WebSocket) -> bool:
    """Whether a page of this very host asks; other programs than browsers send no Origin and may ask too."""
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host")


def live_route(registry: Callable[[], Registry]) -> WebSocketRoute:
    """/api/live/{model}, on the registry that `registry` gives."""

    async def live(websocket: WebSocket) -> None:
        if not same_origin(websocket):
            await websocket.close(_POLICY, "another site's page")  # before accepting: HTTP 403
            return
        await websocket.accept()
        loop = asyncio.get_running_loop()
        try:
            model = await loop.run_in_executor(_workers(), registry().load, websocket.path_params["model"])
            session = Session(model)
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                if text is None or len(text) > session.longest_message:
                    raise UserError("A wish is JSON text of moderate length.")
                await websocket.send_bytes(await loop.run_in_executor(_workers(), session.answer, text))
        except WebSocketDisconnect:
            pass
        except UserError as error:
            await _close(websocket, _POLICY, str(error))
        except Exception:
            _log.exception("live decoding failed")
            await _close(websocket, _TROUBLE, "The model could not decode this; the log says why.")

    return WebSocketRoute("/api/live/{model}", live)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    # A close frame has room for 123 bytes.
    await websocket.close(code, reason.encode()[:120].decode(errors="ignore"))
