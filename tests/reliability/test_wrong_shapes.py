"""What a latent space knows, with something else in every place: refused in a sentence, or shown.

A report that is sound JSON can hold a list for an object and a number for a text. Each place of each report
is tried with each kind of wrong value: the door refuses it, or all pages and routes that read it can show it.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit.testing.v1 import AppTest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement import assess
from lungvae_core.evaluation.report import load_run_report
from lungvae_core.explore.clusters.report import _fingerprint, load_clusters
from lungvae_core.explore.directions import load_directions
from lungvae_core.explore.measured import record
from lungvae_core.serving.http.routes import registry, routes
from lungvae_core.training.checkpoints import KNOWN, Run
from tests.conftest import ROOT
from tests.pages.conftest import open_page
from tests.wrong_shapes import WRONG, Place, places, replaced, spelled

NODULES, SLICES, DIMENSIONS = 24, 120, 4  # of the tiny models
# Report -> (page, what its address says) that shows it.
SHOWN: dict[str, list[tuple[str, dict[str, str]]]] = {
    "clusters.json": [
        *(("knowledge/clusters.py", {"method": name}) for name in ("kmeans", "classix", "hdbscan")),
        ("map/latent_map.py", {"colour": "cluster-kmeans", "clusters": "kmeans"}),
    ],
    "directions.json": [
        ("knowledge/directions.py", {}),
        ("traversal/traversal.py", {"along": "malignancy", "along-by": "1"}),
    ],
    "measured.json": [("knowledge/measured.py", {}), ("traversal/traversal.py", {}), ("compare.py", {})],
    "disentanglement.json": [("knowledge/factors.py", {}), ("knowledge/factors.py", {"on": "phantom"})],
    "evaluation.json": [("home.py", {}), ("evaluation/evaluation.py", {}), ("predict/predict.py", {})],
}
FEW = ("missing", "text", "list")  # kinds of wrong values
SOME = 40  # places
ROUTES = ["outlines?unit=nodule&method=pca&clusters=kmeans", "colours?by=cluster-kmeans&unit=nodule"]


def small_clusters(report: dict[str, Any], codes: Any) -> dict[str, Any]:
    """The shipped model's clusters as if they were a tiny model's."""
    report |= {"rows": list(range(0, SLICES, 5)), "sample": None, "codes": _fingerprint(codes)}
    for method in report["methods"].values():
        method["members"] = [at % method["count"] for at in range(NODULES)]
        for each in method["clusters"]:
            each["typical"] = [each["cluster"]]
    return report


def small_directions(report: dict[str, Any]) -> dict[str, Any]:
    for vectors in (report["space"], *report["directions"].values()):
        for name, value in vectors.items():
            if isinstance(value, list) and len(value) > DIMENSIONS:
                vectors[name] = value[:DIMENSIONS]
    return report


def small_measured(report: dict[str, Any]) -> dict[str, Any]:
    report |= {"dimensions": report["dimensions"][:DIMENSIONS], "dimensions_count": DIMENSIONS}
    report["starts"]["rows"] = [0, 5, 10]
    for one in report["dimensions"]:
        one["judged"] = {"texture": [0.5, 0.2, 0.8, 0.7, 0.9]}
    agreement = {"texture": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 40, "patients": 20}}
    rows = {"used": 40, "left_out": {}, "unit": "slices"}
    report["judge"] = {
        "ratings": {"real": agreement, "reconstructed": agreement},
        "fitted": rows,
        "tested": rows,
    }
    return report


@pytest.fixture(scope="module")
def reports(tiny_models: Path) -> dict[str, Any]:
    """Sound reports of tiny-gvae by file name, made of shipped ones, in which all methods find clusters."""
    run = Run.open(tiny_models / "tiny-gvae")
    of = dict.fromkeys(KNOWN, "gvae") | {"clusters.json": "gvae-guided"}
    shipped = {name: json.loads((ROOT / "models" / of[name] / name).read_text()) for name in KNOWN}
    return {
        "clusters.json": small_clusters(shipped["clusters.json"], run.latents()[1]),
        "directions.json": small_directions(shipped["directions.json"]),
        "measured.json": small_measured(shipped["measured.json"]),
        "disentanglement.json": shipped["disentanglement.json"],
        "evaluation.json": json.loads((tiny_models / "tiny-gvae" / "evaluation.json").read_text()),
    }


@pytest.fixture
def folder(tiny_models: Path, reports: dict[str, Any], tmp_path: Path, monkeypatch) -> Iterator[Path]:
    """A tiny model with all reports, and another one beside it."""
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(tiny_models, tmp_path / "models")
    for name, report in reports.items():
        (folder / name).write_text(json.dumps(report))
    for name in ("models", "runs", "data", "workspace"):
        monkeypatch.setenv(f"LUNGVAE_{name.upper()}", str(tmp_path / name))
    registry.cache_clear()
    yield folder
    registry.cache_clear()


def doors(folder: Path) -> dict[str, Callable[[], Any]]:
    run = Run.open(folder)
    codes = run.latents()[1]
    return {
        "clusters.json": lambda: load_clusters(folder, codes, NODULES),
        "directions.json": lambda: load_directions(folder, codes),
        "measured.json": lambda: record.load(run),
        "disentanglement.json": lambda: assess.load(folder),
        "evaluation.json": lambda: load_run_report(run),
    }


def passed(
    folder: Path, name: str, report: Any, tried: Iterable[Place], kinds: Iterable[str]
) -> list[tuple[Place, str]]:
    """The (place, kind) of wrong values that a report's door lets in; others it refuses in a sentence."""
    door = doors(folder)[name]
    let_in, refusals = [], []
    for at in tried:
        for kind in kinds:
            (folder / name).write_text(json.dumps(replaced(report, at, WRONG[kind])))
            try:
                door()
            except UserError as error:
                refusals.append(str(error))
            else:
                let_in.append((at, kind))
    assert all(len(refusal) < 1_000 and refusal.isprintable() for refusal in refusals)
    assert refusals
    return let_in


