"""Rates against scikit-learn, and of a confusion made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as theirs

from lungvae_core.statistics.rates import rates, weighted_counts

LABELS = arrays(int, 40, elements=st.integers(0, 1))
WEIGHTS = arrays(int, 40, elements=st.integers(0, 4))


@settings(deadline=None)
@given(LABELS, arrays(int, 40, elements=st.integers(0, 1)), WEIGHTS)
def test_rates_are_scikit_learns(labels: np.ndarray, called: np.ndarray, weights: np.ndarray) -> None:
    counts = weighted_counts(labels, called, weights[None])
    ours = {name: values[0] for name, values in rates(counts).items()}
    if weights.sum() == 0:
        assert np.isnan(list(ours.values())).all()
        return
    given = {"sample_weight": weights, "zero_division": np.nan}
    for name, expected in (
        ("sensitivity", theirs.recall_score(labels, called, **given)),
        ("specificity", theirs.recall_score(1 - labels, 1 - called, **given)),
        ("precision", theirs.precision_score(labels, called, **given)),
        ("f1", theirs.f1_score(labels, called, **given)),
    ):
        assert np.isclose(ours[name], expected, equal_nan=True), name
    assert np.isclose(ours["accuracy"], theirs.accuracy_score(labels, called, sample_weight=weights))
    halves = (ours["sensitivity"] + ours["specificity"]) / 2
    assert np.isclose(ours["balanced_accuracy"], halves, equal_nan=True)


def test_rates_of_a_confusion_made_by_hand() -> None:
    # 40 malignant, of whom 30 called; 100 benign, of whom 10 called. No two of the rates are alike, so that
    # none can stand in for another: precision for recall, or the negative predictive value for specificity.
    labels = np.repeat([1, 0, 0, 1], [30, 10, 90, 10])
    called = np.repeat([1, 1, 0, 0], [30, 10, 90, 10])
    counts = weighted_counts(labels, called, np.ones((1, 140)))
    assert counts.tolist() == [[30, 10, 90, 10]]
    labels, called = labels[:-8], called[:-8]  # 2 missed
    counts = weighted_counts(labels, called, np.ones((1, 132)))
    assert counts.tolist() == [[30, 10, 90, 2]]
    found = {name: values.item() for name, values in rates(counts).items()}
    assert found == pytest.approx(
        {
            "accuracy": 120 / 132,
            "balanced_accuracy": (30 / 32 + 90 / 100) / 2,
            "sensitivity": 30 / 32,
            "specificity": 90 / 100,  # the negative predictive value would be 90/92
            "precision": 30 / 40,
            "f1": 60 / 72,
        }
    )


def test_degenerate_units_have_no_rate() -> None:
    assert all(np.isnan(values).all() for values in rates(np.zeros((1, 4))).values())
    none_called = rates(np.array([[0, 0, 5, 3]]))
    assert np.isnan(none_called["precision"][0])
    assert none_called["f1"][0] == 0
