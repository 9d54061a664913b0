"""Logs as JSON lines for log collectors, without patients' data.

Every request gets a line with an id, the matched route (never the address itself, which may contain a name),
the status and the milliseconds. Log messages of the program become lines too, but only as written in the
source: the arguments filled in and the text of exceptions may name a file or a patient and are left out. Of
messages from other libraries only the location is kept.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lungvae_core.errors import UserError

WRITTEN_FOR = ("lungvae_core", "pages", "uvicorn", "streamlit")  # loggers whose templates contain no data
STREAMLITS = ("static", "media", "component", "_stcore", "auth", "oauth2callback", "app")
_STREAMLIT_ROUTES = {"health", "host-config", "stream", "upload_file", "metrics", "bidi-components"}
_requests = logging.getLogger("lungvae_core.requests")


class JsonLines(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "at": f"{record.module}:{record.lineno}",
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= fields
        elif record.name.split(".")[0] in WRITTEN_FOR and isinstance(record.msg, str):
            line["message"] = record.msg
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["trace"] = [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(line, ensure_ascii=False)


def log_json() -> None:
    """Write all logs, warnings and fatal errors of this process as JSON lines (to stderr).

    Streamlit gives each of its loggers its own handler, also later. So this replaces the handlers'
    formatting, not the handlers.
    """
    formatter = JsonLines()
    setattr(logging.Formatter, "format", lambda _self, record: JsonLines.format(formatter, record))  # noqa: B010
    root = logging.getLogger()
    root.handlers = [logging.StreamHandler()]
    root.handlers[0].setFormatter(formatter)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.simplefilter("default", append=True)  # silenced warnings stay silenced
    sys.excepthook = lambda kind, error, trace: root.error("", exc_info=(kind, error, trace))


class AccessLog:
    """The outermost ASGI middleware: an id and a line for every request and WebSocket."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute] = (), pages: Sequence[str] = ()) -> None:
        self.app = app
        self.routes = list(routes)
        self.pages = {"", *pages}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        began, identity, status = time.perf_counter(), secrets.token_hex(8), 0

        async def forward(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = identity
            elif kind == "websocket.accept":
                status = 101
            elif kind == "websocket.close":
                status = message.get("code", 1000) if status else 403
            await send(message)

        try:
            await self.app(scope, receive, forward)
        except BaseException:
            status = status or 500
            raise
        finally:
            fields = {
                "event": "request",
                "id": identity,
                "method": scope.get("method", "WEBSOCKET"),
                "route": self.route(scope),
                "status": status,
                "ms": round(1000 * (time.perf_counter() - began), 1),
            }
            _requests.info("", extra={"fields": fields})

    def route(self, scope: Scope) -> str:
        """The route's template, as "/api/models/{name}/points"; for other addresses only known parts."""
        for route in self.routes:
            if route.matches(scope)[0] is not Match.NONE:
                return str(getattr(route, "path", "(route)"))
        first, _, rest = scope["path"].lstrip("/").partition("/")
        if first == "_stcore" and (part := rest.partition("/")[0]) in _STREAMLIT_ROUTES:
            return f"/_stcore/{part}"
        if first in STREAMLITS:
            return f"/{first}"
        return f"/{first}" if first in self.pages and not rest else "(other)"


def writes_json(environment: Mapping[str, str]) -> bool:
    """Whether LUNGVAE_LOG selects JSON lines; UserError for anything but "json" or "text"."""
    value = environment.get("LUNGVAE_LOG") or "text"
    if value not in ("text", "json"):
        raise UserError(f"LUNGVAE_LOG is {value!r}; choose text or json.")
    return value == "json"
