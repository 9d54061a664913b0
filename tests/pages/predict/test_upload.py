"""Uploads to the Predict page, good and bad, without a browser."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungvae_core.errors import UserError
from lungvae_core.serving.lesions.uploads import KEPT
from pages.predict import upload
from tests.made_series import MIDDLE, lesion
from tests.pages.conftest import component_data, labelled, text
from tests.pages.predict.conftest import npy, place, uploaded


def test_a_small_array_is_scored_as_it_is(models, tiny_data):
    patch = np.load(tiny_data / "slices.npy")[12]
    app = uploaded("mine.npy", npy(patch))
    assert len(app.metric) == 1
    viewer = component_data(app, "slice_viewer")
    assert (viewer["place"], viewer["count"]) == (False, 1)
    assert component_data(app, "latent_map")["marker"] is not None
    button = labelled(app.button, "Walk from this lesion")
    button.click().run()
    assert app.title[0].value == "Traversal"
    assert app.session_state["start_code"].shape == (4,)
    assert app.session_state["start_code_name"] == "your image, mine.npy"
    assert app.segmented_control[0].value == "Your image"
    assert "code:" not in str(app.query_params)


def test_a_large_image_is_scored_once_the_lesion_is_shown(models):
    app = uploaded("mine.npy", npy(lesion()[0][MIDDLE[0]]))
    assert len(app.metric) == 0
    assert "Click the middle of the lesion" in app.info[0].value
    viewer = component_data(app, "slice_viewer")
    assert viewer["place"]
    assert viewer["source"].startswith("/api/uploads/")
    assert list(viewer["presets"]) == ["Lung", "Mediastinum", "Bone", "Model's"]
    place(app, 0, 50, 60)
    assert component_data(app, "slice_viewer")["position"] == [50, 60]
    assert len(app.metric) == 1
    assert viewer["source"].rsplit("/", 1)[1] not in str(app.query_params)


def test_a_picture_needs_the_range_that_its_greys_stand_for(models):
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).save(stream, "PNG")
    app = uploaded("mine.png", stream.getvalue())
    assert "State the HU range" in app.error[0].value
    app.number_input[0].set_value(-1000)
    app.number_input[1].set_value(400)
    app.run()
    assert not app.error
    assert len(app.metric) == 1
    app.number_input[1].set_value(-2000).run()
    assert "lower value first" in app.error[0].value


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.pdf", b"%PDF-1.7"),
        ("mine.npy", b"garbage"),
        ("mine.npy", npy(np.zeros((40, 40), np.int16))),
        ("mine.npy", npy(np.zeros((64, 64), np.float32))),
        ("mine.dcm", b"x" * 500),
        ("mine.nii.gz", b"x" * 500),
        ("no-ending", b""),
    ],
)
def test_a_bad_upload_gets_a_sentence_and_no_score(models, name, content):
    app = uploaded(name, content)
    assert len(app.error) == 1
    assert app.error[0].value.endswith(".")
    assert "Traceback" not in text(app)
    assert len(app.metric) == 0


def scan(*shape: int) -> np.ndarray:
    """Air and tissue at random."""
    return np.random.default_rng(0).integers(-1000, 400, shape, np.int16)


def test_a_stack_is_read_with_the_range_that_was_stated():
    series = upload.read([("stack.npy", npy(scan(3, 70, 80)))], None)
    np.testing.assert_array_equal(series.hu, scan(3, 70, 80))
    grey, stream = Image.linear_gradient("L").resize((64, 64)), io.BytesIO()
    grey.save(stream, "PNG")
    series = upload.read([("mine.png", stream.getvalue())], (-1000, 400))
    np.testing.assert_allclose(series.hu[0], -1000 + np.asarray(grey) / 255 * 1400, atol=0.51)


@pytest.mark.parametrize(
    ("files", "stated", "reason"),
    [
        ([("mine.npy", npy(scan(2, 63, 100)))], None, "63x100 pixels"),
        ([("mine.npy", npy(scan(64, 64)))], (None, 400), "HU range"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(files, stated, reason):
    with pytest.raises(UserError, match=reason):
        upload.read(files, stated)


def test_an_upload_is_dropped_with_its_results(monkeypatch):
    state: dict[str, Any] = {}
    monkeypatch.setattr(upload.st, "session_state", state)
    assert upload.kept_upload() is None
    token = KEPT.put(upload.read([("mine.npy", npy(scan(64, 64)))], None))
    state["upload_kept"], state["upload_cases"] = ("key", token), {"slice": 1}
    kept = upload.kept_upload()
    assert kept is not None
    assert kept[0] == token
    upload.drop()
    assert state == {}
    assert KEPT.get(token) is None
