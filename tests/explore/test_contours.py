"""Density regions hold the shares that they are said to hold, and clusters are outlined where they are."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from skimage.measure import points_in_poly

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.report import Clusters
from lungvae_core.explore.contours import FEWEST, SHARES, Density, contours, membership, outlines
from tests.conftest import ROOT


def inside(lines: list, xy: np.ndarray) -> np.ndarray:
    """(N,) bool, by the even-odd rule over all lines."""
    return np.sum([points_in_poly(xy, np.array(line)) for line in lines], axis=0) % 2 == 1


@pytest.mark.parametrize("humps", [1, 3])
def test_a_region_holds_about_its_share_of_the_points(humps):
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 3, (humps, 2))
    xy = centres[generator.integers(0, humps, 4000)] + generator.normal(0, 0.5, (4000, 2))
    regions = contours(xy)
    assert [level["share"] for level in regions] == sorted(SHARES, reverse=True)
    for level in regions:
        assert inside(level["lines"], xy).mean() == pytest.approx(level["share"], abs=0.05)


def test_regions_lie_within_one_another():
    xy = np.random.default_rng(1).normal(size=(2000, 2))
    grid = np.stack(np.meshgrid(*[np.linspace(-3, 3, 40)] * 2), -1).reshape(-1, 2)
    held = [inside(level["lines"], grid) for level in contours(xy)]
    for wide, narrow in itertools.pairwise(held):
        assert (narrow & ~wide).mean() < 0.01


def test_few_points_have_no_density():
    assert contours(np.zeros((5, 2))) == []


def test_points_on_one_place_do_not_break_it():
    density = Density(np.zeros((50, 2)))
    assert np.isfinite(density.grid).all()


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
