"""HTML documents carry the script; everything else passes through as it was."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from lungvae_core.serving.http.frontpage import SCRIPT, NameTheServer


async def document(request: Request) -> HTMLResponse:
    assert "if-none-match" not in request.headers
    return HTMLResponse("<html><head></head><body>grüße</body></html>", headers={"etag": "x"})


async def other(request: Request) -> JSONResponse:
    return JSONResponse({"html": "<head>"})


def test_only_documents_are_changed() -> None:
    app = Starlette(
        routes=[Route("/map", document), Route("/api", other)], middleware=[Middleware(NameTheServer)]
    )
    client = TestClient(app)
    found = client.get("/map", headers={"accept": "text/html", "if-none-match": "x"})
    assert SCRIPT.decode() in found.text
    assert "grüße" in found.text
    assert "etag" not in found.headers
    assert int(found.headers["content-length"]) == len(found.content)
    assert client.get("/api", headers={"accept": "text/html"}).json() == {"html": "<head>"}
    assert client.get("/api").json() == {"html": "<head>"}
