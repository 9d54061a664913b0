"""The Traversal page without a browser: its view is a component, tried in tests/browser."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lungvae_core import NOTICE
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.walks import paths
from lungvae_core.vae.config import override
from tests.pages.conftest import labelled, text
from tests.pages.knowledge.made_up import made_up
from tests.pages.traversal.conftest import opened, view


def test_the_page_says_what_it_shows_and_what_that_does_not_mean(models):
    said = text(opened())
    assert NOTICE in said
    for words in ("Not the course of a disease", "Not a clinical factor", "Not a probability of cancer"):
        assert words in said


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_the_view_has_a_slider_for_every_dimension_around_its_start(models, name):
    data = view(opened(model=name, start="malignant"))
    model = registry().load(name)
    assert [slider[0] for slider in data["sliders"]] == model.order.tolist()
    for dimension, low, high, start, by_ratio in data["sliders"]:
        assert low <= start <= high
        assert not by_ratio  # without a lesion layer
        assert start == pytest.approx(float(model.starts["malignant"][dimension]), abs=1e-6)
    assert (data["model"], data["start"], data["realImage"]) == (name, "malignant", None)
    assert data["window"] == "W 1400  L -300 HU"


def test_the_boxes_follow_an_address_that_changes(models):
    app = opened(model="tiny-gvae", row="12")
    app.query_params["row"] = "41"
    app.run()
    assert view(app)["start"] == "row:41"
    assert labelled(app.selectbox, "Patient").value == "TEST-0008"


def test_the_address_gives_start_dimension_and_edits(models):
    app = opened(model="tiny-dirvae", row="3", dimension="2", edits="2:0.5,1:0.2,x:1,9:1,0:nan")
    data = view(app)
    assert data["start"] == "row:3"
    assert dict(data["edits"]) == {2: 0.5, 1: 0.2}
    assert data["dimension"] == 2
    assert app.query_params["dimension"] == "2"
    assert app.query_params["edits"] == "2:0.5,1:0.2"


@pytest.mark.parametrize(
    "query", [{"row": "5000"}, {"row": "²"}, {"start": "nowhere"}, {"dimension": "77"}, {"edits": ":::,,"}]
)
def test_nonsense_in_the_address_does_no_harm(models, query):
    app = opened(model="tiny-gvae", **query)
    assert view(app)["edits"] == []
    assert not app.error


def test_another_start_begins_without_the_edits(models):
    app = opened(model="tiny-gvae", start="prior", edits="1:0.5")
    assert dict(view(app)["edits"]) == {1: 0.5}
    app.get("button_group")[0].set_value("Malignant").run()
    assert view(app)["edits"] == []
    assert "edits" not in app.query_params


def test_another_dimension_can_be_chosen_for_the_strip(models):
    app = opened(model="tiny-gvae", start="prior")
    box = labelled(app.selectbox, "Whole range of one dimension")
    box.set_value(3).run()
    assert app.query_params["dimension"] == "3"
    assert app.get("plotly_chart")
    picture = next(each.proto.body for each in app.get("html") if "strips/" in each.proto.body)
    assert 'alt="Generated images: the whole range of dimension 3' in picture
    labels = {button.label for button in app.get("download_button")}
    assert labels >= {"Strip as PNG", "Walk as GIF", "Walk as MP4"}


def test_with_the_data_the_real_slice_stands_beside_with_its_spacing(models):
    data = view(opened(model="tiny-gvae", row="7"))
    assert data["realImage"]
    assert data["spacing"] == pytest.approx(0.7)


def test_without_the_data_a_lesion_is_shown_by_its_reconstruction_and_says_so(models, monkeypatch):
    monkeypatch.setattr(registry().load("tiny-gvae"), "pixels", None)
    data = view(opened(model="tiny-gvae", row="7"))
    assert data["realImage"] is None
    assert "not on this machine" in data["startLabel"]


def test_without_a_classifier_there_is_no_score(models, monkeypatch):
    monkeypatch.setattr(registry().load("tiny-gvae"), "classifier", None)
    app = opened(model="tiny-gvae", start="prior")
    assert view(app)["startScore"] is None
    assert not app.get("plotly_chart")


def test_without_any_model_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_MODELS", str(tmp_path))
    monkeypatch.setenv("LUNGVAE_RUNS", str(tmp_path))
    registry.cache_clear()
    assert "There is no model yet" in text(opened())
    registry.cache_clear()


def test_a_code_beyond_the_range_widens_its_slider(models, tmp_path, monkeypatch):
    model = registry().load("tiny-gvae")
    codes = model.codes.copy()
    codes[0, 1] = 50.0
    monkeypatch.setattr(model, "codes", codes)
    sliders = {slider[0]: slider for slider in view(opened(model="tiny-gvae", row="0"))["sliders"]}
    assert sliders[1][2] == pytest.approx(50.0)
    assert np.isfinite(sliders[1][1])
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_measured_dimensions_carry_their_names_and_the_numbers_behind_them(models, monkeypatch):
    monkeypatch.setattr(registry().load("tiny-gvae"), "measured", made_up())
    app = opened(model="tiny-gvae", start="prior")
    names = view(app)["names"]
    assert names["2"][0] == "grows"
    assert "Diameter +4.50 px" in names["2"][1]
    assert names["1"][0] == ""  # nothing steady is not a name, but the pointer tells of it
    assert "nothing steady" in names["1"][1]
    box = labelled(app.selectbox, "Whole range of one dimension")
    assert "z 2 · grows" in box.options
    assert "z 1" in box.options


def test_guided_dimensions_say_so_beside_what_they_were_measured_to_do(models, monkeypatch):
    model = registry().load("tiny-gvae")
    config = override(model.run.config, {"guided": "density,edge,diameter"})
    info = model.run.info.model_copy(update={"config": config})
    monkeypatch.setattr(model, "run", replace(model.run, info=info))
    names = paths.names.__wrapped__(model)
    assert {at: label.name for at, label in names.items()} == {
        0: "guided: density",
        1: "guided: edge",
        2: "guided: diameter",
    }
    assert "has not been measured" in names[2].sentence
    monkeypatch.setattr(model, "measured", made_up())
    names = paths.names.__wrapped__(model)
    assert names[2].name == "guided: diameter · grows"
    assert names[2].sentence.startswith(
        "Trained to rise with the training patients' diameter. When it rises: grows."
    )
    assert names[1].name == "guided: edge"
    assert not names[3].name.startswith("guided")
    used, unused, _ = paths.carried.__wrapped__(model)
    assert sorted(used + unused) == [0, 1, 2, 3]
    for part in (used, unused):  # the guided ones come first, in the guides' order
        guided = [at for at in part if at < 3]
        assert part[: len(guided)] == sorted(guided)


def test_a_guide_that_is_a_rating_says_what_a_judge_reads_and_how_good_it_is(models, monkeypatch):
    model = registry().load("tiny-gvae")
    config = override(model.run.config, {"guided": "spiculation,margin"})
    info = model.run.info.model_copy(update={"config": config})
    monkeypatch.setattr(model, "run", replace(model.run, info=info))
    monkeypatch.setattr(model, "measured", made_up())
    names = paths.names.__wrapped__(model)
    assert "A judge of spiculation reads more of it in 2 of 3 lesions (67%)" in names[0].sentence
    assert "Spearman +0.97 (median)" in names[0].sentence
    assert (
        "On 1,480 real slices of 106 patients that it has not learned from, its Spearman with the readers' "
        "mean is +0.52 (+0.44 to +0.60)." in names[0].sentence
    )
    assert "Whether margin rises in the decoded images has not been judged." in names[1].sentence


@pytest.mark.parametrize("damage", ["none", "damaged"])
def test_without_measurements_the_dimensions_have_numbers_only(models, damage):
    if damage == "damaged":
        (models / "tiny-gvae" / "measured.json").write_text("{")
    try:
        app = opened(model="tiny-gvae", start="prior")
    finally:
        (models / "tiny-gvae" / "measured.json").unlink(missing_ok=True)
    assert view(app)["names"] == {}
    assert not app.error
    box = labelled(app.selectbox, "Whole range of one dimension")
    assert set(box.options) == {"z 0", "z 1", "z 2", "z 3"}
