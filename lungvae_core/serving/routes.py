"""HTTP and WebSocket routes that pages call without a rerun: decode while dragging, images, health."""

from __future__ import annotations

from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

import lungvae_core
from lungvae_core.serving import images, lesion, live, map_data, uploads
from lungvae_core.serving.registry import Registry


@cache
def registry() -> Registry:
    """The process's one registry, shared by the routes and the pages."""
    return Registry()


async def health(_request: Request) -> JSONResponse:
    """Say that the server answers, and with which version."""
    return JSONResponse({"status": "ok", "version": lungvae_core.__version__})


def routes() -> list[BaseRoute]:
    """All of the core's routes, below /api."""
    return [
        Route("/api/health", health),
        live.live_route(registry),
        *images.routes(registry),
        *map_data.routes(registry),
        *lesion.routes(registry),
        *uploads.routes(),
    ]
