"""What middleware answers instead of the app."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lungvae_core.serving.http.refusals import POLICY, refuse
from tests.conftest import run_coroutine


def sent(scope: dict[str, Any], status: int = 503, reason: str = "Too many pages are open.") -> list[dict]:
    """The messages that a refusal of `scope` sends."""
    messages: list[dict] = []

    async def send(message: Any) -> None:
        messages.append(message)

    run_coroutine(refuse, scope, None, send, status, reason)
    return messages


def test_a_websocket_is_closed_before_it_is_accepted():
    assert sent({"type": "websocket", "path": "/api/live/x"}) == [
        {"type": "websocket.close", "code": POLICY, "reason": "Too many pages are open."}
    ]


@pytest.mark.parametrize(("path", "kind"), [("/api/models", "application/json"), ("/map", "text/plain")])
def test_programs_get_json_and_people_a_sentence_that_is_not_stored(path, kind):
    start, body = sent({"type": "http", "method": "GET", "path": path}, 413)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert start["status"] == 413
    assert headers["content-type"].split(";")[0] == kind
    assert headers["cache-control"] == "no-store"
    text = body["body"].decode()
    assert (json.loads(text)["error"] if kind.endswith("json") else text) == "Too many pages are open."
