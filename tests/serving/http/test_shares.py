"""The share of one person and of one address."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from lungvae_core.serving.http import shares
from lungvae_core.serving.http.security import stack
from lungvae_core.serving.workspace.access import Access, Rules
from tests.serving.http.served import SIGN_IN, client, echo_bytes, signed


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_WORKSPACE", str(tmp_path / "workspace"))


def test_a_person_has_a_share_of_websockets_and_gets_it_back(monkeypatch):
    monkeypatch.setattr(shares, "SOCKETS_OF_PERSON", 2)
    access = Access(sign_in=SIGN_IN, rules=Rules(hosts=("lungs.example.org",)))
    one = client(access, host="lungs.example.org")

    def connected(email: str):
        cookie = "; ".join(f"{name}={value}" for name, value in signed(email).items())
        return one.websocket_connect("wss://lungs.example.org/x", headers={"cookie": cookie})

    with connected("a@b.org"), connected("a@b.org") as second:
        with pytest.raises(WebSocketDisconnect), connected("a@b.org"):
            pass
        with connected("c@d.org") as other:  # who has a share of their own
            other.send_text("x")
            assert other.receive_text() == "x"
        second.send_text("y")
        assert second.receive_text() == "y"
    with connected("a@b.org") as again:
        again.send_text("z")
        assert again.receive_text() == "z"


def test_one_address_and_one_person_have_their_share_of_websockets(monkeypatch):
    monkeypatch.setattr(shares, "SOCKETS_OF_ADDRESS", 3)
    app = Starlette(routes=[WebSocketRoute("/echo", echo_bytes)], middleware=stack(Access()))
    client = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5))
    address = "ws://localhost/echo"
    with client.websocket_connect(address), client.websocket_connect(address):
        for _ in range(2):  # what was given back can be had again
            with client.websocket_connect(address):
                with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect(address):
                    pass
                assert "Close some" in refused.value.reason
