"""ASGI middleware in front of every route and of Streamlit: headers, hosts, origins, sizes, and the sign-in.

`Headers` adds headers to every response that forbid loading anything from elsewhere and framing the page.
`Guard` refuses requests for another host's name, from another site's page, of excessive size, and, if no
sign-in is set up, from another machine. `SignedIn` lets only signed-in people past the sign-in page, before
Streamlit accepts their socket. It closes their connections when their session ends, and records both in the
audit log. `Shares` limits what each person or address holds; `NoteUploads` records uploads in the audit log.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers as HeaderMap
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungvae_core.errors import UserError
from lungvae_core.serving.http.frontpage import wants_document
from lungvae_core.serving.http.refusals import POLICY, refuse, sign_in_page
from lungvae_core.serving.http.shares import Shares
from lungvae_core.serving.http.sockets import vouch
from lungvae_core.serving.lesions.uploads import MOST_UPLOAD_MB
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import CALLBACK, COOKIE, LOGOUT, Access, Person, is_loopback
from lungvae_core.serving.workspace.settings import Settings

STREAM = "/_stcore/stream"  # Streamlit's WebSocket: its pages
UPLOAD = "/_stcore/upload_file"
# For monitoring, and to show the sign-in page.
OPEN = {"/api/health", "/_stcore/health", "/_stcore/host-config"}
CLOSED = {"api", "media", "component", "_stcore", "app"}  # first parts of paths that need a sign-in
MOST_BODY = 2**20  # bytes of a request that is not an upload
GRACE_SECONDS = 10  # for the page to show that the session has ended, before its connection closes
_SIGN_IN_FIRST = "Sign in first: open the app's start page."
_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_log = logging.getLogger(__name__)


def stack(
    access: Access, *, documents: Iterable[str] = (), sign_in_address: Callable[[], str] = lambda: "/"
) -> list[Middleware]:
    """The middleware of a server, outermost first.

    `documents` are the HTML documents whose inline scripts may run; `sign_in_address` returns the address
    that starts a sign-in.
    """
    layers = [
        Middleware(Headers, access=access, documents=tuple(documents)),
        Middleware(Guard, access=access),
    ]
    if access.sign_in is not None:
        layers.append(Middleware(SignedIn, access=access, sign_in_address=sign_in_address))
    return [*layers, Middleware(Shares, access=access), Middleware(NoteUploads, access=access)]


def content_security_policy(documents: Iterable[str]) -> str:
    """What pages may load and run: this server's files and the documents' inline scripts."""
    scripts = {script for text in documents for script in _INLINE.findall(text)}
    hashes = sorted(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    rules = {
        "default-src": "'self'",
        # Streamlit passes a component's module to the browser as a blob.
        "script-src": " ".join(["'self'", "blob:", *hashes]),
        "style-src": "'self' 'unsafe-inline'",  # Streamlit and Plotly write styles into the page
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


class Headers:
    """Security headers on every response; cookies restricted to HTTPS if people open the app over HTTPS."""

    def __init__(self, app: ASGIApp, *, access: Access, documents: Iterable[str] = ()) -> None:
        self.app = app
        self._fixed = {
            "content-security-policy": content_security_policy(documents),
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
        }
        self._secure = access.sign_in is not None and access.sign_in.origin.startswith("https:")
        self._private = access.sign_in is not None
        self._seconds = round(3600 * access.rules.session_hours) + 86_400
        if self._secure:
            self._fixed["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def forward(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._fixed.items():
                    headers[name] = value
                if self._private and "public" in headers.get("cache-control", "") and _needs(scope["path"]):
                    headers["cache-control"] = headers["cache-control"].replace("public", "private")
                message["headers"] = [(name, self._cookie(name, value)) for name, value in headers.raw]
            await send(message)

        await self.app(scope, receive, forward)

    def _cookie(self, name: bytes, value: bytes) -> bytes:
        if name.lower() != b"set-cookie":
            return value
        if value.startswith(COOKIE.encode()):  # kept a day longer, to report that the session has ended
            value = re.sub(
                rb"(?i)max-age=(\d+)", lambda age: b"Max-Age=%d" % min(int(age[1]), self._seconds), value
            )
        if self._secure and not re.search(rb"(?i);\s*secure\b", value):
            value += b"; Secure"
        return value


class Guard:
    """Refuses requests that no page of this server sends."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        status, reason = self._refusal(scope, HeaderMap(scope=scope))
        if not status and self.access.sign_in is None:
            vouch(scope)  # without a sign-in, nobody who may ask is a stranger
        if status:
            await refuse(scope, receive, send, status, reason)
        elif scope["type"] == "http":
            await self._bounded(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope, headers: HeaderMap) -> tuple[int, str]:
        client = scope.get("client")
        if self.access.local_only and not is_loopback(client[0] if client else None):
            return 403, "This server answers to its own machine only. To let others in: docs/server.md."
        host = headers.get("host")
        if not self.access.host_allowed(host):
            return 400, "This server has another name. If it is yours, add the name to LUNGVAE_HOSTS."
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if changes and origin is not None and not self._own(origin, host):
            return 403, "Another site's page asks. Open this server's own page."
        site = headers.get("sec-fetch-site", "none")
        if (changes or scope["path"] == LOGOUT) and site not in ("none", "same-origin"):
            return 403, "Another site's page asks. Open this server's own page."
        size = headers.get("content-length", "0")
        if not size.isascii() or not size.isdigit() or int(size[:20]) > _most(scope["path"]):
            return 413, f"This is larger than the {_most(scope['path']) // 2**20} MB that may be sent here."
        return 0, ""

    def _own(self, origin: str, host: str | None) -> bool:
        sign_in = self.access.sign_in
        return urlsplit(origin).netloc == host or (sign_in is not None and origin == sign_in.origin)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; stop a request that sends more than allowed, even if it announced no size."""
        left, started = _most(scope["path"]), False

        async def counted() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _TooLargeError
            return message

        async def forward(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, forward)
        except _TooLargeError:
            if not started:
                await refuse(scope, receive, send, 413, "This is larger than what may be sent here.")


class SignedIn:
    """Lets only signed-in people past the sign-in page."""

    def __init__(self, app: ASGIApp, *, access: Access, sign_in_address: Callable[[], str]) -> None:
        self.app = app
        self.access = access
        self._sign_in_address = sign_in_address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        person = self.access.person_of(scope)
        path = scope["path"]
        if person.role is not None:
            vouch(scope)
        elif scope["type"] == "websocket" or _needs(path):
            await refuse(scope, receive, send, 401, _SIGN_IN_FIRST)
            return
        elif _is_page(scope):
            await sign_in_page(person, self._sign_in_address())(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._connected(person, scope, receive, send)
        elif path == CALLBACK:
            await self.app(scope, receive, _noting(scope, receive, send, self._who_signed_in))
        else:
            if path == LOGOUT and person.name:
                await _note(audit.SIGN_OUT, "", person.name, needed=False)
            await self.app(scope, receive, send)

    def _who_signed_in(self, message: Message) -> tuple[str, str, str] | None:
        person = self.access.person(_cookies_set(message))
        if person.role is not None:
            return audit.SIGN_IN, person.role_name, person.name
        return (audit.REFUSED, "sign-in", person.name) if person.name else None

    async def _connected(self, person: Person, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a WebSocket until the session ends; Streamlit's a little longer, so its page can say so."""
        closed = False
        until = person.until
        if until is not None and scope["path"] == STREAM:
            until += GRACE_SECONDS

        async def end(code: int, reason: str) -> Message:
            nonlocal closed
            if not closed:
                closed = True
                await send({"type": "websocket.close", "code": code, "reason": reason})
            return {"type": "websocket.disconnect", "code": code}

        async def bounded() -> Message:
            message = await _by(receive, until)
            if message is None:
                if scope["path"] == STREAM:
                    await _note(audit.SESSION_END, "", person.name, needed=False)
                return await end(POLICY, "Your session has ended. Sign in again.")
            return message

        async def forward(message: Message) -> None:
            if not closed:  # messages in transit when the session ended
                await send(message)

        await self.app(scope, bounded, forward)


