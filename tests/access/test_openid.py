"""A public server by HTTP: the sign-in at an OpenID provider, and what nobody gets without it."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.access import COOKIE
from lungvae_core.serving.workspace.settings import Settings
from tests.access.server import COOKIE_SECRET, cookie

LIVE = "/api/live/tiny-gvae"
WISH = json.dumps({"id": 1, "start": "prior"})


def sign_in(server, account: str) -> httpx.Client:
    """A client that has gone the way that `st.login` sends a browser."""
    token = jwt.encode(
        {"alg": "HS256"},
        {"provider": "default", "exp": int(time.time()) + 100},
        OctKey.import_key(COOKIE_SECRET),
    )
    client = httpx.Client(base_url=server.url, timeout=30)
    asked = client.get("/auth/login", params={"provider": token})
    assert asked.status_code == 302, asked.text
    chosen = httpx.get(asked.headers["location"] + f"&account={account}")
    assert chosen.status_code == 302
    back = client.get(chosen.headers["location"])
    assert back.status_code in (302, 503), back.text
    return client


def live(server, cookies=None, origin=None):
    """A WebSocket to the live route."""
    headers = (
        {} if not cookies else {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    )
    return connect(
        server.url.replace("http", "ws") + LIVE, additional_headers=headers, origin=origin or server.url
    )


def on_record(server, **asked) -> list[tuple[str, str, str]]:
    settings = Settings(workspace=server.folder / "workspace")
    return [(line.what, line.who, line.detail) for line in audit.read(settings, **asked)]


def test_without_a_sign_in_only_monitors_and_the_sign_in_page_are_answered(public):
    client = httpx.Client(base_url=public.url)
    assert client.get("/api/health").json()["status"] == "ok"
    assert client.get("/_stcore/health").status_code == 200
    assert client.get("/").status_code == 200
    for path in (
        "/api/models/tiny-gvae/lesions?unit=slice",
        "/api/uploads/x/0.hu",
        "/api/nowhere",
        "/media/anything.png",
        "/_stcore/metrics",
        "/component/x/y",
        "/_stcore/agent/openapi.json",
    ):
        answer = client.get(path)
        assert answer.status_code == 401, path
        assert "Sign in" in answer.text
    assert client.put("/_stcore/upload_file/a/b", content=b"x").status_code == 401


def test_after_the_sign_in_the_api_answers_and_the_sign_in_is_on_record(public):
    client = sign_in(public, "viewer")
    answer = client.get("/api/models/tiny-gvae/lesions?unit=slice")
    assert answer.status_code == 200
    assert "public" not in answer.headers.get("cache-control", "")
    assert (audit.SIGN_IN, "viewer@clinic.example", "viewer") in on_record(public, what=audit.SIGN_IN)
    with live(public, dict(client.cookies)) as socket:
        socket.send(WISH)
        assert len(socket.recv()) > 8192
    client.get("/auth/logout")
    assert client.get("/api/models/tiny-gvae/lesions?unit=slice").status_code == 401
    assert (audit.SIGN_OUT, "viewer@clinic.example", "") in on_record(public, what=audit.SIGN_OUT)


@pytest.mark.parametrize(
    ("account", "role"),
    [("researcher", "researcher"), ("unverified", "viewer"), ("member", "researcher"), ("long", "viewer")],
)
def test_the_role_comes_from_verified_addresses_and_groups(public, account, role):
    client = sign_in(public, account)
    assert client.get("/api/models/tiny-gvae/lesions?unit=slice").status_code == 200  # "long": in parts
    assert on_record(public, what=audit.SIGN_IN)[0][2] == role


def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(public):
    public.provider.sign_with = RSAKey.generate_key(2048, {"kid": "one"})
    try:
        before = on_record(public, what=audit.SIGN_IN)
        client = sign_in(public, "researcher")
    finally:
        public.provider.sign_with = None
    assert client.get("/api/models/tiny-gvae/lesions?unit=slice").status_code == 401
    assert on_record(public, what=audit.SIGN_IN) == before


def test_forged_stale_and_foreign_cookies_are_refused(public):
    claims = {"email": "researcher@lab.example", "email_verified": True, "sub": "x"}
    good = cookie(public.url, **claims)[COOKIE]
    path = "/api/models/tiny-gvae/lesions?unit=slice"
    assert httpx.get(public.url + path, cookies={COOKIE: good}).status_code == 200
    forged = {
        "changed": good[:-3] + ("aaa" if good[-3:] != "aaa" else "bbb"),
        "of another secret": cookie(public.url, secret="x" * 40, **claims)[COOKIE],
        "of another app": cookie("http://elsewhere.example", **claims)[COOKIE],
        "too old": cookie(public.url, age=12 * 3600 + 5, **claims)[COOKIE],
        "not signed": json.dumps({"is_logged_in": True, **claims}),
        "empty": "",
    }
    for name, value in forged.items():
        assert httpx.get(public.url + path, headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401, name
        with pytest.raises(InvalidStatus) as refused, live(public, {COOKIE: value}):
            pass
        assert refused.value.response.status_code == 403, name


def test_a_websocket_is_refused_without_sign_in_and_to_other_sites(public):
    for cookies, origin in (
        (None, None),
        (cookie(public.url, sub="x", email="a@b.example"), "http://elsewhere.example"),
        (cookie(public.url, sub="x", email="a@b.example"), "null"),
    ):
        with pytest.raises(InvalidStatus) as refused, live(public, cookies, origin):
            pass
        assert refused.value.response.status_code == 403
    # Nor does another site reach Streamlit's own WebSocket.
    with (
        pytest.raises(InvalidStatus),
        connect(f"{public.url.replace('http', 'ws')}/_stcore/stream", origin="http://127.0.0.1:1"),
    ):
        pass


def test_a_connection_ends_with_its_session(public):
    with live(public, cookie(public.url, age=12 * 3600 - 2, sub="x", email="a@b.example")) as socket:
        socket.send(WISH)
        assert socket.recv()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd.code == 1008
    assert "session has ended" in closed.value.rcvd.reason


def test_other_hosts_other_sites_and_large_bodies_are_refused(public):
    mine = cookie(public.url, sub="x", email="a@b.example")
    client = httpx.Client(base_url=public.url, cookies=mine)
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.put("/_stcore/upload_file/a/b", content=b"x", headers=headers).status_code == 403
    assert client.get("/auth/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/_stcore/health", content=b"x" * (2**20 + 1)).status_code == 413


def test_the_log_is_json_without_queries_names_and_addresses(public):
    client = sign_in(public, "viewer")
    client.get("/api/models/tiny-gvae/lesions?unit=slice&secret=LIDC-IDRI-0001")
    client.get("/LIDC-IDRI-0002/scan.dcm")
    time.sleep(0.3)
    text = public.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line.get("event") == "request"]
    last = next(line for line in reversed(requests) if line["route"].startswith("/api/models"))
    assert last["route"] == "/api/models/{name}/lesions"
    assert last["method"] == "GET"
    assert last["status"] == 200
    assert last["ms"] > 0
    assert len({line["id"] for line in requests}) == len(requests)
    for hidden in ("LIDC", "scan.dcm", "viewer@", "code=", "secret="):
        assert hidden not in text, hidden


def test_every_answer_carries_the_security_headers(public):
    for path in ("/", "/api/health", "/api/nowhere", "/_stcore/health"):
        headers = httpx.get(public.url + path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
