"""Scores of disentanglement on codes whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.evaluation.disentanglement import scores
from tests.evaluation.disentanglement.made import made, rotation


def mig_of(codes: np.ndarray, factors: np.ndarray) -> float:
    binned = scores.Binned.of(factors)
    information = scores.information(scores.Binned.of(codes), binned)
    return float(scores.mig(information, binned.entropies()).mean())


def test_bins_have_equal_mass_and_keep_ties_together():
    assert np.bincount(scores.binned(np.arange(200.0), 20)).tolist() == [10] * 20
    ties = np.r_[np.zeros(150), np.arange(1, 51)]
    found = scores.binned(ties, 20)
    assert len(set(found[:150])) == 1
    assert (found[150:] > found[0]).all()
    assert scores.binned(np.array([3.0, 1.0, 3.0]), 20).tolist() == [1, 0, 1]


def test_information_is_scikit_learns():
    from sklearn.metrics import mutual_info_score

    values = made(300, 4)
    codes, factors = values[:, :2], values[:, 2:] + 0.3 * values[:, :2]
    information = scores.information(scores.Binned.of(codes), scores.Binned.of(factors))
    for i in range(2):
        for j in range(2):
            expected = mutual_info_score(scores.binned(codes[:, i]), scores.binned(factors[:, j]))
            assert information[i, j] == pytest.approx(expected, abs=1e-9)


def test_hand_computed_scores():
    # Two factors; the first dimension tells of both, the second of the second alone.
    information = np.array([[0.6, 0.3], [0.0, 0.5]])
    assert scores.mig(information, np.array([1.0, 2.0])) == pytest.approx([0.6, 0.1])
    assert scores.modularity(information) == pytest.approx([1 - 0.3**2 / 0.6**2, 1.0])
    importance = np.array([[1.0, 0.5], [0.0, 0.5]])
    disentangled, complete, mean = scores.dci(importance)
    entropy = -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))
    assert disentangled == pytest.approx([1 - entropy, 1.0])
    assert complete == pytest.approx([1.0, 0.0])
    assert mean == pytest.approx((1.5 * (1 - entropy) + 0.5) / 2)
    codes = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    assert scores.sap(codes, codes[:, :1]) == pytest.approx([1.0])
    assert scores.sap(codes, codes.sum(1, keepdims=True)) == pytest.approx([0.0])  # half of it each


def test_what_tells_of_nothing_is_not_a_number_and_breaks_nothing():
    information = np.array([[0.0, 0.0], [0.2, 0.0]])
    assert np.isnan(scores.modularity(information)[0])
    assert scores.modularity(information)[1] == 1
    disentangled, complete, mean = scores.dci(information)
    assert np.isnan(disentangled[0])
    assert np.isnan(complete[1])
    assert mean == 1
    assert (scores.explained(np.zeros((5, 1)), made(5, 1)) == 0).all()


def test_aligned_codes_score_high_and_rotated_ones_low():
    factors = made()
    aligned = np.c_[2 * factors[:, ::-1], made(seed=5)]  # other order and scale, and three of noise
    centred = factors - 0.5
    rotated = np.c_[centred @ rotation(3), made(seed=5)]
    assert mig_of(aligned, factors) > 0.85
    assert mig_of(rotated, factors) < 0.35
    assert scores.sap(aligned, factors).mean() > 0.9 > 0.4 > scores.sap(rotated, factors).mean()
    good, bad = (scores.dci(scores.importances(codes, factors)) for codes in (aligned, rotated))
    assert good[2] > 0.95
    assert good[1].mean() > 0.95
    assert bad[2] < 0.7
    assert bad[1].mean() < 0.7
    informative = scores.information(scores.Binned.of(aligned[:, :3]), scores.Binned.of(factors))
    assert scores.modularity(informative).mean() > 0.95
