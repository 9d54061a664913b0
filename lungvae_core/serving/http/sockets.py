"""The server's sockets: how long one may take, before and after the app is asked.

uvicorn waits without end for the head of a request, for a body, and for a client that does not read. `Http`
and `Live`, its own two protocols, are bounded here: a head has to be there within `HEAD_SECONDS`, whatever
else is awaited has to move by `LEAST_BYTES` in every `STALL_SECONDS`, and a WebSocket sends no more than
`MOST_FRAMES` frames in `FRAME_SECONDS`. `serving.crowd` counts them; the app says with `vouch` whose
connection is no stranger's.

Behind a reverse proxy all connections come from the proxy's address, which is not counted. Who is behind it
is counted in `serving.shares`, by X-Forwarded-For, which uvicorn believes of the proxies in LUNGVAE_PROXIES
alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
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

HEAD_SECONDS = 10.0  # for a request's head, from the connection's beginning or the head's first byte
STALL_SECONDS = 20.0  # in which at least LEAST_BYTES of a body or an answer move
LEAST_BYTES = 10_000
LINGER_SECONDS = 2.0  # in which a client may take an answer that was given before all of its body came
MOST_HEAD = 2**16  # bytes; a session's cookies alone may have 32 kB
MOST_MESSAGE = 2**22  # bytes of a WebSocket's message; uploads are HTTP
MOST_FRAMES, FRAME_SECONDS = 5_000, 10.0  # a dragged slider sends 60 a second
MOST_PONGS = 100  # that a client leaves unread
PING_SECONDS = 20.0
DESCRIPTORS = 2**16  # what the process asks for; the system may give less
RESERVED = 512  # descriptors for files, databases and jobs
EACH_SESSION = 4  # descriptors that a page's WebSocket costs: itself, and Streamlit's loop for its scripts
_CONNECTION = "lungvae.connection"  # where a scope's state has it
_PIECE = 2**14  # bytes of a WebSocket that are parsed before its frames are counted


class Progress:
    """Whether what is awaited moves: `LEAST_BYTES` in every `STALL_SECONDS`."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._mark = 0

    def stalled(self, now: float, amount: int | None) -> bool:
        """Of an amount of bytes that should move, up or down; None while nothing is awaited."""
        if amount is None:
            self._since = None
        elif self._since is None or abs(amount - self._mark) >= LEAST_BYTES:
            self._since, self._mark = now, amount
        else:
            return now - self._since > STALL_SECONDS
        return False


class Http(H11Protocol):
    """uvicorn's HTTP/1.1 with an end to every wait for the client."""

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, _CONNECTION: (crowd, self)}
        self.ws_protocol_class = partial(Live, crowd=crowd)  # type: ignore[assignment]
        self._crowd = crowd
        self._received = 0
        self._deadline: float | None = None  # by which the head has to be there
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
        """Bytes came: of a head, of a body, or of the next request."""
        self._received += len(data)
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if not answered:
            self._deadline = None
        elif self._deadline is None:
            self._deadline = time.monotonic() + HEAD_SECONDS

    def on_response_complete(self) -> None:
        """An answer was given; of a request whose body nobody wants the rest is not awaited for long."""
        unfinished = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unfinished:
            self._deadline = time.monotonic() + LINGER_SECONDS

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on the connection is a WebSocket's, which counts itself."""
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
    """uvicorn's WebSockets with an end to every wait for the client, and to floods of frames."""

    def __init__(self, *arguments: Any, crowd: Crowd, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.app_state = {**self.app_state, _CONNECTION: (crowd, self)}
        self._crowd = crowd
        self._deadline = time.monotonic() + HEAD_SECONDS  # by which the handshake has to be done
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
        """Bytes came; they are parsed in pieces, so that a flood is seen before all of it is read."""
        for at in range(0, len(data), _PIECE):
            super().data_received(data[at : at + _PIECE])
            if self._flooded():
                abort(self.transport)
                return

    def handle_events(self) -> None:
        """Count the frames that came before they are worked on."""
        self._frames += sum(isinstance(event, Frame) for event in self.conn.events)
        super().handle_events()

    def handle_ping(self) -> None:
        """Answer a ping; of a client that reads none of the answers no more is taken."""
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
    """Whoever asks has shown a right to be here: the request's connection is no stranger's."""
    crowd, connection = (scope.get("state") or {}).get(_CONNECTION, (None, None))
    if crowd is not None:
        crowd.vouch(connection)


def proxies(environment: Mapping[str, str]) -> str:
    """The proxies in LUNGVAE_PROXIES, addresses and networks; UserError for what is neither."""
    named = environment.get("LUNGVAE_PROXIES") or PROXIES
    networks(named)
    return named


def server(app: ASGIApp, address: str, port: int, *, own_logs: bool = False) -> uvicorn.Server:
    """A server of an app, to `run` until a signal; `own_logs` says that the app has set up how it logs."""
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
    """Bytes that a client has not taken, the system's own buffer included; None while they hold nothing up.

    That buffer has megabytes, and the transport hears of it only when a good part has gone.
    """
    waiting = transport.get_write_buffer_size()
    if not waiting or not (paused or transport.is_closing()):
        return None
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import fcntl
        import termios

        sent = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        waiting += struct.unpack("i", sent)[0]
    return waiting


def _raise_descriptors() -> int:
    """Ask the system for as many descriptors as may be had, up to DESCRIPTORS; gives how many there are."""
    try:
        import resource
    except ImportError:  # Windows, where descriptors are not counted so
        return DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
