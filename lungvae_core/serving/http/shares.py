"""Limit how much of the server one person or one address may use at a time.

A page's WebSocket costs descriptors, sometimes a thread, and a session's memory. So WebSockets are counted
per person if people sign in, and always per address. Requests of people who have not signed in are counted
per address. The address is the one uvicorn reports: behind a trusted proxy, the client's
(`serving.http.sockets`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

from lungvae_core.serving.http.crowd import place
from lungvae_core.serving.http.refusals import refuse
from lungvae_core.serving.workspace.access import Access

SOCKETS_OF_PERSON = 60  # a tab has one or two
SOCKETS_OF_ADDRESS = 600  # a whole clinic may share one
REQUESTS_OF_STRANGERS = 64  # at a time, from one address
_FULL = "Too many pages of this server are open {where}. Close some, and reload this one."


class Shares:
    """ASGI middleware that refuses connections and requests beyond these limits."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app = app
        self.access = access
        self._held: Counter[tuple[str, str]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        person = self.access.person_of(scope)
        address = place(scope["client"][0] if scope.get("client") else "")
        if scope["type"] == "websocket":
            shares = [(("address", address), SOCKETS_OF_ADDRESS, "at your address")]
            if person.until is not None:
                shares.append((("person", person.name), SOCKETS_OF_PERSON, "in your name"))
        elif person.role is None:
            shares = [(("strangers", address), REQUESTS_OF_STRANGERS, "at your address")]
        else:
            shares = []
        for key, most, where in shares:
            if self._held[key] >= most:
                await refuse(scope, receive, send, 503, _FULL.format(where=where))
                return
        with self._holding([key for key, *_ in shares]):
            await self.app(scope, receive, send)

    @contextmanager
    def _holding(self, keys: list[tuple[str, str]]) -> Iterator[None]:
        self._held.update(keys)
        try:
            yield
        finally:
            for key in keys:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]
