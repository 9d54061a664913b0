"""The Predict page's parts: scores, readers, neighbours."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import Any

from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry
from pages.predict import parts
from tests.made_series import MIDDLE, lesion
from tests.pages.conftest import html, run, text
from tests.pages.predict.conftest import npy, opened, uploaded


def test_the_score_stands_beside_the_evaluation_and_size(models):
    app = opened(row="12")
    table = app.table[0].value
    assert "readers' diameter alone" in table
    assert "model" in table


def test_a_model_without_a_classifier_has_no_score(models, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(models / "tiny-gvae", folder)
    (folder / "classifier.safetensors").unlink()
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    registry.cache_clear()
    app = uploaded("mine.npy", npy(lesion()[0][MIDDLE[0], 20:84, 20:84]))
    assert "no classifier" in text(app)
    assert len(app.metric) == 0


def test_an_interval_is_in_words_or_said_to_be_missing():
    assert parts.interval((0.104, 0.896)) == "90 % interval: **0.10 to 0.90**"
    assert parts.interval(None).startswith("No interval")


def scored(score: float | None, band: tuple[float, float] | None) -> None:
    from types import SimpleNamespace

    from lungvae_core.serving.http.routes import registry
    from pages.predict import parts

    case = SimpleNamespace(score=score, band=band, score_note="Of nobody.")
    parts.score(registry().load("tiny-gvae"), case, of="of this slice")


def test_a_score_stands_among_those_of_the_set_with_its_band(models):
    app = run(AppTest.from_function(scored, default_timeout=60, args=(0.25, (0.2, 0.4))))
    assert app.metric[0].value == "0.25"
    assert app.metric[0].label == "Model score of this slice (0 to 1, not a probability of cancer)"
    page = html(app)
    assert 'class="at" style="left: 25.00%"' in page
    assert 'class="band" style="left: 20.00%; width: 20.00%"' in page
    assert "Of nobody." in text(app)
    bare = run(AppTest.from_function(scored, default_timeout=60, args=(0.25, None)))
    assert 'class="band"' not in html(bare)
    assert "No interval" in text(bare)


def test_without_a_score_a_sentence_says_so(models):
    app = run(AppTest.from_function(scored, default_timeout=60, args=(None, None)))
    assert "no classifier" in app.info[0].value
    assert not app.metric


def test_readers_are_quoted_with_the_size_and_nothing_is_said_of_unrated_lesions(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(parts.st, "markdown", said.append)
    entry: dict[str, Any] = {"malignancy": 4.0, "diameter_mm": 7.26}
    model: Any = SimpleNamespace(lesion=lambda row: entry)
    parts.readers(model, 0)
    assert said[0].startswith("**Readers:** malignancy ")
    assert said[0].endswith("diameter 7.3 mm")
    entry["diameter_mm"] = None
    parts.readers(model, 0)
    assert "diameter" not in said[1]
    entry["malignancy"] = float("nan")
    parts.readers(model, 0)
    assert len(said) == 2


def test_a_heading_is_shown_as_it_is(monkeypatch):
    shown: list[str] = []
    monkeypatch.setattr(parts.st, "html", shown.append)
    parts.heading("<Nearest>")
    assert "&lt;Nearest&gt;</h2>" in shown[0]
