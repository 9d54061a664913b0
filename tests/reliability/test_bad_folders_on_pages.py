"""One bad folder on every page: at most that model, or that part of it, is missing, with a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lungvae_core.serving.http.routes import registry
from lungvae_core.training.checkpoints import KNOWN
from tests.conftest import ROOT
from tests.fuzz.test_pages import PAGES
from tests.pages.conftest import open_page
from tests.serving.http.test_bad_contents import CONTENTS, SOME_KINDS, damaged

SOME_PAGES = ("home.py", "knowledge/clusters.py", "knowledge/factors.py")


@pytest.fixture
def place(tiny_models: Path, tiny_data: Path, tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A good model beside one that is to be damaged, and the same of data sets, reports and searches."""
    for name in ("models", "runs", "data", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "models" / "good")
    shutil.copytree(tiny_models / "tiny-dirvae", tmp_path / "runs" / "bad")
    for name in ("good", "bad"):
        shutil.copytree(tiny_data, tmp_path / "data" / name)
    shutil.copytree(ROOT / "models" / "reports", tmp_path / "models" / "reports")
    registry.cache_clear()
    yield tmp_path
    registry.cache_clear()


def check(page: str) -> None:
    """The page opens for the good model and for the bad one; what it says of errors can be shown."""
    for name in ("good", "bad"):
        registry.cache_clear()
        app = open_page(page, model=name)
        errors = [each.value for each in app.error]
        assert not [each for each in errors if "fault of the program" in each], (name, errors)
        assert all(each.isprintable() and len(each) < 1_500 for each in errors)


@pytest.mark.parametrize(
    "page", [page if page in SOME_PAGES else pytest.param(page, marks=pytest.mark.long) for page in PAGES]
)
def test_a_model_whose_every_report_is_a_list_is_on_every_page(page: str, place: Path):
    for name in (*KNOWN, "evaluation.json", "metrics.jsonl"):
        damaged(place / "runs" / "bad" / name, "list")
    check(page)
    assert [entry.name for entry in registry().entries()] == ["good", "bad"]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", SOME_KINDS)
@pytest.mark.parametrize("path", CONTENTS)
def test_bad_contents_of_a_run_or_data_set_on_every_page(path: str, kind: str, place: Path):
    damaged(place / path, kind)
    for page in PAGES:
        check(page)
        assert "good" in [entry.name for entry in registry().entries()]
