"""AUC and average precision against scikit-learn, intervals that resample patients, DeLong by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as theirs
from sklearn.metrics import roc_auc_score

from lungvae_core.statistics.roc import (
    auc,
    auc_interval,
    delong,
    weighted_aucs,
    weighted_average_precisions,
)

LABELS = arrays(int, 40, elements=st.integers(0, 1))
SCORES = arrays(float, 40, elements=st.integers(-3, 3).map(float))  # few values: many ties
WEIGHTS = arrays(int, 40, elements=st.integers(0, 4))


@settings(deadline=None)
@given(LABELS, SCORES, WEIGHTS)
def test_weighted_auc_is_scikit_learns(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> None:
    ours = weighted_aucs(labels, scores, weights[None])[0]
    kept = weights > 0
    if len(set(labels[kept])) < 2:
        assert np.isnan(ours)
    else:
        assert np.isclose(ours, roc_auc_score(labels, scores, sample_weight=weights))


@settings(deadline=None)
@given(LABELS, SCORES, WEIGHTS)
def test_weighted_average_precision_is_scikit_learns(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> None:
    ours = weighted_average_precisions(labels, scores, weights[None])[0]
    kept = weights > 0
    if labels[kept].sum() == 0:
        assert np.isnan(ours)
    else:
        assert np.isclose(
            ours, theirs.average_precision_score(labels[kept], scores[kept], sample_weight=weights[kept])
        )


@settings(deadline=None)
@given(LABELS, SCORES)
def test_auc_of_turned_scores_and_of_relabelled_units_is_one_less_it(
    labels: np.ndarray, scores: np.ndarray
) -> None:
    found = auc(labels, scores)
    for other in (auc(labels, -scores), auc(1 - labels, scores)):
        assert np.isclose(other, 1 - found, equal_nan=True)
    assert np.isclose(auc(labels, 3 * scores + 1), found, equal_nan=True)  # ranks alone count


def test_degenerate_units_have_no_auc() -> None:
    nothing = np.empty(0)
    for one in (weighted_aucs, weighted_average_precisions):
        assert np.isnan(one(nothing, nothing, np.ones((2, 0)))).all()
    assert np.isnan(auc(np.ones(5), np.arange(5)))
    assert auc(np.array([0, 1, 0, 1]), np.zeros(4)) == 0.5
    assert np.isnan(list(auc_interval(np.ones(5), np.arange(5), np.arange(5)).values())).all()
    assert np.isnan(list(auc_interval(nothing, nothing, nothing).values())).all()


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


def _clustered(generator: np.random.Generator, patients: int) -> tuple[np.ndarray, ...]:
    """Labels, scores and patients: three units a patient that share most of their luck."""
    label = np.repeat(generator.integers(0, 2, patients), 3)
    luck = np.repeat(generator.normal(0, 1, patients), 3) + generator.normal(0, 0.4, 3 * patients)
    return label, 1.5 * label + luck, np.repeat(np.arange(patients), 3)


def test_interval_covers_the_truth_at_about_the_nominal_rate() -> None:
    truth = auc(*_clustered(np.random.default_rng(0), 50_000)[:2])
    generator = np.random.default_rng(1)
    by_patient = by_unit = 0
    for _ in range(200):
        label, score, patient = _clustered(generator, 60)
        found = auc_interval(label, score, patient, resamples=200)
        by_patient += found["low"] <= truth <= found["high"]
        found = auc_interval(label, score, np.arange(len(label)), resamples=200)
        by_unit += found["low"] <= truth <= found["high"]
    assert 0.90 <= by_patient / 200 <= 0.99
    assert by_unit / 200 < 0.85  # units drawn apart promise too much


def test_labels_that_are_random_by_patient_give_an_interval_that_contains_one_half() -> None:
    generator = np.random.default_rng(2)
    _, score, patient = _clustered(generator, 200)
    label = np.repeat(generator.integers(0, 2, 200), 3)
    found = auc_interval(label, score, patient)
    assert abs(found["value"] - 0.5) < 0.1
    assert found["low"] < 0.5 < found["high"]


def slow_delong(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(difference, its standard error) from every pair of units, as DeLong et al. 1988 define them."""
    won = [
        (s[labels == 1][:, None] > s[labels == 0]) + 0.5 * (s[labels == 1][:, None] == s[labels == 0])
        for s in (a, b)
    ]
    up, down = won[0].shape
    cov = np.cov([w.mean(1) for w in won]) / up + np.cov([w.mean(0) for w in won]) / down
    return won[0].mean() - won[1].mean(), np.sqrt(max(0.0, cov[0, 0] + cov[1, 1] - 2 * cov[0, 1]))


@settings(deadline=None)
@given(
    arrays(int, 25, elements=st.integers(0, 1)),
    arrays(float, 25, elements=st.integers(0, 6).map(float)),
    arrays(float, 25, elements=st.integers(0, 6).map(float)),
)
def test_delong_is_its_definition(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    assume(2 <= labels.sum() <= 23)
    found = delong(labels, a, b)
    difference, error = slow_delong(labels, a, b)
    assert found["difference"] == pytest.approx(difference, abs=1e-9)
    assert found["difference"] == pytest.approx(auc(labels, a) - auc(labels, b), abs=1e-9)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.959964 * error, abs=1e-6)
    turned = delong(labels, b, a)
    assert [turned["difference"], turned["low"], turned["high"]] == pytest.approx(
        [-found["difference"], -found["high"], -found["low"]]
    )


def test_delong_of_degenerate_units() -> None:
    score = np.arange(6.0)
    assert np.isnan(list(delong(np.ones(6), score, score).values())).all()
    assert np.isnan(delong(np.array([1, 0, 0, 0, 0, 0]), score, -score)["p"])
    same = delong(np.array([0, 1, 0, 1, 0, 1]), score, 2 * score)
    assert same == {"difference": 0, "low": 0, "high": 0, "p": 1}
    apart = delong(np.array([0, 0, 0, 1, 1, 1]), score, np.zeros(6))  # 1 against 0.5, no unit unlike another
    assert (apart["difference"], apart["p"]) == (0.5, 0.0)
