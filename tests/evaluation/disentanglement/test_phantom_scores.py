"""Scores of groups of phantoms that share one factor."""

from __future__ import annotations

import numpy as np

from lungvae_core.evaluation.disentanglement import phantom_scores
from tests.evaluation.disentanglement.made import rotation


def groups(aligned: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of groups that share one of nine factors; each code is a factor, or a mix of all."""
    generator = np.random.default_rng(0)
    factor = np.tile(np.arange(9), 40)
    held = generator.uniform(size=(len(factor), 12, 9))
    held[np.arange(len(factor)), :, factor] = generator.uniform(size=(len(factor), 1))
    codes = held if aligned else (held - 0.5) @ rotation(9)
    return codes + 0.01 * generator.normal(size=codes.shape), factor, np.arange(len(factor)) >= 180


def test_factor_and_beta_scores_of_codes_that_are_factors_and_of_rotated_ones():
    for score in (phantom_scores.factor_vae, phantom_scores.beta_vae):
        predicted, true = score(*groups(aligned=True))
        mixed, _ = score(*groups(aligned=False))
        assert (predicted == true).mean() > 0.97
        assert (mixed == true).mean() < 0.8
        codes, factor, test = groups(aligned=True)
        noise = np.random.default_rng(1).normal(size=codes.shape)
        predicted, true = score(noise, factor, test)
        assert (predicted == true).mean() < 0.25  # chance is 0.11


def test_an_unused_dimension_has_no_vote():
    codes, factor, test = groups(aligned=True)
    flat = np.concatenate([codes, 1e-6 * np.random.default_rng(0).normal(size=(*codes.shape[:2], 3))], axis=2)
    predicted, true = phantom_scores.factor_vae(flat, factor, test)
    assert (predicted == true).mean() > 0.97


def test_groups_of_phantoms_share_one_factor_and_their_surroundings(monkeypatch):
    asked = []

    def render(factors, *, seed):
        asked.append((factors, seed))
        return np.zeros((64, 64), np.int16), None

    monkeypatch.setattr(phantom_scores, "render", render)
    sizes = phantom_scores.Sizes(free=3, learn=2, test=1, group=4)
    slices = phantom_scores.rendered(sizes, 77)
    phantom_scores.rendered.cache_clear()
    assert slices.held.shape == (27, 4, 64, 64)
    assert slices.test.sum() == 9
    assert len(asked) == sizes.slices == 3 + 27 * 4
    assert len({seed for _, seed in asked[:3]}) == 3
    for group, number in enumerate(slices.factor):
        of_group = asked[3 + 4 * group : 7 + 4 * group]
        assert len({seed for _, seed in of_group}) == 1
        for name in phantom_scores.NAMES:
            values = {getattr(factors, name) for factors, _ in of_group}
            assert len(values) == (1 if name == phantom_scores.NAMES[number] else 4)
