"""Tell the pages where the server is, so that opening a page by its address causes no failed requests.

Opened at /map, Streamlit's front end first looks for its server below /map/ and gets 404 before it tries the
root. Each 404 is an error in the browser's console. The front end skips this search if `window.__streamlit`
names the server, so this module adds a script to the page that sets it.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCRIPT = b"<script>window.__streamlit = { BACKEND_BASE_URL: location.origin + '/' }</script>"


class NameTheServer:
    """ASGI middleware that adds the script to the head of every HTML document."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not wants_document(scope):
            await self.app(scope, receive, send)
            return
        # The document is modified here, so it must arrive uncompressed and complete, not as "not modified".
        dropped = (b"accept-encoding", b"if-none-match", b"if-modified-since")
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in dropped]}
        start: Message | None = None
        body = b""

        async def forward(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
            if start is None or not _is_html(start):
                await send(message)
                return
            body += message.get("body", b"")
            if message is start or message.get("more_body"):
                return
            changed = body.replace(b"<head>", b"<head>" + SCRIPT, 1)
            headers = MutableHeaders(scope=start)
            headers["content-length"] = str(len(changed))
            del headers["etag"], headers["last-modified"]
            await send(start)
            await send({"type": "http.response.body", "body": changed})

        await self.app(scope, receive, forward)


def wants_document(scope: Scope) -> bool:
    """Whether a browser requests a page rather than a part of one."""
    return "text/html" in Headers(scope=scope).get("accept", "")


def _is_html(start: Message) -> bool:
    return Headers(raw=start["headers"]).get("content-type", "").startswith("text/html")
