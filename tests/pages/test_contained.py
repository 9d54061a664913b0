"""A damaged file of one model takes a part of a page, with a sentence; never the page, and never another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lungvae_core import faults
from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import open_page

EVALUATIONS = {
    "deep": "[" * 100_000,
    "long integer": '{"protocol": ' + "1" * 5_000 + "}",
    "lone surrogate": '{"protocol": "\\ud800"}',
    "list": "[]",
    "without figures": '{"protocol": "frozen", "units": {}}',
    "figures that are text": json.dumps({"protocol": "frozen", "units": {"nodule": {"auc": "high"}}}),
}


@pytest.fixture
def copied(models, tmp_path, monkeypatch) -> Path:
    """The two tiny models in a folder of the test's own; the first is to be damaged."""
    shutil.copytree(models, tmp_path / "copied")
    monkeypatch.setenv("LUNGVAE_MODELS", str(tmp_path / "copied"))
    registry.cache_clear()
    return tmp_path / "copied"


@pytest.mark.parametrize("content", EVALUATIONS.values(), ids=EVALUATIONS.keys())
def test_home_shows_the_other_models_beside_a_damaged_evaluation(content: str, copied: Path):
    (copied / "tiny-dirvae" / "evaluation.json").write_text(content, encoding="utf-8")
    app = open_page("home.py")
    assert len(app.title) == 1
    [error] = [each.value for each in app.error]
    assert "evaluation" in error
    assert "fault of the program" not in error
    assert [each.value for each in app.subheader][-2:] == ["Tiny dirvae", "Tiny gvae"]


def test_a_fault_in_a_page_is_a_sentence_with_a_number(copied, monkeypatch, tmp_path):
    monkeypatch.setenv(faults.COUNTER, str(tmp_path / "faults"))
    monkeypatch.setattr("lungvae_core.evaluation.report_words.verdict", lambda *_: 1 / 0)
    shutil.copytree(Path(__file__).resolve().parents[2] / "models" / "reports", copied / "reports")
    app = open_page("home.py")
    [error] = [each.value for each in app.error]
    assert "This page cannot be shown. This is a fault of the program, number" in error
    assert "ZeroDivisionError" in (tmp_path / "faults").read_text()
