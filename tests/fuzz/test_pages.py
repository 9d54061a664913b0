"""Addresses of pages with anything in them: a page or a sentence, never an exception."""

from __future__ import annotations

import random

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.serving.routes import registry
from tests.conftest import ROOT
from tests.fuzz.mutate import TEXTS

FEW, MANY = 2, 25
# page -> what its address may hold
PAGES = {
    "home.py": ("model", "text", "tour"),
    "latent_map.py": (
        *("model", "unit", "method", "dims", "colour", "row", "rows", "set", "where", "density", "clusters"),
        *("made", "group"),
    ),
    "traversal.py": (
        *("model", "row", "start", "dimension", "edits", "along-by", "way", "b", "b_row", "by", "across"),
        *("up", "along"),
    ),
    "predict.py": ("model", "source", "row"),
    "compare.py": ("model", "beside", "unit", "method", "colour", "row"),
    "evaluation.py": ("model", "report", "unit"),
    "measured.py": ("model", "dimension"),
    "factors.py": ("model", "on", "space"),
    "clusters.py": ("model", "method", "map"),
    "directions.py": ("model", "direction", "row"),
    "train.py": ("model", "job"),
    "search.py": ("model", "search"),
}
VALUES = [
    *("", "0", "-1", "5", "99999999999999999999", "1e999", "NaN", "row:5", "draw:7", "draw:-1", "prior"),
    *("3:0.5,9:1e308", "malignancy:0.5", "gvae", "tiny-gvae", "../../etc/passwd", "3-9,12", "9-3", "nodule"),
    *("umap", "pca", "3", "neighbours:30,metric:cosine", "kmeans", '[{"search":"x"}]', '[{"column":"z"}]'),
    *("<script>alert(1)</script>", "٣", "%00", "x" * 5000, "[[[[[[", "\u202e", *TEXTS),
]


@pytest.fixture
def open_page(tiny_models, tiny_data, tmp_path, monkeypatch):
    """open_page(file, {name: value}) runs a page at that address."""
    folders = {"models": tiny_models, "data": tiny_data.parent}
    folders |= {name: tmp_path / name for name in ("runs", "workspace")}
    for name, folder in folders.items():
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(folder))
    registry.cache_clear()

    def go(file: str, query: dict[str, str]) -> AppTest:
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
def test_a_few_addresses_of_each_page(page, open_page):
    tried(open_page, page, FEW)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_many_addresses_of_each_page(page, open_page):
    tried(open_page, page, MANY)
