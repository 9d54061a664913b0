"""The Home page without a browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.files import read_json, write_json
from lungvae_core.serving.http.routes import registry
from tests.conftest import ROOT
from tests.pages.conftest import run, text


@pytest.fixture
def models(tiny_models, tmp_path, monkeypatch):
    """A copy of the tiny models that a test may change."""
    folder = tmp_path / "models"
    shutil.copytree(tiny_models, folder)
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder))
    monkeypatch.setenv("LUNGVAE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "data"))
    registry.cache_clear()
    yield folder
    registry.cache_clear()


def opened() -> AppTest:
    return run(AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=60))


def change(folder: Path, model: float, size: float, *, width: float = 0.02) -> None:
    """Give a model's report these AUCs."""
    report = read_json(folder / "evaluation.json", what="The report")

    def area(value: float) -> dict:
        return {"value": value, "low": value - width, "high": value + width}

    for part in (report, report["heldout"] or {}):
        for name in ("slice", "nodule") if part else ():
            part["units"][name]["auc"] = area(model)
            for both in part["baselines"].values():
                both[name]["auc"] = area(size)
    write_json(folder / "evaluation.json", report)


def test_it_says_what_this_is_and_leads_in_three_ways(models):
    app = opened()
    said = text(app)
    assert NOTICE in said
    for way in ("As a clinician", "As a researcher", "With two minutes"):
        assert way in said
    assert "Not a diagnosis" in said
    assert "not the result of a biopsy" in said
    labels = {link.label for link in app.page_link}
    assert {"Look at the map", "Bring a lesion", "Compare", "Train a model"} <= labels


def test_each_figure_stands_with_its_protocol_unit_interval_and_label_rule(models):
    said = text(opened())
    report = read_json(models / "tiny-gvae" / "evaluation.json", what="The report")
    for words in (report["label_rule"], report["protocol_in_words"]):
        assert words in said
    assert f"{report['units']['nodule']['count']:,} nodules" in said
    assert "per nodule" in said
    assert "95 %" in said
    assert said.count("ships with the project") == 2


@pytest.mark.parametrize(
    ("model", "size", "sentence"),
    [
        (0.70, 0.92, "Size alone is clearly better"),
        (0.90, 0.92, "Size alone is better"),
        (0.92, 0.90, "the intervals overlap"),
        (0.95, 0.70, "The model is ahead of size alone"),
    ],
)
def test_it_says_plainly_whether_size_is_better(models, model, size, sentence):
    shutil.rmtree(models / "tiny-dirvae")
    change(models / "tiny-gvae", model, size)
    said = text(opened())
    assert sentence in said
    assert f"{size:.2f} ({size - 0.02:.2f} to {size + 0.02:.2f})" in said


def test_a_model_without_an_evaluation_says_so(models):
    (models / "tiny-gvae" / "evaluation.json").unlink()
    assert "has not been evaluated" in text(opened())


def test_a_damaged_model_is_a_sentence(models):
    (models / "tiny-gvae" / "model.safetensors").write_bytes(b"no")
    app = opened()
    assert app.error
    assert "Traceback" not in text(app)


def test_without_any_model_it_leads_to_training(models):
    for folder in models.iterdir():
        shutil.rmtree(folder)
    assert "There is no model yet" in text(opened())
