"""The bounds of the server's sockets: what strangers do with one is ended, and nobody waits for it."""

from __future__ import annotations

import sys
import threading
import time
import urllib.request

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from lungvae_core.errors import UserError
from lungvae_core.serving.http import crowd, sockets
from tests.running import free_port
from tests.serving.http.served import echo_bytes
from tests.strangers import DEEDS, DEEDS_OF_GUESTS, Stranger

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at sockets as Linux shows them")


async def nothing(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("nothing")


async def large(_request: Request) -> Response:
    return PlainTextResponse("x" * 20_000_000)


async def much(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_bytes(bytes(1_000_000))


async def bye(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


APP = Starlette(
    routes=[
        Route("/large", large),
        WebSocketRoute("/echo", echo_bytes),
        WebSocketRoute("/much", much),
        WebSocketRoute("/bye", bye),
        Route("/{path:path}", nothing, methods=["GET", "PUT", "POST"]),
    ]
)


@pytest.fixture(scope="module")
def running():
    """(port, server): a server whose limits are short, with an app that accepts everything."""
    with pytest.MonkeyPatch.context() as patch:
        short = {"HEAD_SECONDS": 0.4, "STALL_SECONDS": 0.5, "LINGER_SECONDS": 0.2}
        for name, value in {**short, "PING_SECONDS": 0.5}.items():
            patch.setattr(sockets, name, value)
        patch.setattr(crowd, "SWEEP_SECONDS", 0.05)
        port = free_port()
        server = sockets.server(APP, "127.0.0.1", port)
        server.config.timeout_keep_alive = 1
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield port, server
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize("deed", [*DEEDS, *DEEDS_OF_GUESTS])
@pytest.mark.long
def test_whatever_is_done_with_a_socket_has_an_end(running, deed):
    port, server = running
    first, again = (DEEDS | DEEDS_OF_GUESTS)[deed]
    stranger = Stranger(port, first, again)
    until = time.monotonic() + 20
    state = server.server_state
    while not (stranger.ended and not state.connections and not state.tasks) and time.monotonic() < until:
        stranger.go_on()
        time.sleep(0.05)
    assert stranger.ended
    assert not state.connections
    assert not state.tasks  # nothing waits for it any more either
    stranger.go(abruptly=False)


@pytest.mark.long
def test_whoever_is_slow_but_goes_on_is_served(running):
    port, _ = running
    body = bytes(120_000)
    head = f"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    slow = Stranger(port, head, b"")
    for at in range(0, len(body), 12_000):
        time.sleep(0.1)  # in all longer than STALL_SECONDS
        slow.socket.send(body[at : at + 12_000])
    slow.socket.settimeout(10)
    assert b"200 OK" in slow.socket.recv(1000)
    slow.go(abruptly=False)
    reading = Stranger(port, b"GET /large HTTP/1.0\r\n\r\n", b"")
    reading.socket.settimeout(10)
    read, start = 0, time.monotonic()
    while piece := reading.socket.recv(2**20):
        read += len(piece)
        if time.monotonic() - start < 2:
            time.sleep(0.02)
    assert read > 20_000_000


def test_only_a_trusted_proxy_says_whose_address_it_is(monkeypatch):
    seen = []

    async def app(scope, _receive, send):
        seen.append(scope["client"][0])
        await PlainTextResponse("")(scope, _receive, send)

    for proxies, client in (("", "203.0.113.9"), ("192.0.2.0/24", "127.0.0.1")):
        monkeypatch.setenv("LUNGVAE_PROXIES", proxies)
        port = free_port()
        server = sockets.server(app, "127.0.0.1", port)
        server.config.lifespan = "off"
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/")
        request.add_header("X-Forwarded-For", "198.51.100.1, 203.0.113.9")  # the last is the proxy's own word
        urllib.request.urlopen(request).close()
        server.should_exit = True
        thread.join(20)
        assert seen.pop() == client
    with pytest.raises(UserError, match="neither an address nor a network"):
        sockets.proxies({"LUNGVAE_PROXIES": "proxy.example.org"})
