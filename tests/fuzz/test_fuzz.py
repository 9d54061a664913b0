"""Damaged inputs by the thousand: each ends in a result or in a sentence, in little time and memory.

LUNGVAE_FUZZ says how many of each kind; the long test tries more than 5,000 in all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
from tests.conftest import ROOT
from tests.fuzz import targets
from tests.fuzz.mutate import TEXTS, mutated
from tests.fuzz.readers import READERS
from tests.fuzz.targets import Target
from tests.fuzz.trial import Outcome, attempt

FEW, MANY = 25, 320
RUN_FILES = [
    "config.json",
    "model.safetensors",
    "classifier.safetensors",
    "ensemble.safetensors",
    "folds.safetensors",
    "attention.safetensors",
    "latents.parquet",
    "map-slice.parquet",
    "evaluation.json",
    "metrics.jsonl",
]
KNOWN_FILES = ["clusters.json", "directions.json", "measured.json"]
DATA_FILES = ["dataset.json", "table.parquet", "slices.npy"]


# A forked process has none of its parent's threads: torch must not count on them.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def fuzz(tmp_path: Path) -> Callable[[Target, int], Outcome]:
    """fuzz(target, count) tries the whole inputs, which must not be findings, and `count` damaged ones."""

    def go(target: Target, count: int) -> Outcome:
        count = int(os.environ.get("LUNGVAE_FUZZ", count))
        whole = target.seeds

        def make(seed: int) -> bytes:
            return whole[seed] if seed < len(whole) else mutated(whole[seed % len(whole)], whole, seed)

        outcome = attempt(target.run, make, range(count + len(whole)), tmp_path)
        print(outcome.report())
        assert outcome.findings == [], outcome.report() + "\n" + outcome.findings[0][1]
        assert outcome.results + outcome.sentences == count + len(whole)
        return outcome

    return go


@pytest.mark.parametrize("reader", READERS)
def test_damaged_files(reader: str, fuzz) -> None:
    found = fuzz(READERS[reader](), FEW)
    assert found.sentences


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("reader", READERS)
def test_many_damaged_files(reader: str, fuzz) -> None:
    fuzz(READERS[reader](), MANY)


@pytest.mark.parametrize("name", RUN_FILES)
def test_damaged_models(name: str, tiny_models: Path, fuzz) -> None:
    fuzz(targets.file_in(tiny_models / "tiny-dirvae", name, targets.use_run), FEW)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", RUN_FILES)
def test_many_damaged_models(name: str, tiny_models: Path, fuzz) -> None:
    fuzz(targets.file_in(tiny_models / "tiny-dirvae", name, targets.use_run), MANY)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", KNOWN_FILES)
def test_many_damaged_findings_of_a_model(name: str, fuzz) -> None:
    fuzz(targets.file_in(ROOT / "models" / "gvae", name, targets.use_known), MANY // 4)


@pytest.mark.parametrize("name", DATA_FILES)
def test_damaged_data_sets(name: str, tiny_data: Path, fuzz) -> None:
    fuzz(targets.file_in(tiny_data, name, targets.use_data), FEW)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", DATA_FILES)
def test_many_damaged_data_sets(name: str, tiny_data: Path, fuzz) -> None:
    fuzz(targets.file_in(tiny_data, name, targets.use_data), MANY)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_many_damaged_reports(fuzz) -> None:
    whole = ROOT / "models" / "reports" / "dirvae-nested-mvb.json"
    fuzz(Target([whole.read_bytes()], targets.report), MANY // 4)


def wire(tiny_models: Path, tmp_path: Path) -> Target:
    from lungvae_core.serving.walks.live import Session
    from lungvae_core.serving.walks.live_batch import _decode

    model = Registry(Settings(models=tiny_models, runs=tmp_path, data=tmp_path)).load("tiny-dirvae")

    def run(content: bytes, _folder: Path) -> object:
        session = Session(model)
        question = session.question(content.decode(errors="replace"))
        return _decode([(session, question, Future())])[0]

    return Target(targets.wishes(4), run)


def test_damaged_wishes(tiny_models: Path, tmp_path: Path, fuzz) -> None:
    fuzz(wire(tiny_models, tmp_path), 4 * FEW)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_many_damaged_wishes(tiny_models: Path, tmp_path: Path, fuzz) -> None:
    fuzz(wire(tiny_models, tmp_path), 2 * MANY)


ADDRESSES = [
    ("points", ("unit", "method", "dims", "map")),
    ("colours", ("unit", "by")),
    ("lesions", ("unit",)),
    ("filter", ("unit", "where")),
    ("contours", ("unit", "method", "map")),
    ("outlines", ("unit", "method", "map", "clusters")),
    ("slices/{row}.png", ("kind",)),
    ("nodules/{row}/{row}.hu", ()),
    ("nodules/{row}/{row}.mask", ()),
]
VALUES = [
    "slice", "nodule", "umap", "pca", "2", "3", "malignancy", "dim-2", "cluster-kmeans", "column-area_px",
    "kmeans", "reconstruction", "-1", "99999999999999999999", "NaN", "1e999", "[]", '[{"search": "x"}]',
    '[{"column": "malignancy", "from": "a"}]', '[{"column": 3}]', '{"a": 1}', "[[[[", *TEXTS,
]  # fmt: skip


def test_addresses_of_the_routes(tiny_models: Path, tiny_data: Path, tmp_path: Path, monkeypatch) -> None:
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from lungvae_core.serving.http import routes

    settings = Settings(models=tiny_models, runs=tmp_path, data=tiny_data.parent, workspace=tmp_path)
    registry = Registry(settings)
    monkeypatch.setattr(routes, "registry", lambda: registry)
    client = TestClient(Starlette(routes=routes.routes()), raise_server_exceptions=True)
    generator = np.random.default_rng(0)
    answers: set[int] = set()
    for _ in range(int(os.environ.get("LUNGVAE_FUZZ", 400))):
        path, names = ADDRESSES[int(generator.integers(len(ADDRESSES)))]
        row = ["0", "7", "119", "120", "99999999999999999999", "-1", "a", "..%2f.."][
            int(generator.integers(8))
        ]
        model = ["tiny-gvae", "tiny-dirvae", "none", "..%2ftiny", "%00"][int(generator.integers(5))]
        query = {
            name: VALUES[int(generator.integers(len(VALUES)))] for name in names if generator.random() < 0.8
        }
        try:
            answer = client.get(f"/api/models/{model}/{path.format(row=row)}?{urlencode(query)}")
        except UserError as error:  # one that no route has turned into an answer
            pytest.fail(f"{path} {query}: {error!r}")
        answers.add(answer.status_code)
        assert answer.status_code in (200, 202, 304, 400, 404), (path, query, answer.status_code)
        if answer.status_code >= 400 and answer.headers["content-type"].startswith("application/json"):
            assert "Traceback" not in answer.json()["error"]
    assert {200, 404} <= answers
