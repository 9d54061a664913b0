"""The start of a walk: picked, drawn, and kept in the address."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.walks.live import code_name
from pages.traversal import starts
from tests.pages.conftest import press
from tests.pages.traversal.conftest import labels, opened, view


def test_every_start_can_be_picked(models):
    app = opened(model="tiny-gvae")
    assert view(app)["start"].startswith("row:")
    for label, name in (("Prior", "prior"), ("Malignant", "malignant"), ("Benign", "benign")):
        app.get("button_group")[0].set_value(label).run()
        assert view(app)["start"] == name
        assert app.query_params["start"] == name
        assert "row" not in app.query_params


def test_a_lesion_is_chosen_by_patient_nodule_and_slice(models):
    app = opened(model="tiny-gvae", row="12")
    assert view(app)["start"] == "row:12"
    boxes = dict(zip(labels(app), app.selectbox, strict=True))
    assert (boxes["Patient"].value, boxes["Nodule"].value, boxes["Slice"].value) == ("TEST-0002", 0, 12)
    boxes["Patient"].set_value("TEST-0005").run()
    row = int(view(app)["start"].removeprefix("row:"))
    assert registry().load("tiny-gvae").table.at[row, "patient_id"] == "TEST-0005"
    assert app.query_params["row"] == str(row)


def test_lesions_picked_on_the_map_come_first(models):
    app = opened({"selected_rows": [40, 41, 999]}, model="tiny-gvae")
    assert view(app)["start"] == "row:40"
    assert "Lesion (2 picked)" in labels(app)


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_the_prior_can_be_drawn_from_again_and_the_address_keeps_it(models, name):
    app = opened(model=name, start="draw:7")
    assert app.segmented_control[0].value == "Prior draw"
    assert app.query_params["start"] == "draw:7"
    press(app, "Draw another")
    assert app.query_params["start"] == "draw:8"


def test_each_picker_has_its_own_place_in_the_address():
    assert starts.parameters() == ("start", "row")
    assert starts.parameters("b") == ("b", "b_row")
    lesion = starts.Start("row:7", "a lesion", 7, "TEST-0001")
    assert starts.remembered(lesion, "b") == {"b_row": "7"}
    assert starts.remembered(starts.Start("draw:3", "a draw")) == {"start": "draw:3"}
    assert starts.remembered(starts.Start("code:AAAA@TEST-0001", "your image")) == {}  # addresses are shared


def test_names_of_files_tell_nothing_of_an_upload():
    assert starts.Start("code:AAAA@TEST-0001", "your image").short == "upload"
    assert starts.Start("row:7", "a lesion").short == "row-7"
    assert starts.Start("prior", "the prior mean").short == "prior"


def test_a_lesion_is_named_by_its_key_and_its_rating(models):
    model = registry().load("tiny-gvae")
    start = starts.lesion(model, 12)
    assert (start.name, start.row, start.patient) == ("row:12", 12, "TEST-0002")
    assert start.label.startswith("TEST-0002, nodule 0, slice 2 (readers: malignancy ")
    lesion = {**model.lesion(12), "malignancy": None}
    unrated: Any = SimpleNamespace(lesion=lambda row: lesion)
    assert starts.lesion_words(unrated, 12) == "TEST-0002, nodule 0, slice 2"


def test_an_upload_is_offered_to_the_model_that_encoded_it_only(models, monkeypatch):
    model = registry().load("tiny-gvae")
    monkeypatch.setattr(
        starts.st,
        "session_state",
        {
            "start_code": model.codes[3],
            "start_code_model": "tiny-gvae",
            "start_code_name": "your image, x.npy",
        },
    )
    upload = starts.uploaded(model)
    assert upload is not None
    assert (upload.label, upload.name) == ("your image, x.npy", code_name(model.codes[3]))
    assert starts.uploaded(registry().load("tiny-dirvae")) is None
