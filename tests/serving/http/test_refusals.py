"""What middleware answers instead of the app: a sentence, or the sign-in page."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.testclient import TestClient

from lungvae_core import NOTICE
from lungvae_core.serving.http.refusals import POLICY, refuse, sign_in_page
from lungvae_core.serving.http.security import stack
from lungvae_core.serving.workspace.access import Access, Person
from tests.conftest import run_coroutine
from tests.serving.http.served import LOCAL, SIGN_IN, anything


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


def test_a_stranger_who_opens_a_page_is_asked_to_sign_in_by_a_plain_document():
    app = Starlette(
        routes=[Route("/{path:path}", anything)],
        middleware=stack(Access(sign_in=SIGN_IN), sign_in_address=lambda: "/auth/login?provider=a&b"),
    )
    one = TestClient(app, base_url="http://lungs.example.org", client=LOCAL)
    for path in ("/", "/map?model=gvae"):
        answer = one.get(path, headers={"Accept": "text/html,*/*"})
        assert "Sign in to go on." in answer.text
        assert 'href="/auth/login?provider=a&amp;b"' in answer.text
        assert "<script" not in answer.text
        assert answer.headers["cache-control"] == "no-store"
    for path in ("/auth/login", "/static/js/index.js", "/oauth2callback"):
        assert one.get(path, headers={"Accept": "text/html,*/*"}).text == "0"  # the app's own answer


def test_the_sign_in_page_says_why_and_carries_the_notice():
    page = sign_in_page(Person(name="", role=None, reason="Sign in to go on."), "/auth/login").body.decode()
    assert escape(NOTICE) in page
    assert "Sign in to go on." in page
    assert "Sign out" not in page  # who is nobody yet has nothing to leave


def test_somebody_without_access_can_leave_and_no_reason_becomes_markup():
    person = Person(name="a@b.org", role=None, reason="<b>a@b.org</b> is not on the list.")
    page = sign_in_page(person, '/auth/login?"><script>').body.decode()
    assert "Sign out, to sign in as somebody else" in page
    assert "&lt;b&gt;a@b.org&lt;/b&gt; is not on the list." in page
    assert "<script" not in page
