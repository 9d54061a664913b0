"""Clusters on a map: of which slices and nodules they consist, and where they are outlined."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.report import Clusters
from lungvae_core.explore.outlines import FEWEST, membership, outlines
from tests.conftest import ROOT


def clusters(unit: str, at: list[int], members: list[int]) -> Clusters:
    """Clusters by k-means, with the words of the shipped model's."""
    report = json.loads((ROOT / "models" / "gvae" / "clusters.json").read_text())
    return Clusters(report, unit, np.array(at), np.array(at), {"kmeans": np.array(members)})


def test_clusters_of_nodules_reach_their_slices() -> None:
    nodule_of_row = np.array([0, 0, 1, 2, 2])
    of_nodules = clusters("nodule", [0, 2], [1, 0])  # the nodule 1 was not clustered
    assert membership(of_nodules, "kmeans", nodule_of_row, "nodule").tolist() == [1, -1, 0]
    assert membership(of_nodules, "kmeans", nodule_of_row, "slice").tolist() == [1, 1, -1, 0, 0]


def test_clusters_of_slices_reach_nodules_by_the_most_frequent() -> None:
    nodule_of_row = np.array([0, 0, 0, 1, 1])
    of_slices = clusters("slice", [0, 1, 2, 3], [2, 2, 0, -1])
    assert membership(of_slices, "kmeans", nodule_of_row, "slice").tolist() == [2, 2, 0, -1, -1]
    assert membership(of_slices, "kmeans", nodule_of_row, "nodule").tolist() == [2, -1]
    with pytest.raises(UserError, match="has no clusters by 'spectral'; it has those by kmeans"):
        membership(of_slices, "spectral", nodule_of_row, "slice")


def test_an_outline_is_around_its_clusters_points() -> None:
    generator = np.random.default_rng(0)
    middle = np.array([[-0.5, -0.5], [0.5, 0.5]])
    numbers = np.repeat([0, 1], [200, 40])
    xy = (middle[numbers] + generator.normal(0, 0.05, (240, 2))).astype(np.float32)
    made = outlines(clusters("slice", list(range(240)), numbers.tolist()), "kmeans", numbers, xy)
    assert [one["cluster"] for one in made[:2]] == [0, 1]
    for one, expected in zip(made, middle, strict=False):
        np.testing.assert_allclose(one["centre"], expected, atol=0.15)
        line = np.concatenate([np.array(part) for part in one["lines"]])
        assert np.abs(line - expected).max() < 0.35
        assert one["name"].startswith(f"{one['cluster'] + 1}: ")
        assert one["words"]
    assert [one["count"] for one in made[:2]] == [200, 40]
    assert made[0]["colour"] != made[1]["colour"]


def test_a_few_points_have_no_outline() -> None:
    numbers = np.zeros(FEWEST - 1, int)
    xy = np.random.default_rng(0).normal(size=(FEWEST - 1, 2))
    assert outlines(clusters("slice", [0], [0]), "kmeans", numbers, xy) == []
