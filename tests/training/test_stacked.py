"""Classifiers computed together: the same logits as one by one, from any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lungvae_core.training.classifier import Classifier, ClassifierConfig
from lungvae_core.training.ensemble import Ensemble
from lungvae_core.training.inputs import Inputs
from lungvae_core.training.stacked import CHUNK, StackedClassifiers

K = 6
AXES = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
INPUTS = [Inputs(simplex, guided) for simplex in (False, True) for guided in (0, 2)] + [Inputs(axes=AXES)]


def classifiers(hidden: tuple[int, ...], inputs: Inputs, *, count: int = 5) -> list[Classifier]:
    """Classifiers with statistics of their own in every batch norm, as fitted ones have."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(count):
        member = Classifier(K, ClassifierConfig(hidden=hidden), inputs)
        for name, tensor in member.state_dict().items():
            if tensor.is_floating_point() and name != "axes":  # those are the run's
                drawn = torch.randn(tensor.shape, generator=generator)
                tensor.copy_(drawn.abs() + 0.1 if name.endswith(("var", "deviation")) else drawn)
        made.append(member.eval())
    return made


def some_codes(count: int) -> np.ndarray:
    return np.random.default_rng(count).dirichlet(np.ones(K), count).astype(np.float32)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("hidden", [(), (8,), (16, 8, 4)])
@pytest.mark.parametrize("count", [1, 40, CHUNK + 1])
def test_together_they_score_as_one_by_one(hidden: tuple[int, ...], inputs: Inputs, count: int) -> None:
    members, codes = classifiers(hidden, inputs), some_codes(count)
    apart = np.stack([member.logits(codes) for member in members])
    together = StackedClassifiers(members).logits(codes)
    assert together.shape == (len(members), count)
    np.testing.assert_allclose(together, apart, rtol=2e-6, atol=2e-6 * np.abs(apart).max())


def test_no_codes_have_no_logits() -> None:
    assert StackedClassifiers(classifiers((8,), Inputs())).logits(some_codes(0)).shape == (5, 0)


def test_threads_that_score_at_once_do_not_disturb_each_other() -> None:
    members = classifiers((8,), Inputs())
    ensemble = Ensemble(tuple(members), ("a", "b"), np.ones((5, 2), bool))
    codes = some_codes(64)
    before = np.stack([member.logits(codes) for member in members])
    expected = [ensemble.scores(codes[row : row + 3]) for row in range(60)]

    def score(number: int) -> bool:
        row = number % 60
        members[0].logits(codes[row : row + 1])
        return np.allclose(ensemble.scores(codes[row : row + 3]), expected[row], rtol=0, atol=1e-6)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(score, range(600)))
    np.testing.assert_array_equal(np.stack([member.logits(codes) for member in members]), before)
