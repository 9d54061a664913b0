"""An app that answers to all, behind the middleware, and the cookie of somebody who has signed in."""

from __future__ import annotations

import contextlib

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from lungvae_core.serving.http.security import stack
from lungvae_core.serving.workspace.access import Access, SignIn
from tests.serving.workspace.test_access import cookies

LOCAL = ("127.0.0.1", 5)


SIGN_IN = SignIn(
    redirect_uri="https://lungs.example.org/oauth2callback",
    cookie_secret="s" * 40,
    client_id="id",
    client_secret="secret",
    server_metadata_url="https://id.example.org/x",
)


async def anything(request: Request) -> Response:
    body = await request.body()
    headers = {
        "cache-control": "public, max-age=9",
        "set-cookie": "_streamlit_user=x; HttpOnly; Max-Age=2592000; Path=/",
    }
    return PlainTextResponse(str(len(body)), headers=headers)


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await websocket.send_text(await websocket.receive_text())


def client(access: Access, *, host: str = "localhost:8501", peer: tuple[str, int] = LOCAL) -> TestClient:
    app = Starlette(
        routes=[
            Route("/{path:path}", anything, methods=["GET", "PUT", "POST"]),
            WebSocketRoute("/{path:path}", echo),
        ],
        middleware=stack(access),
    )
    return TestClient(app, base_url=f"http://{host}", client=peer)


def signed(email: str) -> dict[str, str]:
    """The cookie of somebody who has signed in."""
    return cookies(sub=email, email=email, email_verified=True)


async def echo_bytes(websocket: WebSocket) -> None:
    """Send back the bytes of each message, or "text" for one of text."""
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        await websocket.send_bytes(message.get("bytes") or b"text")
