"""Decoding over the WebSocket: frames, refusals, and who may ask."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from starlette.websockets import WebSocketDisconnect

from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.walks import live

PRIORS = ["tiny-gvae", "tiny-dirvae"]


def ask(socket, **wish):
    """Send a wish and take its frame apart: (id, score, code, image, difference)."""
    socket.send_text(json.dumps(wish))
    data = socket.receive_bytes()
    identity, count, score = struct.unpack_from("<IIf", data)
    at = 12 + 4 * count
    assert len(data) == at + 2 * 64 * 64
    code = np.frombuffer(data, "<f4", count, 12)
    image = np.frombuffer(data, np.uint8, 4096, at).reshape(64, 64)
    difference = np.frombuffer(data, np.int8, 4096, at + 4096).reshape(64, 64)
    return identity, score, code, image, difference


def refused(client, path, message=None):
    """(close code, reason) of a connection on which a message was sent."""
    with client.websocket_connect(path) as socket:
        if message is not None:
            socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_bytes()
    return closed.value.code, closed.value.reason


@pytest.mark.parametrize("name", PRIORS)
def test_a_start_is_decoded_with_its_score_and_no_difference(client, name):
    model = registry().load(name)
    with client.websocket_connect(f"/api/live/{name}") as socket:
        for start in ("prior", "malignant", "row:7", "draw:5", live.code_name(model.codes[9])):
            identity, score, code, image, difference = ask(socket, id=3, start=start)
            expected = live.start_code(model, start)
            assert identity == 3
            np.testing.assert_allclose(code, expected, atol=1e-6)
            np.testing.assert_array_equal(
                image, np.rint(model.decode(expected[None])[0] * 255).astype(np.uint8)
            )
            assert score == pytest.approx(
                float(model.score(expected[None], patient=live.start_patient(model, start))[0]), abs=1e-5
            )
            assert not difference.any()


@pytest.mark.parametrize("name", PRIORS)
def test_moving_a_dimension_follows_the_latents_path(client, name):
    model = registry().load(name)
    with client.websocket_connect(f"/api/live/{name}") as socket:
        *_, code, _, difference = ask(socket, id=1, start="row:0", move=[2, 0.6])
    expected = model.latent.path(model.codes[0], 2, np.array([0.6]))[0]
    np.testing.assert_allclose(code, expected, atol=1e-6)
    change = model.decode(expected[None])[0] - model.decode(model.codes[:1])[0]
    np.testing.assert_allclose(
        difference / 127 * live.DIFFERENCE_FULL,
        np.clip(change, -live.DIFFERENCE_FULL, live.DIFFERENCE_FULL),
        atol=live.DIFFERENCE_FULL / 127,
    )
    if name == "tiny-dirvae":
        assert code.sum() == pytest.approx(1, abs=1e-5)
        assert code.min() >= 0


def test_edits_on_the_simplex_keep_everything_else_in_proportion(client):
    model = registry().load("tiny-dirvae")
    start = model.codes[0]
    with client.websocket_connect("/api/live/tiny-dirvae") as socket:
        _, _, first, *_ = ask(socket, id=1, start="row:0", move=[1, 0.5])
        _, _, second, *_ = ask(socket, id=2, start="row:0", edits=[[1, 0.5]], move=[3, 0.4])
        # What a browser keeps: the edited dimensions' own values.
        kept = [[1, float(second[1])], [3, float(second[3])]]
        _, _, again, *_ = ask(socket, id=3, start="row:0", edits=kept)
    np.testing.assert_allclose(second, model.latent.path(first, 3, np.array([0.4]))[0], atol=1e-6)
    np.testing.assert_allclose(again, second, atol=1e-6)
    assert second[0] / second[2] == pytest.approx(start[0] / start[2], rel=1e-3)


@pytest.mark.parametrize("name", PRIORS)
def test_edits_do_not_depend_on_their_order_and_none_is_the_start(client, name):
    model = registry().load(name)
    start = model.codes[3]
    np.testing.assert_allclose(model.latent.edited(start, {}), start, atol=1e-6)
    one = model.latent.edited(start, {0: 0.2, 2: 0.3})
    other = model.latent.edited(start, {2: 0.3, 0: 0.2})
    np.testing.assert_array_equal(one, other)
    assert one[0] == pytest.approx(0.2)
    assert one[2] == pytest.approx(0.3)


def test_edits_beyond_the_simplex_are_brought_back(client):
    latent = registry().load("tiny-dirvae").latent
    corner = np.array([1, 0, 0, 0], np.float32)
    for edits in ({0: 0.9, 1: 0.9}, {0: 0.0}, {0: 1.0}, dict.fromkeys(range(4), 0.0), {0: 0.5}):
        code = latent.edited(corner, edits)
        assert code.sum() == pytest.approx(1, abs=1e-5)
        assert code.min() >= 0


def test_frames_follow_one_another_on_one_connection(client):
    with client.websocket_connect("/api/live/tiny-gvae") as socket:
        images = [ask(socket, id=at, start="prior", move=[0, at / 2])[3] for at in range(8)]
    assert len({image.tobytes() for image in images}) > 1


def test_without_a_classifier_the_score_is_not_a_number(client, monkeypatch):
    monkeypatch.setattr(registry().load("tiny-gvae"), "classifier", None)
    with client.websocket_connect("/api/live/tiny-gvae") as socket:
        assert np.isnan(ask(socket, id=1, start="prior")[1])


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("no json", "cannot be read"),
        ("[]", "not understood"),
        ('{"id": 1}', "start"),
        ('{"id": -1, "start": "prior"}', "id"),
        ('{"id": 1, "start": "prior", "more": 1}', "more"),
        ('{"id": 1, "start": "nowhere"}', "no start"),
        ('{"id": 1, "start": "row:-1"}', "no start"),
        ('{"id": 1, "start": "draw:x"}', "no start"),
        ('{"id": 1, "start": "code:AAAA"}', "no start"),
        ('{"id": 1, "start": "code:AAAAAAAAAAAAAAAAAADAfw=="}', "no start"),
        ('{"id": 1, "start": "row:120"}', "no start"),
        ('{"id": 1, "start": "row:²"}', "no start"),
        ('{"id": 1, "start": "prior", "move": [4, 0]}', "no dimension 4"),
        ('{"id": 1, "start": "prior", "move": [-1, 0]}', "no dimension"),
        ('{"id": 1, "start": "prior", "edits": [[0, 1e9]]}', "outside"),
        ('{"id": 1, "start": "prior", "move": [0, NaN]}', "cannot be read"),
        ('{"id": 1, "start": "prior", "move": [0, 1e999]}', "cannot be read"),
        ('{"id": 1, "start": "' + "x" * 5000 + '"}', "moderate length"),
        (b"\x00", "moderate length"),
    ],
)
def test_a_bad_wish_is_refused_with_a_reason(client, message, sentence):
    code, reason = refused(client, "/api/live/tiny-gvae", message)
    assert code == 1008
    assert sentence in reason
    assert len(reason.encode()) <= 123


def test_values_outside_the_simplex_are_refused(client):
    for value in (-0.1, 1.1):
        wish = json.dumps({"id": 1, "start": "prior", "move": [0, value]})
        assert "outside" in refused(client, "/api/live/tiny-dirvae", wish)[1]


def test_an_unknown_model_is_refused_with_a_reason(client):
    assert refused(client, "/api/live/nowhere") == (
        1008,
        "There is no model 'nowhere'. Models here: tiny-dirvae, tiny-gvae.",
    )


def test_a_fault_of_ours_tells_no_trace(client, monkeypatch):
    def fails(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(registry().load("tiny-gvae"), "decode", fails)
    code, reason = refused(client, "/api/live/tiny-gvae", '{"id": 1, "start": "prior"}')
    assert code == 1011
    assert "secret" not in reason


def test_only_pages_of_this_host_may_ask(client):
    wish = {"id": 1, "start": "prior"}
    for origin in ("http://testserver", None):
        headers = {} if origin is None else {"origin": origin}
        with client.websocket_connect("/api/live/tiny-gvae", headers=headers) as socket:
            assert ask(socket, **wish)[0] == 1
    for origin in ("http://elsewhere", "null", "http://testserver:81", "http://testserver.elsewhere"):
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/api/live/tiny-gvae", headers={"origin": origin}),
        ):
            pass
