"""Temperature, threshold and calibration figures: right where the answer is known, finite where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from lungvae_core.errors import UserError
from lungvae_core.statistics.calibration import (
    Settled,
    apply,
    ece,
    ece_interval,
    ece_noise,
    reliability,
    settle,
    slope_intercept,
    weighted_eces,
)
from lungvae_core.statistics.patients import patient_weights


def made(count: int, seed: int = 0, temperature: float = 2.5, bias: float = -0.7) -> tuple[np.ndarray, ...]:
    """Labels, and logits that are too extreme by a known temperature and bias."""
    generator = np.random.default_rng(seed)
    true = generator.normal(0, 1.5, count)
    labels = (generator.random(count) < expit(true)).astype(int)
    return labels, temperature * (true - bias)


def test_settle_finds_temperature_and_bias() -> None:
    labels, logits = made(20_000)
    found = settle(labels, logits)
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert found.bias == pytest.approx(-0.7, abs=0.06)
    assert found.units == 20_000
    fresh, raw = made(20_000, seed=1)
    assert ece(fresh, apply(found, raw)[0]) < 0.02 < 0.1 < ece(fresh, expit(raw))


def test_settle_calibrates_with_few_patients() -> None:
    fresh, raw = made(20_000, seed=99)
    before = ece(fresh, expit(raw))
    after = [ece(fresh, apply(settle(*made(100, seed=seed)), raw)[0]) for seed in range(20)]
    assert np.mean(after) < 0.06 < before
    assert np.max(after) < before
    temperatures = [settle(*made(100, seed=seed)).temperature for seed in range(40)]
    assert np.median(temperatures) == pytest.approx(2.5, rel=0.15)


@pytest.mark.parametrize("scale", [1e-3, 1, 50, 1e4])
@pytest.mark.parametrize("count", [2, 4, 20, 400])
def test_classes_that_separate_do_not_blow_up(scale: float, count: int) -> None:
    labels = np.arange(count) % 2
    logits = scale * (np.where(labels == 1, 1.0, -1.0) + 0.1 * np.random.default_rng(0).random(count))
    found = settle(labels, logits)
    probability, called = apply(found, logits)
    assert 1e-3 <= found.temperature <= 10 * max(1, scale)
    assert np.isfinite([found.bias, found.threshold]).all()
    # No surer than one more unit of each class would leave one.
    assert probability.max() < 1 - 0.5 / (count / 2 + 2)
    assert probability.min() > 0.5 / (count / 2 + 2)
    assert np.array_equal(called, labels)


@settings(deadline=None)
@given(
    arrays(int, 12, elements=st.integers(0, 1)),
    arrays(float, 12, elements=st.floats(-1e6, 1e6)),
)
def test_settle_is_finite_keeps_the_order_and_beats_one_half(labels: np.ndarray, logits: np.ndarray) -> None:
    found = settle(labels, logits)
    assert np.isfinite([found.temperature, found.bias, found.threshold]).all()
    assert found.temperature > 0
    assert 0 <= found.threshold <= 1
    probability, called = apply(found, logits)
    assert (np.diff(probability[np.argsort(logits)]) >= 0).all()
    assert set(called) <= {0, 1}
    if len(set(labels)) == 2:
        at_half = balanced_accuracy_score(labels, probability >= 0.5)
        assert balanced_accuracy_score(labels, called) >= at_half - 1e-12


def test_a_threshold_parts_probabilities_that_differ_by_their_last_digit() -> None:
    labels = np.array([0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1])
    logits = np.array([8.67629e5, 1, 0, -1, 0, 0, 0, 0, 1.1920929e-07, 0, 0, 0])
    probability, called = apply(settle(labels, logits), logits)
    cuts = [*np.unique(probability), 2.0]
    best = max(balanced_accuracy_score(labels, probability >= cut) for cut in cuts)
    assert balanced_accuracy_score(labels, called) == pytest.approx(best)


def test_threshold_maximises_balanced_accuracy() -> None:
    labels, logits = made(300)
    found = settle(labels, logits)
    probability, called = apply(found, logits)
    best = max(balanced_accuracy_score(labels, probability >= cut) for cut in np.unique(probability))
    assert balanced_accuracy_score(labels, called) == pytest.approx(best)
    # Rare malignant units move it away from one half.
    rare = np.where(labels == 1, np.random.default_rng(0).random(300) < 0.2, 0).astype(int)
    assert settle(rare, logits).threshold < 0.35


def test_scores_that_point_the_wrong_way_are_not_turned_around() -> None:
    labels, logits = made(500)
    found = settle(labels, -logits)
    assert found.temperature > 10  # as flat as can be
    assert np.ptp(apply(found, -logits)[0]) < 0.6


def test_settle_of_one_class_leaves_all_as_it_is_and_says_so() -> None:
    for label in (0, 1):
        found = settle(np.full(7, label), np.arange(7.0), patients=np.array(list("aabbccc")))
        assert (found.temperature, found.bias, found.threshold) == (1.0, 0.0, 0.5)
        assert "one class" in found.rule
        assert (found.patients, found.units) == (3, 7)


def test_settle_refuses_what_it_cannot_use() -> None:
    with pytest.raises(UserError, match="no calibration patients"):
        settle(np.empty(0), np.empty(0))
    with pytest.raises(UserError, match="not numbers"):
        settle(np.array([0, 1]), np.array([0.0, np.nan]))


def test_apply_calls_at_the_threshold_and_above() -> None:
    probability, called = apply(Settled(2.0, 1.0, 0.5, "", None, 0), np.array([-4.0, -2.0, 0.0]))
    assert np.allclose(probability, expit([-1, 0, 1]))
    assert called.tolist() == [0, 1, 1]


def test_ece_of_bins_made_by_hand() -> None:
    labels = np.array([0, 1, 0, 0, 1, 1, 1, 0])
    said = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
    # Two bins of four: mean 0.25 against 1/4, and 0.75 against 3/4.
    assert ece(labels, said, bins=2) == pytest.approx(0)
    # Four of two: 0.15 - 1/2, 0.35 - 0, 0.65 - 1, 0.85 - 1/2.
    assert ece(labels, said, bins=4) == pytest.approx(0.35)
    assert ece(np.ones(6), np.full(6, 0.25)) == pytest.approx(0.75)
    assert np.isnan(ece(np.empty(0), np.empty(0)))
    assert ece(np.array([1]), np.array([0.2])) == pytest.approx(0.8)


@settings(deadline=None)
@given(
    arrays(int, 30, elements=st.integers(0, 1)),
    arrays(float, 30, elements=st.integers(0, 8).map(lambda value: value / 8)),  # many ties
    arrays(int, 30, elements=st.integers(0, 3)),
    st.permutations(range(30)),
)
def test_ece_does_not_depend_on_order_and_weighs_as_repeating(
    labels: np.ndarray, said: np.ndarray, weights: np.ndarray, order: list[int]
) -> None:
    found = weighted_eces(labels, said, weights[None])[0]
    assert 0 <= found <= 1 or weights.sum() == 0
    again = ece(np.repeat(labels, weights), np.repeat(said, weights))
    assert np.isclose(found, again, equal_nan=True)
    turned = weighted_eces(labels[order], said[order], weights[order][None])[0]
    assert np.isclose(found, turned, equal_nan=True)


def test_bins_hold_equal_numbers() -> None:
    labels, logits = made(1003)
    bins = reliability(labels, expit(logits))
    assert [one["count"] for one in bins] == pytest.approx([100] * 10, abs=1)
    assert sum(one["count"] for one in bins) == 1003
    means = [one["mean_probability"] for one in bins]
    assert means == sorted(means)
    gaps = [one["count"] * abs(one["mean_probability"] - one["share"]) for one in bins]
    assert sum(gaps) / 1003 == pytest.approx(ece(labels, expit(logits)))
    assert all(0 <= one["low"] <= one["share"] <= one["high"] <= 1 for one in bins)


def test_reliability_counts_a_patient_once() -> None:
    labels, logits = made(200)
    apart = reliability(labels, expit(logits))
    repeated = [np.repeat(values, 5) for values in (labels, expit(logits), np.arange(200))]
    together = reliability(repeated[0], repeated[1], patients=repeated[2])
    for one, other in zip(apart, together, strict=True):
        assert other["count"] == 5 * one["count"]
        assert (other["low"], other["high"]) == pytest.approx((one["low"], one["high"]))
    assert reliability(np.empty(0), np.empty(0)) == []
    assert len(reliability(labels, np.full(200, 0.5))) == 1  # ties are one bin


def test_noise_is_the_ece_of_perfect_probabilities() -> None:
    generator = np.random.default_rng(0)
    said = generator.random(400)
    found = ece_noise(generator.random(400) < said, said, resamples=400)
    perfect = [ece(generator.random(400) < said, said) for _ in range(400)]
    assert found["mean"] == pytest.approx(np.mean(perfect), rel=0.05)
    assert found["high"] == pytest.approx(np.percentile(perfect, 97.5), rel=0.1)
    assert found["p"] > 0.025
    off = ece_noise(generator.random(400) < said**3, said)
    assert off["value"] > off["high"]
    assert off["p"] < 0.01
    larger = generator.random(6400)
    assert ece_noise(larger > 0.5, larger)["mean"] < found["mean"] / 2


def test_noise_of_units_that_share_a_label_is_larger() -> None:
    said = np.repeat(np.random.default_rng(0).random(50), 8)
    alone = ece_noise(said > 0.5, said, resamples=200)
    shared = ece_noise(said > 0.5, said, groups=np.repeat(np.arange(50), 8), resamples=200)
    assert shared["mean"] > 1.8 * alone["mean"]
    assert np.isnan(list(ece_noise(np.empty(0), np.empty(0)).values())).all()


@pytest.mark.parametrize(("steepness", "least"), [(1.0, 0.9), (1.25, 0.85), (2.0, 0.88)])
def test_ece_interval_covers_the_truth(steepness: float, least: float) -> None:
    generator = np.random.default_rng(5)

    def draw(patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        raw = np.repeat(generator.normal(0, 1.5, patients), 2) + generator.normal(0, 1.5, 2 * patients)
        labels = (generator.random(2 * patients) < expit(raw)).astype(int)
        return labels, expit(steepness * raw), np.repeat(np.arange(patients), 2)

    truth = 0.0 if steepness == 1 else ece(*draw(100_000)[:2])
    covered = 0
    for _ in range(80):
        labels, said, patients = draw(150)
        drawn = [weighted_eces(labels, said, weights) for weights in patient_weights(patients, 100)]
        noise = ece_noise(labels, said, resamples=100)
        found = ece_interval(ece(labels, said), np.concatenate(drawn), noise["p"])
        assert found["low"] <= found["value"] <= found["high"]
        covered += found["low"] <= truth <= found["high"]
    assert covered / 80 >= least


def test_slope_and_intercept_are_a_logistic_regression() -> None:
    labels, logits = made(3000)
    slope, intercept = slope_intercept(labels, expit(logits))
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    assert slope == pytest.approx(theirs.coef_.item(), abs=1e-3)
    assert intercept == pytest.approx(theirs.intercept_.item(), abs=1e-3)
    assert slope == pytest.approx(1 / 2.5, abs=0.03)
    assert intercept == pytest.approx(-0.7, abs=0.1)
    settled = settle(labels, logits)
    assert slope_intercept(labels, apply(settled, logits)[0]) == pytest.approx((1, 0), abs=0.02)


def test_slope_is_the_inverse_of_stretching() -> None:
    labels, logits = made(500, temperature=1, bias=0)
    slope, intercept = slope_intercept(labels, expit(logits))
    stretched = slope_intercept(labels, expit(3 * logits + 1))
    assert stretched == pytest.approx((slope / 3, intercept - slope / 3), abs=1e-5)
    turned = slope_intercept(1 - labels, 1 - expit(logits))
    assert turned == pytest.approx((slope, -intercept), abs=1e-6)


def test_slope_has_no_answer_where_there_is_none() -> None:
    some = expit(np.array([-2.0, -1.0, 1.0, 2.0]))
    for labels, said in (
        (np.ones(4), some),
        (np.array([0, 0, 1, 1]), some),  # separates
        (np.array([1, 1, 0, 0]), some),
        (np.array([0, 1, 0, 1]), np.full(4, 0.3)),
        (np.empty(0), np.empty(0)),
    ):
        assert np.isnan(slope_intercept(labels, said)).all()
    assert np.isfinite(slope_intercept(np.array([0, 1, 0, 1]), np.array([0.0, 0.2, 0.6, 1.0]))).all()
    assert logit(expit(3.0)) == pytest.approx(3)
