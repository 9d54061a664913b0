"""The WebSocket of live decoding: each request gets one frame; `walks.live` describes both."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from lungvae_core.errors import UserError
from lungvae_core.serving.http.refusals import POLICY
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.walks.live import Session
from lungvae_core.serving.walks.live_batch import Decoder

_FACTS = re.compile(r'"facts"\s*:\s*true')
_TROUBLE = 1011  # close code of RFC 6455 for a fault of the server
_log = logging.getLogger(__name__)


@cache
def _decoder() -> Decoder:
    """The process's single decoder, shared by all connections."""
    return Decoder()


def _behind() -> None:
    """Let this thread compute only when no image needs its core."""
    if sys.platform == "linux":  # where priorities are per thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


@cache
def _beside() -> ThreadPoolExecutor:
    """Threads for facts, so that no image waits for them."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="live-facts", initializer=_behind)


def same_origin(websocket: WebSocket) -> bool:
    """Whether a page of this host is asking; programs that send no Origin, unlike browsers, may ask too."""
    origin = websocket.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == websocket.headers.get("host")


def live_route(registry: Callable[[], Registry]) -> WebSocketRoute:
    """/api/live/{model}, with the registry that `registry` returns."""

    async def live(websocket: WebSocket) -> None:
        if not same_origin(websocket):
            await websocket.close(POLICY, "another site's page")  # before accepting: HTTP 403
            return
        await websocket.accept()
        loop = asyncio.get_running_loop()
        try:
            name = websocket.path_params["model"]
            session = await run_in_threadpool(lambda: Session(registry().load(name)))
            while True:
                message = await websocket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                text = message.get("text")
                if text is None or len(text) > session.longest_message:
                    raise UserError("A request is JSON text of moderate length.")
                if _FACTS.search(text):
                    await websocket.send_text(await loop.run_in_executor(_beside(), session.facts, text))
                else:
                    await websocket.send_bytes(await asyncio.wrap_future(_decoder().ask(session, text)))
        except WebSocketDisconnect:
            pass
        except UserError as error:
            await _close(websocket, POLICY, str(error))
        except Exception:
            _log.exception("live decoding failed")
            await _close(websocket, _TROUBLE, "The model could not decode this; the log says why.")

    return WebSocketRoute("/api/live/{model}", live)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    # A close frame has room for 123 bytes.
    await websocket.close(code, reason.encode()[:120].decode(errors="ignore"))
