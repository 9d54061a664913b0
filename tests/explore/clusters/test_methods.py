"""Planted groups come back, and none are made up."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from lungvae_core.explore.clusters.methods import METHODS, NOISE, choose, knee, ordered, silhouette
from tests.explore.clusters.conftest import GROUPS, planted


@pytest.mark.parametrize("name", METHODS)
def test_planted_groups_come_back_and_none_are_made_up(name: str) -> None:
    points, truth = planted()
    members = choose(name, points).fit(points)
    assert adjusted_rand_score(truth[members != NOISE], members[members != NOISE]) > 0.97
    assert np.mean(members == NOISE) < 0.2
    assert int(members.max()) + 1 == GROUPS
    np.testing.assert_array_equal(members, choose(name, points).fit(points))


@pytest.mark.long
def test_k_is_chosen_by_the_silhouette_with_the_elbow_beside_it() -> None:
    points, _ = planted()
    method = choose("kmeans", points)
    widths = {one["k"]: one["silhouette"] for one in method.curve}
    assert method.settings["k"] == max(widths, key=lambda k: widths[k]) == GROUPS
    assert method.settings["elbow"] == GROUPS
    inertia = [one["inertia"] for one in method.curve]
    assert inertia == sorted(inertia, reverse=True)
    assert knee([2, 3, 4, 5, 6], [100.0, 20.0, 18.0, 16.0, 14.0]) == 3


def test_clusters_are_numbered_by_size() -> None:
    np.testing.assert_array_equal(ordered(np.array([7, 2, 2, -1, 7, 7])), [0, 1, 1, NOISE, 0, 0])


def test_the_silhouette_leaves_out_noise_and_needs_two_clusters() -> None:
    points, truth = planted(60)
    distances = pairwise_distances(points)
    assert silhouette(distances, truth) > 0.5
    half = np.where(np.arange(60) % 2 == 0, NOISE, truth)
    assert silhouette(distances, half) > 0.5
    assert np.isnan(silhouette(distances, np.zeros(60, int)))
