"""AUC against scikit-learn, and intervals that resample patients."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from lungvae_core.evaluation.metrics import auc, auc_interval, weighted_aucs


@given(
    arrays(int, 40, elements=st.integers(0, 1)),
    arrays(float, 40, elements=st.integers(-3, 3).map(float)),  # few values: many ties
    arrays(int, 40, elements=st.integers(0, 4)),
)
def test_weighted_auc_is_scikit_learns(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> None:
    ours = weighted_aucs(labels, scores, weights[None])[0]
    kept = weights > 0
    if len(set(labels[kept])) < 2:
        assert np.isnan(ours)
    else:
        assert np.isclose(ours, roc_auc_score(labels, scores, sample_weight=weights))


def test_interval_holds_the_value_and_widens_when_patients_repeat() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    scores = labels + generator.normal(0, 1, 60)
    alone = auc_interval(labels, scores, np.arange(60))
    # Ten identical slices of each patient bring no information: the interval must not narrow.
    repeated = auc_interval(*(np.repeat(a, 10) for a in (labels, scores, np.arange(60))))
    assert alone["low"] < alone["value"] < alone["high"]
    assert alone["value"] == auc(labels, scores)
    assert np.isclose(alone["high"] - alone["low"], repeated["high"] - repeated["low"])
