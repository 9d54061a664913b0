"""Responses that middleware gives instead of the app: a sentence, or the page that asks for the sign-in.

The page is a plain document, so that showing it to a stranger costs the server no session.
"""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from lungvae_core import NOTICE
from lungvae_core.serving.workspace.access import LOGOUT, Person

POLICY = 1008  # close code of RFC 6455
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lung lesion explorer: sign in</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }}
main {{ max-width: 40rem; margin: 15vh auto 0; padding: 0 1.5rem }}
.notice {{ border-left: 0.3rem solid #b58900; padding: 0.2rem 1rem }}
a {{ color: light-dark(#0067a3, #7cc6f0) }}
a.main {{ display: inline-block; padding: 0.5rem 1.5rem; border-radius: 0.5rem; text-decoration: none;
  background: #0067a3; color: #fff }}
</style>
</head>
<body>
<main>
<h1>Lung lesion explorer</h1>
<p class="notice">{notice}</p>
<p>{reason}</p>
<p><a class="main" href="{address}">Sign in</a></p>
{leave}
</main>
</body>
</html>
"""
_LEAVE = f'<p><a href="{LOGOUT}">Sign out, to sign in as somebody else</a></p>'


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


def sign_in_page(person: Person, address: str) -> HTMLResponse:
    """The page for somebody who has no access, with the reason; `address` starts the sign-in."""
    text = _PAGE.format(
        notice=escape(NOTICE),
        reason=escape(person.reason),
        address=escape(address),
        leave=_LEAVE if person.name else "",
    )
    return HTMLResponse(text, headers={"cache-control": "no-store"})
