"""Requests of the browser: parsed, refused in a sentence, and answered with a frame or with facts."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.walks import live


def request(**values: object) -> str:
    return json.dumps({"id": 1, "start": "row:12", **values})


def test_a_frame_has_code_image_and_difference_clipped_to_full_colour():
    code = np.array([0.5, -1], np.float32)
    at_start = np.zeros((64, 64), np.float32)
    image = np.zeros((64, 64), np.float32)
    image[0, 0], image[0, 1] = 1.0, live.DIFFERENCE_FULL / 2
    data = live.frame(7, code, float("nan"), image, at_start)
    identity, count, score = struct.unpack_from("<IIf", data)
    assert (identity, count, np.isnan(score)) == (7, 2, True)
    assert np.frombuffer(data, "<f4", 2, 12).tolist() == [0.5, -1]
    assert np.frombuffer(data, np.uint8, 2, 20).tolist() == [255, 32]
    assert np.frombuffer(data, np.int8, 3, 20 + 4096).tolist() == [127, 64, 0]
    assert len(data) == 20 + 2 * 4096


@pytest.mark.parametrize("name", ["prior", "row:12", "draw:5"])
def test_a_start_is_a_valid_code_and_the_same_each_time(model, name):
    code = live.start_code(model, name)
    np.testing.assert_allclose(model.latent.valid(code), code, atol=1e-6)
    np.testing.assert_array_equal(live.start_code(model, name), code)


def test_a_code_goes_through_its_name_with_the_patient_whose_it_is(model):
    patient = str(model.table["patient_id"].iloc[12])
    name = live.code_name(model.codes[12], patient)
    np.testing.assert_allclose(live.start_code(model, name), model.codes[12], atol=1e-6)
    assert live.start_patient(model, name) == live.start_patient(model, "row:12") == patient
    assert live.start_patient(model, live.code_name(model.codes[12])) is None
    assert live.start_patient(model, live.code_name(model.codes[12], "nobody")) is None
    assert live.start_patient(model, "prior") is live.start_patient(model, "draw:5") is None


@pytest.mark.parametrize(
    "name", ["", "row:", "row:120", "row:1e3", "draw:-1", "draw:9999999999", "code:!", "x"]
)
def test_there_is_no_such_start(model, name):
    with pytest.raises(UserError, match="no start"):
        live.start_code(model, name)


def test_a_question_is_the_start_edited_and_then_moved(model):
    question = live.Session(model).question(request(edits=[[0, 0.2]], move=[2, 0.3]))
    edited = model.latent.edited(model.codes[12], {0: 0.2})
    np.testing.assert_allclose(question.code, model.latent.path(edited, 2, np.array([0.3]))[0], atol=1e-6)
    np.testing.assert_array_equal(question.start, model.codes[12])
    assert question.patient == model.table["patient_id"].iloc[12]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"move": [4, 0]}, "no dimension 4"),
        ({"edits": [[0, 1e9]]}, "outside"),
        ({"along": [["malignancy", 1]]}, "no direction 'malignancy'"),  # the tiny models have none
        ({"along": [["x", 0]] * 21}, "along"),
        ({"id": 2**32}, "id"),
    ],
)
def test_what_a_request_may_not_ask_for(model, values, reason):
    with pytest.raises(UserError, match=reason):
        live.Session(model).question(request(**values))


def test_no_way_along_a_direction_is_the_start_itself(model):
    np.testing.assert_array_equal(live.moved_along(model, model.codes[3], [("nowhere", 0)]), model.codes[3])


def test_facts_are_json_with_the_place_on_the_map(model):
    payload = json.loads(live.Session(model).facts(request(facts=True)))
    assert payload["id"] == 1
    assert 0 <= payload["familiarity"] <= 1
    assert payload["far"] is False
    np.testing.assert_allclose(payload["place"], model.place(model.codes[12], "slice", "umap"), atol=1e-4)
    assert payload["band"][0] < payload["band"][1]
    assert "diameter, mm" not in payload["measured"]  # pixels of many sizes have no common scale
