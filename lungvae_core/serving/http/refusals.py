"""Responses that middleware gives instead of the app: a sentence."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

POLICY = 1008  # close code of RFC 6455


async def refuse(scope: Scope, receive: Receive, send: Send, status: int, reason: str) -> None:
    """Respond with a sentence; a WebSocket is closed before it is accepted, which clients see as HTTP 403."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY, "reason": reason})
        return
    headers = {"cache-control": "no-store"}
    answer: Response
    if scope["path"].startswith("/api/"):
        answer = JSONResponse({"error": reason}, status, headers)
    else:
        answer = PlainTextResponse(reason, status, headers)
    await answer(scope, receive, send)
