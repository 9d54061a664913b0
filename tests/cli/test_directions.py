"""`lungvae directions` and `counterfactual` on tiny models; and what bad input gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.files import read_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import load_classifier, save_classifier
from lungvae_core.training.ensemble import FOLDS


@pytest.fixture
def model(tiny_models: Path, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(tiny_models / "tiny-dirvae", tmp_path / "tiny-dirvae"))
    opened = Run.open(folder)
    # The tiny VAE's codes hardly differ; moved so, half of the scores lie on each side of 0.5.
    classifier = load_classifier(opened)
    assert classifier is not None
    with torch.no_grad():
        classifier.body[-1].bias -= float(np.median(classifier.logits(opened.latents()[1])))
    save_classifier(opened, classifier)
    (folder / FOLDS).unlink()
    return folder


@pytest.mark.long
def test_directions_are_written_and_printed(printed, model: Path, tiny_data: Path) -> None:
    text = printed("directions", model, "--quick", "--seed", 3)
    report = read_json(model / "directions.json", what="")
    assert (report["seed"], report["quick"]) == (3, True)
    assert "seed 3" in text
    assert "24 nodules of 24 patients" in text
    for name in ("diameter", "texture"):
        assert name in text
    printed("directions", model, "--quick", "--data", tiny_data)


def test_the_score_flips(printed, model: Path) -> None:
    flip = json.loads(printed("counterfactual", model, "--row", 12, "--json"))
    assert (flip["score_before"] > 0.5) != (flip["score_after"] > 0.5)
    assert sum(flip["after"]) == pytest.approx(1, abs=1e-5)
    assert {"distance", "nearest_after", "warning", "changes", "notice"} <= flip.keys()
    again = printed("counterfactual", model, "--row", 12)
    assert "TEST-0002, nodule 0, slice 2" in again
    assert f"{flip['score_before']:.3f}" in again
    assert "Decoded, the lesion" in again
    assert "neither a cause nor a course" in again


def test_an_image_has_one_too(printed, model: Path, tiny_data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "slice.npy", SliceSet.open(tiny_data).slices[12])
    flip = json.loads(printed("counterfactual", model, "--image", tmp_path / "slice.npy", "--json"))
    np.testing.assert_allclose(flip["before"], Run.open(model).latents()[1][12], atol=1e-4)


def test_a_lesion_on_the_wanted_side_is_left_alone(printed, model: Path) -> None:
    lesion = ("counterfactual", model, "--row", 12)
    side = "benign" if json.loads(printed(*lesion, "--json"))["score_before"] < 0.5 else "malignant"
    assert "already" in printed(*lesion, "--towards", side)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "--row"),
        (["--row", "5000"], "its rows are 0 to 119"),
        (["--row", "1", "--towards", "up"], "malignant or benign"),
        (["--row", "1", "--score", "2"], "above 0 and below 1"),
    ],
)
def test_bad_input_gets_a_sentence(refused, model: Path, options: list[str], sentence: str) -> None:
    refused(sentence, "counterfactual", model, *options)


def test_without_a_classifier_a_sentence_says_so(refused, model: Path) -> None:
    (model / "classifier.safetensors").unlink()
    refused("lungvae classify", "counterfactual", model, "--row", 1)
