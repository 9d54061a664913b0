"""The server's sockets, with time limits before and after a request reaches the app.

uvicorn waits forever for the head of a request, for a body, and for a client that does not read. `Http` and
`Live` add limits to its two protocols: a head must arrive within `HEAD_SECONDS`, any other transfer must move
at least `LEAST_BYTES` in every `STALL_SECONDS`, and a WebSocket may send at most `MOST_FRAMES` frames in
`FRAME_SECONDS`. `serving.crowd` counts connections; the app calls `vouch` for those that are not strangers'.

Behind a reverse proxy all connections come from the proxy's address, which is not counted. The clients behind
it are counted in `serving.shares` by X-Forwarded-For, which uvicorn trusts only from the proxies in
LUNGVAE_PROXIES.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import struct
import termios
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from lungvae_core.serving.http.crowd import PROXIES, Crowd, abort, networks

HEAD_SECONDS = 10.0  # for a request's head, from the connection's start or the head's first byte
STALL_SECONDS = 20.0  # in which at least LEAST_BYTES of a body or a response must move
LEAST_BYTES = 10_000
LINGER_SECONDS = 2.0  # for a client to read a response that was sent before all of its body arrived
MOST_HEAD = 2**16  # bytes; a session's cookies alone may have 32 kB
MOST_MESSAGE = 2**22  # bytes of a WebSocket's message; uploads are HTTP
MOST_FRAMES, FRAME_SECONDS = 5_000, 10.0  # a dragged slider sends 60 a second
MOST_PONGS = 100  # left unread by a client
PING_SECONDS = 20.0
DESCRIPTORS = 2**16  # that the process requests; the system may grant fewer
RESERVED = 512  # descriptors for files, databases and jobs
EACH_SESSION = 4  # descriptors that a page's WebSocket costs: itself, and Streamlit's loop for its scripts
_CONNECTION = "lungvae.connection"  # its key in a scope's state
_PIECE = 2**14  # bytes of a WebSocket to parse before its frames are counted


class Progress:
    """Checks that a transfer keeps moving: `LEAST_BYTES` in every `STALL_SECONDS`."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._mark = 0

    def stalled(self, now: float, amount: int | None) -> bool:
        """Whether `amount`, the bytes to transfer, moves too slowly; None means no transfer is pending."""
        if amount is None:
            self._since = None
        elif self._since is None or abs(amount - self._mark) >= LEAST_BYTES:
            self._since, self._mark = now, amount
        else:
            return now - self._since > STALL_SECONDS
        return False


class Http(H11Protocol):
    """uvicorn's HTTP/1.1 with a limit on every wait for the client."""

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, _CONNECTION: (crowd, self)}
        self.ws_protocol_class = partial(Live, crowd=crowd)  # type: ignore[assignment]
        self._crowd = crowd
        self._received = 0
        self._deadline: float | None = None  # for the head to arrive
        self._body, self._reader = Progress(), Progress()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._deadline = time.monotonic() + HEAD_SECONDS
        self._crowd.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived: of a head, of a body, or of the next request."""
        self._received += len(data)
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if not answered:
            self._deadline = None
        elif self._deadline is None:
            self._deadline = time.monotonic() + HEAD_SECONDS

    def on_response_complete(self) -> None:
        """A response was sent; the rest of a body that nobody reads is not awaited for long."""
        unfinished = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unfinished:
            self._deadline = time.monotonic() + LINGER_SECONDS

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on the connection is a WebSocket, which counts itself."""
        self._crowd.leave(self)
        super().handle_websocket_upgrade(event)

    def overdue(self, now: float) -> bool:
        """Whether the connection has waited too long for its client."""
        if self._deadline is not None and now > self._deadline:
            return True
        wants_body = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        return self._body.stalled(now, self._received if wants_body else None) or self._reader.stalled(
            now, _unread(self.transport, self.flow.write_paused)
        )


class Live(WebSocketsSansIOProtocol):
    """uvicorn's WebSockets with limits on every wait for the client and on floods of frames."""

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, _CONNECTION: (crowd, self)}
        self._crowd = crowd
        self._deadline = time.monotonic() + HEAD_SECONDS  # for the handshake
        self._reader = Progress()
        self.close_timeout = LINGER_SECONDS
        self._frames, self._since = 0, time.monotonic()
        self._pongs = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake begins."""
        super().connection_made(transport)
        self._crowd.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived; parse them in pieces, so that a flood is noticed before all of it is read."""
        for at in range(0, len(data), _PIECE):
            super().data_received(data[at : at + _PIECE])
            if self._flooded():
                abort(self.transport)
                return

    def handle_events(self) -> None:
        """Count the frames that arrived before they are handled."""
        self._frames += sum(isinstance(event, Frame) for event in self.conn.events)
        super().handle_events()

    def handle_ping(self) -> None:
        """Answer a ping, and count the answers that the client leaves unread."""
        self._pongs = 0 if self.writable.is_set() else self._pongs + 1
        super().handle_ping()

    def overdue(self, now: float) -> bool:
        """Whether the connection has waited too long for its client."""
        if not self.handshake_complete and now > self._deadline:
            return True
        if now - self._since > FRAME_SECONDS:
            self._since, self._frames = now, 0
        return self._reader.stalled(now, _unread(self.transport, not self.writable.is_set()))

    def _flooded(self) -> bool:
        return max(self._frames, len(self.frames)) > MOST_FRAMES or self._pongs > MOST_PONGS


def vouch(scope: Scope) -> None:
    """Mark the request's connection as not a stranger's: the client has shown that it may be here."""
    crowd, connection = (scope.get("state") or {}).get(_CONNECTION, (None, None))
    if crowd is not None:
        crowd.vouch(connection)


def proxies(environment: Mapping[str, str]) -> str:
    """The proxies in LUNGVAE_PROXIES, as addresses and networks; UserError for anything else."""
    named = environment.get("LUNGVAE_PROXIES") or PROXIES
    networks(named)
    return named


def server(app: ASGIApp, address: str, port: int, *, own_logs: bool = False) -> uvicorn.Server:
    """A server for an app, to `run` until a signal; `own_logs` means that the app has set up logging."""
    trusted = proxies(os.environ)
    crowd = Crowd((_raise_descriptors() - RESERVED) // EACH_SESSION, proxies=trusted)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=address,
            port=port,
            http=partial(Http, crowd=crowd),  # type: ignore[arg-type]
            loop="asyncio",
            ws="websockets-sansio",
            ws_max_size=MOST_MESSAGE,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=MOST_HEAD,
            forwarded_allow_ips=trusted,
            access_log=False,
            log_config=None if own_logs else uvicorn.config.LOGGING_CONFIG,
            log_level="warning",
            use_colors=False,
            server_header=False,
        )
    )


def _unread(transport: asyncio.Transport, paused: bool) -> int | None:
    """Bytes that a client has not read, including the system's buffer; None while they block nothing.

    That buffer holds megabytes, and the transport notices only when a large part of it has been sent.
    """
    waiting = transport.get_write_buffer_size()
    if not waiting or not (paused or transport.is_closing()):
        return None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sent = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += struct.unpack("i", sent)[0]
    return waiting


def _raise_descriptors() -> int:
    """Raise the limit on descriptors as far as the system allows, up to DESCRIPTORS; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
