"""The Clusters page's charts, of clusters made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lungvae_core.palette import GREY, OKABE_ITO
from pages.knowledge import clusters_figures as figures


def interval(value: float | None, margin: float = 0.1) -> dict[str, float | None]:
    if value is None:
        return {"value": None, "low": None, "high": None}
    return {"value": value, "low": value - margin, "high": value + margin}


@pytest.fixture
def method() -> dict[str, Any]:
    """k-means with two clusters and some lesions in none."""
    curve = [
        {
            "k": k,
            "silhouette": 0.1 * k,
            "inertia": 10 / k,
            "featureless": interval(0.05),
            "ami": {"malignancy": 0.02 * k, "patient": 0.3},
        }
        for k in (2, 3, 4)
    ]

    def attribute(title: str, kind: str, value: float) -> dict[str, Any]:
        measures = {"value": value, "null_high": 0.05, "p": 0.01}
        return {"title": title, "kind": kind, "units": 20, "groups": 3, "ami": measures, "nmi": measures}

    return {
        "curve": curve,
        "settings": {"k": 3, "elbow": 2},
        "noise": 0.1,
        "clusters": [
            {"cluster": 0, "name": "large", "share": 0.6, "jaccard": interval(0.9)},
            {"cluster": 1, "name": "small", "share": 0.3, "jaccard": interval(None)},
        ],
        "attributes": [attribute("patient", "confound", 0.4), attribute("malignancy", "finding", 0.1)],
        "stability": {"rand": interval(0.8)},
        "featureless": {"rand": interval(0.0)},
    }


def test_the_first_clusters_differ_by_colour_and_later_ones_by_symbol_too():
    count = len(OKABE_ITO)
    assert figures.style(0) == (OKABE_ITO[0], "circle", "●")
    assert figures.style(count) == (OKABE_ITO[0], "diamond-tall", "♦")
    assert len({figures.style(number) for number in range(3 * count)}) == 3 * count


def test_every_lesion_is_drawn_once_in_its_clusters_colour(method):
    xy = np.arange(10.0).reshape(5, 2)
    members = np.array([1, -1, 0, 1, 0])
    clusters = [*method["clusters"], {"cluster": 2, "name": "x" * 60}]
    figure = figures.places(xy, members, clusters, list("abcde"))
    assert [trace.name for trace in figure.data] == ["in none", "0: large", "1: small"]  # none is empty
    assert [list(trace.text) for trace in figure.data] == [["b"], ["c", "e"], ["a", "d"]]
    assert list(figure.data[1].x) == [4, 8]
    assert figure.data[0].marker.color == GREY
    assert figure.data[1].marker.color == OKABE_ITO[0]


def test_settings_that_were_tried_are_drawn_with_the_chosen_one(method):
    figure = figures.tried(method)
    silhouette, without, inertia = figure.data
    assert (list(silhouette.x), list(silhouette.y)) == ([2, 3, 4], pytest.approx([0.2, 0.3, 0.4]))
    assert list(without.y) == [0.05] * 3
    assert list(inertia.y) == pytest.approx([5, 10 / 3, 2.5])
    assert {shape.x0 for shape in figure.layout.shapes} == {2, 3}  # the elbow, and what was chosen
    for one in method["curve"]:
        del one["inertia"]
        one["radius"] = one.pop("k")
    method["settings"] = {"radius": 4}
    assert len(figures.tried(method).data) == 1
    assert figures.tried({**method, "curve": []}) is None


def test_sizes_end_with_the_lesions_in_no_cluster(method):
    [bars] = figures.sizes(method).data
    assert (list(bars.x), list(bars.y)) == (["0", "1", "in none"], [0.6, 0.3, 0.1])
    assert bars.marker.color[-1] == GREY
    [bars] = figures.sizes({**method, "noise": 0}).data
    assert list(bars.x) == ["0", "1"]


def test_attributes_stand_beside_chance_and_the_confound_is_hatched(method):
    *kinds, chance = figures.follows(method, "nmi").data
    drawn = {bar.name: (list(bar.y), list(bar.x)) for bar in kinds if len(bar.y)}
    assert drawn["what readers said"] == (["malignancy"], [0.1])
    confound = next(bar for bar in kinds if bar.name.startswith("confound"))
    assert (list(confound.y), confound.marker.pattern.shape) == (["patient"], "/")
    assert list(chance.y) == ["malignancy", "patient"]  # the largest on top
    assert list(chance.x) == [0.05, 0.05]


def test_agreement_along_k_has_a_line_an_attribute(method):
    figure = figures.along_k(method, {"malignancy": "Malignancy"})
    assert [(line.name, list(line.y)) for line in figure.data] == [
        ("Malignancy", pytest.approx([0.04, 0.06, 0.08])),
        ("patient", [0.3] * 3),
    ]
    assert figure.layout.shapes[0].x0 == 3
    assert figures.along_k({**method, "curve": []}, {}) is None


def test_clusters_of_unknown_stability_are_left_out(method):
    clusters, together = figures.steadiness(method).data
    assert (list(clusters.x), list(clusters.y)) == (["0"], [0.9])
    assert list(together.x) == ["the lesions", "without groups"]
    np.testing.assert_allclose(together.error_y.array, 0.1)
    method["stability"]["rand"] = interval(None)
    _, together = figures.steadiness(method).data
    assert list(together.x) == ["without groups"]


def test_maps_of_the_unit_alone_are_compared():
    quality = [
        {
            "unit": unit,
            "title": title,
            "neighbours": [5, 15],
            "trustworthiness": [0.9, 0.8],
            "continuity": [1, 0.7],
        }
        for unit, title in (("slice", "UMAP"), ("slice", "PCA"), ("nodule", "UMAP"))
    ]
    figure = figures.maps(quality, "slice")
    assert [trace.name for trace in figure.data] == ["UMAP", "UMAP", "PCA", "PCA"]
    assert [list(trace.y) for trace in figure.data[:2]] == [[0.9, 0.8], [1, 0.7]]
    assert not figures.maps(quality, "patient").data
