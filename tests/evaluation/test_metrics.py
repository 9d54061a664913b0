"""Figures against scikit-learn and counts made by hand, and intervals that resample patients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as theirs
from sklearn.metrics import roc_auc_score

from lungvae_core.evaluation.metrics import (
    auc,
    auc_interval,
    patient_weights,
    percentile_interval,
    rates,
    weighted_aucs,
    weighted_average_precisions,
    weighted_counts,
    wilson,
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


@settings(deadline=None)
@given(LABELS, SCORES)
def test_auc_of_turned_scores_and_of_relabelled_units_is_one_less_it(
    labels: np.ndarray, scores: np.ndarray
) -> None:
    found = auc(labels, scores)
    for other in (auc(labels, -scores), auc(1 - labels, scores)):
        assert np.isclose(other, 1 - found, equal_nan=True)
    assert np.isclose(auc(labels, 3 * scores + 1), found, equal_nan=True)  # ranks alone count


def test_degenerate_units_have_no_figure() -> None:
    nothing = np.empty(0)
    for one in (weighted_aucs, weighted_average_precisions):
        assert np.isnan(one(nothing, nothing, np.ones((2, 0)))).all()
    assert np.isnan(auc(np.ones(5), np.arange(5)))
    assert auc(np.array([0, 1, 0, 1]), np.zeros(4)) == 0.5
    assert all(np.isnan(values).all() for values in rates(np.zeros((1, 4))).values())
    none_called = rates(np.array([[0, 0, 5, 3]]))
    assert np.isnan(none_called["precision"][0])
    assert none_called["f1"][0] == 0
    assert np.isnan(list(auc_interval(np.ones(5), np.arange(5), np.arange(5)).values())).all()
    assert np.isnan(list(auc_interval(nothing, nothing, nothing).values())).all()
    assert np.isnan(percentile_interval(0.5, np.full(9, np.nan))["low"])


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


def test_weights_draw_whole_patients() -> None:
    patients = np.array(["b", "a", "b", "c", "a", "a"])
    blocks = list(patient_weights(patients, 250, seed=3))
    assert [len(block) for block in blocks] == [100, 100, 50]
    drawn = np.concatenate(blocks)
    for name in "abc":
        of_one = drawn[:, patients == name]
        assert (of_one == of_one[:, :1]).all()
    assert (drawn[:, [0, 1, 3]].sum(1) == 3).all()  # as many patients as there are
    assert np.array_equal(drawn, np.concatenate(list(patient_weights(patients, 250, seed=3))))
    assert not np.array_equal(drawn, np.concatenate(list(patient_weights(patients, 250, seed=4))))


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


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 500))
def test_wilsons_interval_holds_the_share(share: float, count: int) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert high > low


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    for cases, count, expected in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0, 0.1611)),
    ):
        assert np.allclose(wilson(cases / count, count), expected, atol=1e-4)
    assert np.isnan(wilson(float("nan"), 5)).all()
    assert np.isnan(wilson(0.5, 0)).all()