class NoteUploads:
    """Records who uploaded how much, before the browser learns that it arrived; never the content."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "PUT" or not scope["path"].startswith(UPLOAD):
            await self.app(scope, receive, send)
            return
        person = self.access.person_of(scope)
        size = HeaderMap(scope=scope).get("content-length", "unknown")

        def detail(message: Message) -> tuple[str, str, str] | None:
            done = message["status"] < 400
            return (audit.UPLOAD, f"1 file, {size} bytes", person.name) if done else None

        await self.app(scope, receive, _noting(scope, receive, send, detail))


class _TooLargeError(Exception):
    pass


def _noting(
    scope: Scope, receive: Receive, send: Send, what: Callable[[Message], tuple[str, str, str] | None]
) -> Send:
    """A `send` that records the event before the response goes out; if it cannot be recorded, 503."""
    failed = False

    async def forward(message: Message) -> None:
        nonlocal failed
        if message["type"] == "http.response.start" and (line := what(message)) is not None:
            try:
                await _note(*line)
            except UserError:
                _log.error("the audit log could not be written; a request was refused for it")
                failed = True
                await refuse(
                    scope, receive, send, 503, "The audit log cannot be written; so this is refused."
                )
        if not failed:
            await send(message)

    return forward


def _needs(path: str) -> bool:
    """Whether a path is for signed-in people only; the front end's files are public."""
    parts = path.split("/")[1:]
    return path not in OPEN and parts[:1] != ["static"] and bool(CLOSED.intersection(parts))


def _is_page(scope: Scope) -> bool:
    """Whether a browser requests one of the app's pages."""
    signing_in = scope["path"] == CALLBACK or scope["path"].startswith(("/auth/", "/static/"))
    return scope["method"] == "GET" and wants_document(scope) and scope["path"] not in OPEN and not signing_in


def _most(path: str) -> int:
    return (MOST_UPLOAD_MB + 16) * 2**20 if path.startswith(UPLOAD) else MOST_BODY


def _cookies_set(message: Message) -> dict[str, str]:
    """The cookies that a response sets."""
    cookies: dict[str, str] = {}
    for text in HeaderMap(raw=message["headers"]).getlist("set-cookie"):
        try:
            cookies |= {name: morsel.value for name, morsel in SimpleCookie(text).items() if morsel.value}
        except CookieError:
            continue
    return cookies


async def _by(receive: Callable[[], Awaitable[Message]], until: float | None) -> Message | None:
    """The next message, or None if the time `until` (seconds since 1970) comes first."""
    if until is None:
        return await receive()
    try:
        return await asyncio.wait_for(receive(), max(0.0, until - time.time()))
    except TimeoutError:
        return None


async def _note(what: str, detail: str, who: str, *, needed: bool = True) -> None:
    def write() -> Any:
        audit.record(Settings(), what, detail, who=who)

    try:
        await run_in_threadpool(write)
    except UserError:
        if needed:
            raise
        _log.error("the audit log could not be written")
