"""Whether clusters come out again from other patients."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from lungvae_core.explore.clusters.methods import choose, silhouette
from lungvae_core.explore.clusters.stability import draws, featureless, stability, without_groups
from tests.explore.clusters.conftest import GROUPS, planted


@pytest.mark.long
def test_planted_groups_are_steady_and_sets_without_groups_are_not() -> None:
    points, truth = planted()
    patients = np.arange(300) // 3
    fit = choose("kmeans", points).fit
    steady = stability(fit, points, truth, patients, resamples=10)
    assert steady["rand"]["value"] > 0.97
    assert steady["clusters"] == {"low": GROUPS, "high": GROUPS}
    assert all(one["value"] > 0.95 and one["dissolved"] == 0 for one in steady["jaccard"])
    sets = featureless(points, 3)
    np.testing.assert_allclose(np.cov(np.concatenate(sets).T), np.cov(points.T), atol=3)
    bare = without_groups(fit, sets, patients)
    assert bare["rand"]["value"] < 0.9
    assert bare["silhouette"]["value"] < 0.6 * silhouette(pairwise_distances(points), truth)
    made_up = np.random.default_rng(0).integers(3, size=300)
    assert all(
        one["dissolved"] == 1 for one in stability(fit, points, made_up, patients, resamples=4)["jaccard"]
    )


def test_whole_patients_are_drawn_about_63_percent_of_them() -> None:
    patients = np.arange(3000) // 3
    for rows in draws(patients, 5, 0):
        assert len(np.unique(rows)) == len(rows)
        assert np.isin(patients, patients[rows]).sum() == len(rows)
        assert len(rows) / 3000 == pytest.approx(1 - np.exp(-1), abs=0.05)
