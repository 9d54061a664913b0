"""Addresses of pages with anything in them: a page or a sentence, never an exception."""

from __future__ import annotations

import random
import re
import time

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.http.routes import registry
from pages.shared import url
from tests import hostile
from tests.conftest import ROOT

FEW, MANY = 2, 25
SHARED = ("model", "text", "tour")  # which the frame around every page reads
# page -> what its address may hold
PAGES = {
    "home.py": ("model", "text", "tour"),
    "map/latent_map.py": (
        *("model", "unit", "method", "dims", "colour", "row", "rows", "set", "where", "density", "clusters"),
        *("made", "group"),
    ),
    "traversal/traversal.py": (
        *("model", "row", "start", "dimension", "edits", "along-by", "way", "b", "b_row", "by", "across"),
        *("up", "along"),
    ),
    "predict/predict.py": ("model", "source", "row", "method"),
    "compare.py": ("model", "beside", "unit", "method", "colour", "row", "rows"),
    "evaluation/evaluation.py": ("model", "report", "unit"),
    "knowledge/measured.py": ("model", "dimension"),
    "knowledge/factors.py": ("model", "on", "space"),
    "knowledge/clusters.py": ("model", "method", "map"),
    "knowledge/directions.py": ("model", "direction", "row", "from"),
    "work/train.py": ("model", "job"),
    "work/search.py": ("model", "search"),
}
VALUES = [
    *("", "0", "-1", "5", "99999999999999999999", "1e999", "NaN", "row:5", "draw:7", "draw:-1", "prior"),
    *("3:0.5,9:1e308", "malignancy:0.5", "gvae", "tiny-gvae", "../../etc/passwd", "3-9,12", "9-3", "nodule"),
    *("umap", "pca", "3", "neighbours:30,metric:cosine", "kmeans", '[{"search":"x"}]', '[{"column":"z"}]'),
    *("[[[[[[", "%00", *(text for text in hostile.TEXTS if text in hostile.FOR_PAGES)),
]


@pytest.fixture
def open_page(tiny_models, tiny_data, tmp_path, monkeypatch):
    """open_page(file, {name: value}) runs a page at that address."""
    folders = {"models": tiny_models, "data": tiny_data.parent}
    folders |= {name: tmp_path / name for name in ("runs", "workspace")}
    for name, folder in folders.items():
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(folder))
    registry.cache_clear()

    def go(file: str, query: dict[str, str | list[str]]) -> AppTest:
        app = AppTest.from_file(str(ROOT / "pages" / "shell.py"), default_timeout=60)
        app.run().switch_page(file)
        for name, value in query.items():
            app.query_params[name] = value
        return app.run()

    yield go
    registry.cache_clear()


def tried(open_page, page: str, count: int) -> None:
    chance = random.Random(page)
    for _ in range(count):
        names = chance.sample(PAGES[page], k=min(len(PAGES[page]), chance.randint(1, 4)))
        query = {name: chance.choice(VALUES) for name in names}
        app = open_page(page, query)
        assert not app.exception, (query, app.exception[0].value)
        assert len(app.title) == 1 or app.error, query


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.long
def test_a_few_addresses_of_each_page(page, open_page):
    tried(open_page, page, FEW)


def all_at_once(open_page, page: str, values: list[str | list[str]]) -> None:
    """Every parameter of the page has the same value: what one page cannot use hides no other."""
    for value in values:
        started = time.monotonic()
        app = open_page(page, dict.fromkeys(PAGES[page], value))
        assert not app.exception, (value[:60], app.exception[0].value)
        assert len(app.title) == 1 or app.error, value[:60]
        assert time.monotonic() - started < 30, value[:60]


def test_pages_read_addresses_by_one_reader():
    """What is sent goes to `pages.shared.url` and `lungvae_core.parameters`: int() and float() raise."""
    for path in ROOT.glob("pages/**/*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(isdigit|isdecimal|isnumeric)\(", text), path.name
        assert path.name == "url.py" or not re.search(r"\bst\.query_params\b", text), path.name


@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_no_parameter_that_is_not_tried(page, open_page, monkeypatch):
    """What it reads as it runs, whatever calls it; `PAGES` says what is tried."""
    read = set()
    plain = url.sent

    def noted(name: str) -> str:
        read.add(name)
        return plain(name)

    monkeypatch.setattr(url, "sent", noted)
    for query in ({}, dict.fromkeys(PAGES[page], "1")):
        open_page(page, query)
    assert read
    assert read <= {*PAGES[page], *SHARED}


@pytest.mark.parametrize("value", [*hostile.FEW, ["1", "2"], ["tiny-gvae"] * 3])
def test_what_an_address_holds_is_reported_and_passed_over(value, open_page):
    app = open_page("predict/predict.py", {"row": value})
    assert not app.exception
    assert app.toast
    assert all(len(each.value) < 400 for each in app.toast)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.long
def test_a_hostile_number_in_all_parameters_of_each_page(page, open_page):
    all_at_once(open_page, page, [hostile.DIGITS, [hostile.DIGITS, "1"]])


@pytest.mark.long
@pytest.mark.exhaustive  # about 50 values for each parameter of each page
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", PAGES)
def test_hostile_values_in_all_parameters_of_each_page(page, open_page):
    all_at_once(open_page, page, hostile.FOR_PAGES)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_many_addresses_of_each_page(page, open_page):
    tried(open_page, page, MANY)
