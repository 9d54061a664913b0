"""The middleware in front of everything, around an app that answers to all."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from lungvae_core.serving.http.security import MOST_BODY, content_security_policy
from lungvae_core.serving.workspace import access as access_module
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import Access, Rules
from lungvae_core.serving.workspace.settings import Settings
from tests.serving.http.served import SIGN_IN, client, signed


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))


def test_other_machines_are_refused_unless_somebody_let_them_in():
    for peer in (("10.0.0.9", 5), ("testclient", 5)):
        answer = client(Access(), peer=peer).get("/")
        assert answer.status_code == 403
        assert "own machine" in answer.text
    assert client(Access()).get("/").status_code == 200
    words = Access(open_words="anyone on this network may use it")
    assert client(words, host="10.0.0.1:8501", peer=("10.0.0.9", 5)).get("/").status_code == 200


def test_names_of_others_are_refused_on_http_and_websockets():
    one = client(Access(), host="evil.example")
    assert one.get("/").status_code == 400
    with pytest.raises(WebSocketDisconnect), one.websocket_connect("ws://evil.example/x"):
        pass
    known = Access(rules=Rules(hosts=("lungs.example.org",)))
    assert client(known, host="lungs.example.org").get("/").status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8501"}, 200),
        ({"origin": "http://localhost:8502"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:8501.evil.example"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
    ],
)
def test_only_own_pages_may_change_something(headers, status):
    one = client(Access())
    assert one.post("/x", headers=headers).status_code == status
    assert one.get("/x", headers=headers).status_code == 200  # a link from elsewhere is no harm
    url = "ws://localhost:8501/x"
    if status == 200:
        with one.websocket_connect(url, headers=headers) as socket:
            socket.send_text("x")
            assert socket.receive_text() == "x"
    else:
        with pytest.raises(WebSocketDisconnect), one.websocket_connect(url, headers=headers):
            pass


def test_bodies_have_a_greatest_size_announced_or_not():
    one = client(Access())
    assert one.post("/x", content=b"x" * MOST_BODY).text == str(MOST_BODY)
    assert one.post("/x", content=b"x" * (MOST_BODY + 1)).status_code == 413

    def parts() -> Any:
        for _ in range(3):
            yield b"x" * (MOST_BODY // 2)

    assert one.post("/x", content=parts()).status_code == 413
    for size in ("-1", "x", "9" * 30, "1.5"):
        assert one.post("/x", content=b"x", headers={"content-length": size}).status_code == 413


def test_inline_scripts_run_by_their_hash_only():
    script = "window.a = 1"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = content_security_policy([f"<script>{script}</script><script type='module' src='x.js'></script>"])
    directives = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert f"'sha256-{digest}'" in directives["script-src"]
    for unsafe in ("unsafe-inline", "unsafe-eval", "http:", "https:", "*"):
        assert unsafe not in directives["script-src"]
        assert unsafe not in directives["connect-src"]


def test_cookies_are_for_https_and_as_short_as_the_session_where_people_sign_in():
    access = Access(sign_in=SIGN_IN, rules=Rules(session_hours=1))
    answer = client(access, host="lungs.example.org").get("/map")
    assert answer.headers["set-cookie"].endswith("; Secure")
    assert f"Max-Age={3600 + 86400};" in answer.headers["set-cookie"]
    assert "max-age" in answer.headers["strict-transport-security"]
    plain = client(Access()).get("/map").headers
    assert "Secure" not in plain["set-cookie"]
    assert "strict-transport-security" not in plain


@pytest.mark.parametrize(
    ("path", "closed"),
    [
        ("/", False),
        ("/map", False),
        ("/static/media/font.woff2", False),
        ("/api/health", False),
        ("/api/health/", True),
        ("/api", True),
        ("//api/models", True),
        ("/base/_stcore/upload_file/x", True),
        ("/x/../api/models", True),
        ("/media/x.png", True),
    ],
)
def test_what_needs_a_sign_in(path, closed):
    one = client(Access(sign_in=SIGN_IN), host="lungs.example.org")
    found = one.request("GET", f"http://lungs.example.org{path}")
    assert (found.status_code == 401) == closed


@pytest.mark.parametrize("path", ["/_stcore/stream", "/api/live/x", "/", "/anything"])
def test_no_websocket_of_a_stranger_is_accepted(path):
    one = client(Access(sign_in=SIGN_IN), host="lungs.example.org")
    with pytest.raises(WebSocketDisconnect) as closed, one.websocket_connect(f"ws://lungs.example.org{path}"):
        pass
    assert closed.value.reason.startswith("Sign in first")


def test_a_cookie_is_verified_once_for_all_that_ask(monkeypatch):
    read: list[str] = []
    plain = access_module.read_cookie

    def counted(cookies, secret):
        read.append("")
        return plain(cookies, secret)

    monkeypatch.setattr(access_module, "read_cookie", counted)
    one = client(Access(sign_in=SIGN_IN, rules=Rules(hosts=("lungs.example.org",))), host="lungs.example.org")
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in signed("a@b.org").items())}
    assert one.put("/_stcore/upload_file/x/y", content=b"x", headers=cookie).status_code == 200
    assert len(read) == 1
    one.get("/api/x", headers=cookie)
    assert len(read) == 2


def test_uploads_are_counted_and_refused_where_they_cannot_be(tmp_path, monkeypatch):
    one = client(Access())
    assert (
        one.put("/_stcore/upload_file/session/LIDC-IDRI-0001.dcm", content=b"x" * 2_000_000).status_code
        == 200
    )
    line = audit.read(Settings())[0]
    assert (line.who, line.what) == ("this machine", audit.UPLOAD)
    assert "bytes" in line.detail
    assert "LIDC" not in line.detail
    (tmp_path / "file").touch()
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "file" / "below"))
    answer = one.put("/_stcore/upload_file/session/x", content=b"x")
    assert answer.status_code == 503
    assert "audit log" in answer.text
