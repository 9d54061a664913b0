"""Which dimensions count as used."""

from __future__ import annotations

import numpy as np

from lungvae_core.explore.traversal import active
from lungvae_core.vae.latents import DirichletLatent, GaussianLatent

K = 50


def test_a_dimension_whose_codes_vary_is_used() -> None:
    random = np.random.default_rng(0)
    codes = random.normal(0, [1.0, 0.2, 0.05], (500, 3)).astype(np.float32)
    assert active(codes, GaussianLatent(3)).tolist() == [True, True, False]


def test_sure_shares_are_used_however_far_the_priors_draws_lie_apart() -> None:
    shares = np.ones((500, K))
    shares[:, 10:] += np.random.default_rng(0).normal(0, 0.2, (500, K - 10))
    latent = DirichletLatent(K, prior_alpha=0.1, floor=0.01)
    assert active((shares / K).astype(np.float32), latent).tolist() == [False] * 10 + [True] * (K - 10)
