"""HTTP and WebSocket routes that pages call without a rerun: live decoding, images, health."""

from __future__ import annotations

from functools import cache

from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

import lungvae_core
from lungvae_core.errors import UserError
from lungvae_core.serving.http.live_socket import live_route
from lungvae_core.serving.lesions import images, lesion, uploads
from lungvae_core.serving.maps import points
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.walks import film, strips
from lungvae_core.serving.workspace.database import session


@cache
def registry() -> Registry:
    """The process's single registry, shared by the routes and the pages."""
    return Registry()


def health(_request: Request) -> JSONResponse:
    """For monitoring: version, models and database; 503 if something is broken. Names no folder."""
    settings = registry().settings
    state: dict[str, object] = {"version": lungvae_core.__version__, "models": len(registry().entries())}
    try:
        # A workspace is created when it is first needed; a health check does not need one.
        if settings.workspace.exists():
            with session(settings) as opened:
                opened.execute(text("SELECT 1"))
        state["database"] = "ok"
    except UserError:
        state["database"] = "cannot be used"
    well = state["database"] == "ok"
    return JSONResponse({"status": "ok" if well else "trouble", **state}, status_code=200 if well else 503)


def routes() -> list[BaseRoute]:
    """All routes of the core, below /api."""
    return [
        Route("/api/health", health),
        live_route(registry),
        *images.routes(registry),
        *points.routes(registry),
        *lesion.routes(registry),
        *film.routes(registry),
        *strips.routes(registry),
        *uploads.routes(),
    ]
