"""What a map shows, over HTTP: places, colours, what is known, filters, density and clusters."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.report import make_clusters
from lungvae_core.serving.lesions.lesion import nodule_of
from lungvae_core.serving.maps import points
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings
from lungvae_core.training.checkpoints import Run

NAMES = ["tiny-gvae", "tiny-dirvae"]


@pytest.fixture(scope="module")
def with_data(tiny_models, tiny_data, tmp_path_factory):
    import shutil

    base = tmp_path_factory.mktemp("with-data")
    shutil.copytree(tiny_models, base / "models")
    make_clusters(Run.open(base / "models" / "tiny-gvae"), quick=True)
    return Registry(
        Settings(models=base / "models", runs=base, data=tiny_data.parent, workspace=base / "workspace")
    )


def client_of(registry: Registry) -> TestClient:
    return TestClient(Starlette(routes=points.routes(lambda: registry)), base_url="http://testserver")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("unit", ["slice", "nodule"])
@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
def test_points_are_the_map_as_little_endian_floats(with_data, name, unit, method):
    answer = client_of(with_data).get(f"/api/models/{name}/points", params={"unit": unit, "method": method})
    assert answer.headers["cache-control"] == "no-store"
    points = np.frombuffer(answer.content, "<f4").reshape(-1, 2)
    np.testing.assert_array_equal(points, with_data.load(name).map(unit, method))


@pytest.mark.parametrize("unit", ["slice", "nodule"])
def test_lesions_have_a_value_a_point(with_data, unit):
    model = with_data.load("tiny-gvae")
    payload = client_of(with_data).get("/api/models/tiny-gvae/lesions", params={"unit": unit}).json()
    count = len(model.map(unit, "pca"))
    for column in ("row", "patient", "nodule", "slice", "malignancy", "diameter", "score", "real"):
        assert len(payload[column]) == count
    assert all(payload["real"])
    names = [payload["patients"][patient] for patient in payload["patient"]]
    assert names == model.table["patient_id"].iloc[payload["row"]].tolist()


def test_every_slice_knows_its_nodule(with_data):
    model = with_data.load("tiny-gvae")
    payload = points.lesions(model, "nodule")
    for row, point in enumerate(payload["point_of_row"]):
        shown = model.table.iloc[payload["row"][point]]
        assert (shown["patient_id"], shown["nodule"]) == tuple(
            model.table.iloc[row][["patient_id", "nodule"]]
        )
    mean = model.table.groupby(["patient_id", "nodule"], sort=False)["score"].mean()
    np.testing.assert_allclose(payload["score"], mean, atol=0.001)


def test_three_dimensions_are_there_where_they_were_made_and_pca_always(with_data):
    client = client_of(with_data)
    answer = client.get("/api/models/tiny-gvae/points?method=pca&dims=3&unit=nodule")
    assert np.frombuffer(answer.content, "<f4").reshape(-1, 3).shape == (24, 3)
    answer = client.get("/api/models/tiny-gvae/points?method=umap&dims=3")
    assert answer.status_code == 404
    assert "lungvae map" in answer.json()["error"]


@pytest.mark.parametrize("by", ["malignancy", "size", "dim-2", "column-reader_spread", "column-size_band"])
def test_colours_are_a_legend_and_an_index_a_point(with_data, by):
    content = client_of(with_data).get("/api/models/tiny-gvae/colours", params={"by": by}).content
    (length,) = struct.unpack("<I", content[:4])
    legend = json.loads(content[4 : 4 + length])
    index = np.frombuffer(content[4 + length :], "<i2")
    assert len(index) == 120
    assert index.max() < len(legend["palette"])
    assert (index < 0).sum() == legend["unknown"]
    if legend["labels"]:
        assert legend["counts"] == np.bincount(index[index >= 0], minlength=len(legend["labels"])).tolist()


def test_everything_that_is_offered_can_be_coloured_by(with_data):
    for name in NAMES:
        model = with_data.load(name)
        for by in points.colour_choices(model):
            for unit in ("slice", "nodule"):
                assert len(points.colouring(model, unit, by).index) == len(model.map(unit, "pca"))
    assert any(by.startswith("cluster-") for by in points.colour_choices(with_data.load("tiny-gvae")))


def test_a_filter_is_a_byte_a_point(with_data):
    client, table = client_of(with_data), with_data.load("tiny-gvae").table

    def shown(*conditions):
        where = json.dumps(conditions)
        answer = client.get("/api/models/tiny-gvae/filter", params={"where": where})
        return np.frombuffer(answer.content, np.uint8).astype(bool)

    assert shown().all()
    large = shown({"column": "diameter_mm", "from": 10})
    np.testing.assert_array_equal(large, table["diameter_mm"] >= 10)
    found = shown({"column": "diameter_mm", "from": 10}, {"search": "test-0001"})
    np.testing.assert_array_equal(found, large & (table["patient_id"] == "TEST-0001"))


def test_a_cluster_s_outline_tells_what_it_is(with_data):
    client = client_of(with_data)
    payload = client.get("/api/models/tiny-gvae/outlines?unit=slice&method=pca&clusters=kmeans").json()
    assert payload
    for each in payload:
        assert "patients" in each["words"]
        assert each["lines"]
        assert len(each["centre"]) == 2
    answer = client.get("/api/models/tiny-dirvae/outlines?clusters=kmeans")
    assert answer.status_code == 404
    assert "lungvae clusters" in answer.json()["error"]


def test_clusters_of_nodules_reach_their_slices(with_data):
    model = with_data.load("tiny-gvae")
    slices = points.colouring(model, "slice", "cluster-kmeans").index
    nodules = points.colouring(model, "nodule", "cluster-kmeans").index
    np.testing.assert_array_equal(slices, nodules[nodule_of(model)])


def test_density_has_a_region_for_each_share(with_data):
    payload = client_of(with_data).get("/api/models/tiny-gvae/contours?method=pca").json()
    assert [level["share"] for level in payload["levels"]] == [0.95, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("no-such-model/points", 404),
        ("../points", 404),
        ("tiny-gvae/points?method=isomap", 400),
        ("tiny-gvae/points?unit=patient", 400),
        ("tiny-gvae/points?dims=4", 400),
        ("tiny-gvae/points?dims=2&dims=3", 400),
        ("tiny-gvae/points?map=0123456789abcdef", 404),
        ("tiny-gvae/points?map=../../etc/passwd", 400),
        ("tiny-gvae/lesions?unit=patient", 400),
        ("tiny-gvae/colours?by=astrology", 404),
        ("tiny-gvae/colours?by=dim-4", 400),
        ("tiny-gvae/colours?by=dim-01", 400),
        ("tiny-gvae/colours?by=column-series_uid", 404),
        ("tiny-gvae/colours?by=cluster-kmedoids", 404),
        ("tiny-gvae/filter?where=[{", 400),
        ("tiny-gvae/outlines?clusters=kmedoids", 400),
    ],
)
def test_what_is_not_there_is_a_sentence(with_data, path, status):
    answer = client_of(with_data).get(f"/api/models/{path}")
    assert answer.status_code == status
    assert status == 400 or not answer.content.startswith(b"{") or answer.json()["error"]


def test_a_refusal_says_what_can_be_had(with_data):
    answer = client_of(with_data).get("/api/models/tiny-gvae/colours?by=astrology")
    assert "malignancy" in answer.json()["error"]


def test_there_is_no_map_of_another_unit(with_data):
    with pytest.raises(UserError, match="patient"):
        points.unit_table(with_data.load("tiny-gvae"), "patient")