def shown(folder: Path, name: str, report: Any, at: Place, kind: str) -> None:
    """Every page and route that reads a report shows one with a wrong value, or says a sentence."""
    (folder / name).write_text(json.dumps(replaced(report, at, WRONG[kind])))
    registry.cache_clear()
    for page, query in SHOWN[name]:
        check(open_page(page, model="tiny-gvae", **query), f"{page}: {spelled(at)} {kind}")
    if name == "clusters.json":
        client = TestClient(Starlette(routes=routes()))
        for route in ROUTES:
            assert client.get(f"/api/models/tiny-gvae/{route}").status_code in (200, 400, 404)


def check(app: AppTest, where: str) -> None:
    assert len(app.title) == 1, where
    for error in app.error:
        assert "fault of the program" not in error.value, (where, error.value)


@pytest.mark.parametrize("name", SHOWN)
def test_sound_reports_are_shown(name: str, folder: Path):
    for page, query in SHOWN[name][:1]:
        app = open_page(page, model="tiny-gvae", **query)
        assert len(app.title) == 1
        assert not app.error, (page, app.error[0].value)


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.long
def test_a_report_with_a_wrong_value_is_refused_or_shown(name: str, folder: Path, reports: dict[str, Any]):
    """The door with a few values in some places; the pages with one of those that it lets in."""
    chance = random.Random(name)
    every = list(places(reports[name]))
    tried = chance.sample(every, min(SOME, len(every)))
    at, kind = chance.choice(passed(folder, name, reports[name], tried, FEW))
    shown(folder, name, reports[name], at, kind)


@pytest.mark.long
@pytest.mark.exhaustive  # minutes a report
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SHOWN)
def test_every_report_that_is_let_in_is_shown(name: str, folder: Path, reports: dict[str, Any]):
    for at, kind in passed(folder, name, reports[name], places(reports[name]), WRONG):
        shown(folder, name, reports[name], at, kind)
