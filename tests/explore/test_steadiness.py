"""Pairs of like size, and figures under weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import r2_score, roc_auc_score

from lungvae_core.explore.steadiness import same_band, same_size, weighted_r2s
from lungvae_core.statistics.roc import weighted_aucs


def test_pairs_of_like_size_are_counted_by_hand() -> None:
    truth = np.array([1, 1, 0, 0, 0.0])
    size = np.log([10, 5, 10.5, 9, 5.2])
    scores = np.array([2.0, 1.0, 1.0, 2.0, 3.0])
    ones = np.ones((1, 5))
    band = same_band(truth, size)
    assert len(band) == 3  # 10 with 10.5 and 9; 5 with 5.2
    assert band.auc(scores)(ones) == pytest.approx((1 + 0.5 + 0) / 3)
    alike = same_size(truth, size)
    assert len(alike) == 2  # 10 and 9 differ by more than a tenth of 9
    assert alike.auc(scores)(ones) == pytest.approx(0.5)
    assert np.isnan(alike.auc(scores)(np.array([[0, 0, 1, 1, 1.0]])))


def test_figures_under_weights_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 2, 60).astype(float)
    scores = np.round(generator.standard_normal(60) + truth, 1)  # with ties
    weights = generator.integers(0, 3, (4, 60)).astype(float)
    for ours, theirs in ((weighted_aucs, roc_auc_score), (weighted_r2s, r2_score)):
        expected = [theirs(truth, scores, sample_weight=each) for each in weights]
        np.testing.assert_allclose(ours(truth, scores, weights), expected)
        assert np.isnan(ours(np.ones(60), scores, weights)).all()
