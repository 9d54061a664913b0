"""The Clusters page without a browser, on tiny models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.explore.clusters.methods import METHODS
from lungvae_core.explore.clusters.report import FILE, make_clusters
from lungvae_core.files import read_json, write_json
from lungvae_core.training.checkpoints import Run
from tests.pages.conftest import charts, labelled, open_page, run, text

NAMES = ("tiny-gvae", "tiny-dirvae")


@pytest.fixture(scope="module")
def made(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """clusters.json of each tiny model, made once: nodules of one, slices of the other."""
    kept = {}
    for name, unit in zip(NAMES, ("nodule", "slice"), strict=True):
        kept[name] = tmp_path_factory.mktemp("clusters") / f"{name}.json"
        make_clusters(Run.open(tiny_models / name), unit=unit, quick=True, out=kept[name])
    return kept


@pytest.fixture
def clustered(tiny_models: Path, made: dict[str, Path]) -> Iterator[Path]:
    """The tiny models with clusters of both."""
    for name in NAMES:
        shutil.copy(made[name], tiny_models / name / FILE)
    yield tiny_models
    for name in NAMES:
        (tiny_models / name / FILE).unlink(missing_ok=True)


def opened(**query: str) -> AppTest:
    return open_page("knowledge/clusters.py", **query)


@pytest.mark.parametrize(("name", "unit"), [("tiny-gvae", "nodules"), ("tiny-dirvae", "slices")])
@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_shown_with_what_it_does_not_mean(models, clustered, name, unit, method):
    app = opened(model=name, method=method)
    said = text(app)
    assert NOTICE in said
    assert "Patient is a confound" in said
    assert "Not types of disease" in said
    assert f"{24 if unit == 'nodules' else 120} {unit} of 24 patients" in said
    assert "seed 0. All 120 slices were used." in said
    assert "by median_high" in said
    assert "No label was used" in said
    assert app.query_params["method"] == method
    report = read_json(clustered / name / FILE, what="")["methods"][method]
    for one in report["clusters"]:
        assert one["words"] in said
    images = [element.proto.body for element in app.get("html") if "generated</div>" in element.proto.body]
    assert len(images) == report["count"]
    points = sum(len(trace["x"]["bdata"]) > 0 for trace in charts(app)[0]["data"])
    assert points == report["count"] + (report["noise"] > 0)


def test_patient_is_marked_and_chance_is_beside(models, clustered):
    app = opened(model="tiny-dirvae", method="kmeans")
    bars = next(chart for chart in charts(app) if any(trace.get("type") == "bar" for trace in chart["data"]))
    confound = next(trace for trace in bars["data"] if str(trace.get("name")).startswith("confound"))
    assert "patient" in confound["y"]
    assert confound["marker"]["pattern"]["shape"]
    assert any(str(trace.get("name")).startswith("chance") for trace in bars["data"])
    said = text(app)
    assert "Purity by malignancy" in said
    assert "Patient, the confound" in said


def test_another_method_and_measure_can_be_picked(models, clustered):
    app = opened(model="tiny-gvae")
    run(labelled(app.segmented_control, "Method").set_value("hdbscan"))
    assert app.query_params["method"] == "hdbscan"
    app = opened(model="tiny-gvae", method="kmeans")
    run(labelled(app.segmented_control, "Measure").set_value("nmi"))
    assert "NMI between clusters" in text(app)


def test_without_clusters_the_command_is_named(models):
    said = text(opened(model="tiny-gvae"))
    assert "lungvae clusters" in said


def test_damaged_clusters_are_reported(models, clustered):
    write_json(clustered / "tiny-gvae" / FILE, {"format": 1})
    assert "damaged" in text(opened(model="tiny-gvae"))


def test_labels_that_shaped_the_codes_are_warned_of(models, clustered):
    path = clustered / "tiny-gvae" / FILE
    write_json(path, read_json(path, what="") | {"labels_shaped_codes": True})
    assert "not a test" in text(opened(model="tiny-gvae"))
