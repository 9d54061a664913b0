"""Counterfactuals: the score flips, by little, on valid codes, near lesions, the same way each time."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy.special import expit

from lungvae_core.errors import UserError
from lungvae_core.explore.counterfactual import (
    Counterfactual,
    Lesions,
    changes,
    counterfactual,
    in_words,
    measured_curves,
)
from lungvae_core.training.classifier import Classifier, ClassifierConfig, fit_classifier
from lungvae_core.training.inputs import Inputs

K = 6


def fitted(prior: str, seed: int = 0) -> tuple[Lesions, Classifier, np.ndarray]:
    """(lesions, a classifier of the sum of two coordinates, codes (400, K) of 100 patients)."""
    generator = np.random.default_rng(seed)
    codes = generator.standard_normal((400, K))
    codes[:, 5] = 0.9 * codes[:, 4] + 0.1 * codes[:, 5]  # two dimensions that go together
    labels = (codes[:, 0] + codes[:, 1] + 0.3 * generator.standard_normal(400) > 0).astype(float)
    if prior == "dirichlet":
        codes = np.exp(codes) / np.exp(codes).sum(1, keepdims=True)
    codes = codes.astype(np.float32)
    config = ClassifierConfig(hidden=(16,), dropout=0.0, epochs=12, learning_rate=5e-3)
    classifier = fit_classifier(codes, labels, config, inputs=Inputs(prior == "dirichlet"))
    return Lesions(classifier, codes, [f"P{row // 4}" for row in range(400)]), classifier, codes


@pytest.fixture(scope="module", params=["gaussian", "dirichlet"])
def setting(request: pytest.FixtureRequest) -> tuple[Lesions, Classifier, np.ndarray]:
    return fitted(request.param)


def score(classifier: Classifier, code: np.ndarray) -> float:
    return float(expit(classifier.logits(code[None])[0]))


@pytest.mark.long
def test_the_score_flips_by_less_than_the_way_to_the_nearest_lesion_of_the_other_side(setting) -> None:
    lesions, classifier, codes = setting
    for row in range(0, 400, 20):
        flip = counterfactual(lesions, classifier, codes[row], patient=f"P{row // 4}")
        assert (flip.score_before < 0.5) == flip.upwards
        assert (score(classifier, flip.after) > 0.5) == flip.upwards
        assert abs(flip.score_after - 0.5) < 0.01  # just past, not more
        assert flip.straight is not None
        assert 0 < flip.distance < flip.straight
        np.testing.assert_array_equal(flip.before, codes[row])
        np.testing.assert_array_equal(flip.path[0], codes[row])
        np.testing.assert_array_equal(flip.path[-1], flip.after)


def test_a_linear_score_is_flipped_along_the_shortest_way() -> None:
    lesions, _, codes = fitted("gaussian")
    classifier = Classifier(K, ClassifierConfig(hidden=()), inputs=Inputs()).eval()
    weights = np.array([1.0, -2.0, 0.5, 0.0, 0.3, 0.0])
    with torch.no_grad():
        classifier.body[0].weight.copy_(torch.tensor(weights[None], dtype=torch.float32))
        classifier.body[0].bias.fill_(0.2)
    space = lesions.space
    covariance = np.linalg.inv(lesions.precision)
    slope = weights * space.deviation
    inside = 0
    for row in range(40):
        flip = counterfactual(lesions, classifier, codes[row])
        shortest = abs(weights @ codes[row] + 0.2) / np.sqrt(slope @ covariance @ slope)
        assert flip.distance >= shortest * 0.99
        inside += flip.distance < shortest * 1.02 + 0.01
    assert inside > 30  # the others run into the border of what was seen, or leave the lesions


def test_every_code_is_on_the_simplex() -> None:
    lesions, classifier, codes = fitted("dirichlet")
    corner = np.eye(K, dtype=np.float32)[0]
    for code in (codes[0], codes[7], corner):
        for dimensions in (None, 0):
            flip = counterfactual(lesions, classifier, code, dimensions=dimensions)
            assert (flip.path >= 0).all()
            np.testing.assert_allclose(flip.path.sum(1), 1, atol=1e-5)


def test_it_stays_within_the_lesions_range(setting) -> None:
    lesions, classifier, codes = setting
    for row in range(0, 60, 6):
        flip = counterfactual(lesions, classifier, codes[row], target=0.9, towards="malignant")
        start, end = lesions.space.to(np.stack([flip.before, flip.after]))
        low, high = np.minimum(lesions.low, start), np.maximum(lesions.high, start)
        slack = 0.15  # of a clipped step, put back into a sum of logarithms that is 0
        assert (end >= low - slack).all()
        assert (end <= high + slack).all()


def test_dimensions_that_go_together_stay_together() -> None:
    lesions, _, codes = fitted("gaussian")
    classifier = Classifier(K, ClassifierConfig(hidden=()), inputs=Inputs()).eval()
    with torch.no_grad():
        classifier.body[0].weight.copy_(torch.tensor([[0, 0, 0, 0, 1.0, 0]]))
        classifier.body[0].bias.zero_()
    change = np.diff(counterfactual(lesions, classifier, codes[3]).path[[0, -1]], axis=0)[0]
    assert change[5] / change[4] > 0.5  # the score asks for the fourth alone


def test_the_same_seed_gives_the_same_code(setting) -> None:
    lesions, classifier, codes = setting
    first, again = (counterfactual(lesions, classifier, codes[9], seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.after, again.after)
    assert first.summary() == again.summary()
    # Another seed starts elsewhere and finds as small a change.
    other = counterfactual(lesions, classifier, codes[9], seed=5)
    assert other.distance == pytest.approx(first.distance, rel=0.05)


def test_a_code_on_the_wanted_side_is_left_as_it_is(setting) -> None:
    lesions, classifier, codes = setting
    row = int(np.argmax(classifier.logits(codes)))
    flip = counterfactual(lesions, classifier, codes[row], towards="malignant")
    assert flip.already
    assert flip.distance == 0
    assert flip.dimensions == ()
    assert flip.warning == ""
    np.testing.assert_array_equal(flip.after, codes[row])
    assert not counterfactual(lesions, classifier, codes[row], towards="benign").already


def test_few_dimensions_are_enough_and_cost_a_longer_way(setting) -> None:
    lesions, classifier, codes = setting
    for row in (0, 8, 16):
        every = counterfactual(lesions, classifier, codes[row])
        few = counterfactual(lesions, classifier, codes[row], dimensions=2)
        assert len(few.dimensions) <= 2
        assert (score(classifier, few.after) > 0.5) == few.upwards
        assert few.distance >= every.distance * 0.98
        fewest = counterfactual(lesions, classifier, codes[row], dimensions=0)
        assert len(fewest.dimensions) <= len(every.dimensions)


def test_a_code_far_from_all_lesions_is_warned_of(setting) -> None:
    lesions, classifier, codes = setting
    assert counterfactual(lesions, classifier, codes[0]).warning == ""
    far = lesions.space.back(6 * np.sign(lesions.points[:1]))[0]
    flip = counterfactual(lesions, classifier, far)
    assert flip.nearest_before > lesions.usual
    assert "cannot" in flip.warning or "neither" in flip.warning
    assert flip.far_after >= 0.95


def test_the_patients_own_slices_do_not_count_as_near(setting) -> None:
    lesions, classifier, codes = setting
    alone = counterfactual(lesions, classifier, codes[0], patient="P0")
    assert alone.nearest_before > 0
    assert counterfactual(lesions, classifier, codes[0]).nearest_before == pytest.approx(0, abs=1e-3)
    assert alone.nearest_row >= 4


def test_what_cannot_be_done_is_said(setting) -> None:
    lesions, classifier, codes = setting
    with pytest.raises(UserError, match="no classifier"):
        counterfactual(lesions, None, codes[0])
    with pytest.raises(UserError, match="above 0 and below 1"):
        counterfactual(lesions, classifier, codes[0], target=1)
    with pytest.raises(UserError, match="malignant or benign"):
        counterfactual(lesions, classifier, codes[0], towards="up")
    with torch.no_grad():
        flat = Classifier(K, ClassifierConfig(hidden=()), inputs=classifier.inputs).eval()
        flat.body[0].weight.zero_()
        flat.body[0].bias.fill_(2)
    with pytest.raises(UserError, match="No code within the range"):
        counterfactual(lesions, flat, codes[0])


def test_one_takes_seconds_not_minutes_on_ten_thousand_lesions_of_64_dimensions() -> None:
    generator = np.random.default_rng(0)
    codes = generator.standard_normal((10_000, 64)).astype(np.float32)
    classifier = Classifier(64, ClassifierConfig(), inputs=Inputs()).eval()
    lesions = Lesions(classifier, codes, [f"P{row // 15}" for row in range(10_000)])
    target = float(expit(np.median(classifier.logits(codes))))
    start = time.process_time()
    flip = counterfactual(lesions, classifier, codes[0], patient="P0", target=target)
    assert isinstance(flip, Counterfactual)
    assert time.process_time() - start < 10  # CPU seconds, of all threads; a quiet machine takes under one


def test_what_changed_is_put_in_measured_terms() -> None:
    y, x = np.mgrid[:64, :64] - 31.75
    away = np.hypot(y, x)

    def disc(radius: float, density: float) -> np.ndarray:
        return -850 + (density + 850) * np.clip(radius - away + 0.5, 0, 1)

    pair = np.stack([disc(6, -100), disc(8, 0)])
    measured = {change.name: change for change in changes(pair)}
    grown = measured["area_px"]
    assert grown.before == pytest.approx(np.pi * 36, rel=0.1)
    assert grown.after == pytest.approx(np.pi * 64, rel=0.1)
    sentences = in_words(list(measured.values()))
    assert sentences[0].startswith("grows by ")
    assert sentences[0].endswith(" px²")
    assert any(each.startswith("gets wider by") for each in sentences)
    assert any("HU denser" in each for each in sentences)
    back = in_words(changes(pair[::-1]))
    assert any(each.startswith("shrinks by ") for each in back)
    assert any("HU less dense" in each for each in back)
    assert in_words(changes(pair[[0, 0]])) == []
    curves = measured_curves(np.concatenate([pair, np.full((1, 64, 64), -850.0)]))
    assert curves["area, px²"][0] < curves["area, px²"][1]
    assert np.isnan(curves["area, px²"][2])  # nothing there
