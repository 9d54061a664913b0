"""The Directions page without a browser: walks, figures and counterfactuals on tiny models."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.explore.directions import FILE, make_directions
from lungvae_core.files import write_json
from lungvae_core.serving.http.routes import registry
from lungvae_core.training.checkpoints import Run
from tests.pages.conftest import html, labelled, open_page, run, text


@pytest.fixture(scope="module")
def made(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A directions.json of each tiny model, made once."""
    kept = {}
    for name in ("tiny-gvae", "tiny-dirvae"):
        make_directions(Run.open(tiny_models / name), quick=True)
        kept[name] = tmp_path_factory.mktemp("directions") / FILE
        shutil.move(tiny_models / name / FILE, kept[name])
    return kept


@pytest.fixture
def fitted(tiny_models: Path, made: dict[str, Path]) -> Iterator[Path]:
    """The tiny models with directions of both."""
    for name in ("tiny-gvae", "tiny-dirvae"):
        shutil.copy(made[name], tiny_models / name / FILE)
    yield tiny_models
    for name in ("tiny-gvae", "tiny-dirvae"):
        (tiny_models / name / FILE).unlink(missing_ok=True)


@pytest.fixture
def scored(models, monkeypatch) -> None:
    """A classifier for tiny-gvae with half of the scores on each side of 0.5."""
    model = registry().load("tiny-gvae")
    classifier = copy.deepcopy(model.classifier)
    assert classifier is not None
    with torch.no_grad():
        classifier.body[-1].bias -= float(np.median(classifier.logits(model.codes)))
    monkeypatch.setattr(model, "classifier", classifier)
    monkeypatch.setattr(model, "folds", None)


def opened(**query: str) -> AppTest:
    return open_page("knowledge/directions.py", **query)


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_a_walk_and_its_held_out_score_are_shown(models, fitted, name):
    app = opened(model=name, direction="diameter", row="12")
    assert not app.exception
    said = text(app)
    assert NOTICE in said
    for words in ("Not a cause, not a course", "Not the readers' truth", "describes the model"):
        assert words in said
    labels = [metric.label for metric in app.metric]
    assert any(label.startswith("R² on held-out patients") for label in labels)
    assert any("two halves of the patients" in label for label in labels)
    assert html(app).count("generated</div>") == 7 + 2  # along the walk; before and after the flip
    assert "seed 0" in said
    assert "All 120 slices were used." in said
    assert app.query_params["direction"] == "diameter"
    assert app.query_params["row"] == "12"


def test_the_lesions_score_is_flipped_and_shown(models, fitted, scored):
    app = opened(model="tiny-gvae", row="12")
    said = text(app)
    assert "the score from" in said
    assert "the generated lesion" in said
    assert "standard deviations of the lesions" in said
    assert "The CT slice" in html(app)
    assert "After: score" in html(app)


def test_a_lesion_already_there_says_so(models, fitted, scored):
    model = registry().load("tiny-gvae")
    scores = model.score(model.codes, patient=None)
    app = opened(model="tiny-gvae", row=str(int(scores.argmax())))
    control = labelled(app.segmented_control, "Take the score to")
    run(control.set_value("malignant"))
    assert "already" in text(app)


def test_without_directions_the_command_is_named_and_the_score_still_flips(models, scored):
    app = opened(model="tiny-gvae", row="12")
    assert "lungvae directions" in text(app)
    assert "the score from" in text(app)


def test_without_a_classifier_a_sentence_says_so(models, fitted, monkeypatch):
    monkeypatch.setattr(registry().load("tiny-gvae"), "classifier", None)
    app = opened(model="tiny-gvae", row="12")
    assert "no classifier" in text(app)
    assert "lungvae classify" in text(app)


def test_damaged_directions_are_reported(models, fitted):
    write_json(fitted / "tiny-gvae" / FILE, {"format": 1})
    assert "damaged" in text(opened(model="tiny-gvae"))


def test_a_row_that_is_not_there_is_reported(models, fitted):
    app = opened(model="tiny-gvae", row="9999")
    assert "row is '9999'" in app.toast[0].value.replace("\\", "")


def test_another_lesion_and_start_can_be_picked(models, fitted):
    app = opened(model="tiny-gvae", row="12")
    run(labelled(app.selectbox, "Patient").set_value("TEST-0009"))
    row = int(app.query_params["row"])
    assert registry().load("tiny-gvae").table["patient_id"].iloc[row] == "TEST-0009"
    run(labelled(app.segmented_control, "Walk from").set_value("lesion"))
    assert app.query_params["from"] == "lesion"
    assert app.query_params["row"] == str(row)
