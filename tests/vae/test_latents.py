"""KL against Monte Carlo and torch.distributions; codes and paths valid; no NaN at extreme logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Dirichlet, Independent, Normal, kl_divergence

from lungvae_core.vae.config import PRESETS
from lungvae_core.vae.latents import DirichletLatent, GaussianLatent, Latent, make_latent

K = 6


def families() -> list[Latent]:
    return [
        GaussianLatent(K),
        GaussianLatent(K, log_variance=True),
        DirichletLatent(K, prior_alpha=0.6, floor=1e-2),
        DirichletLatent(K, prior_alpha=0.95, floor=1e-6),
    ]


def raw_for(latent: Latent, count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, latent.heads * K, generator=torch.Generator().manual_seed(seed)) + 1


@pytest.fixture(params=range(4), ids=["gaussian", "gaussian-released", "dirichlet", "dirichlet-released"])
def latent(request: pytest.FixtureRequest) -> Latent:
    return families()[request.param]


def log_ratio(latent: Latent, posterior, z: torch.Tensor) -> torch.Tensor:
    """log q(z|x) - log p(z), (samples, N)."""
    prior = latent.prior()
    if isinstance(latent, GaussianLatent):
        posterior, prior = Independent(posterior, 1), Independent(prior, 1)
    return posterior.log_prob(z) - prior.log_prob(z)


def test_kl_is_what_monte_carlo_finds(latent: Latent) -> None:
    torch.manual_seed(1)
    posterior = latent.posterior(raw_for(latent))
    z = posterior.sample((200_000,))
    if isinstance(latent, DirichletLatent):  # float32 samples can round to the simplex's edge
        z = z.clamp(min=1e-30)
        z = z / z.sum(-1, keepdim=True)
    ratio = log_ratio(latent, posterior, z)
    error = 5 * ratio.std(0) / len(ratio) ** 0.5 + 1e-3
    assert ((ratio.mean(0) - latent.kl(posterior)).abs() < error).all()


def test_kl_is_torch_distributions(latent: Latent) -> None:
    raw = raw_for(latent)
    posterior = latent.posterior(raw)
    if isinstance(latent, GaussianLatent):
        assert isinstance(posterior, Normal)
        q = Independent(Normal(posterior.loc, posterior.scale), 1)
        p = Independent(Normal(torch.zeros(K), torch.ones(K)), 1)
    else:
        assert isinstance(latent, DirichletLatent)
        q = Dirichlet(torch.nn.functional.softplus(raw) + latent.floor)
        p = Dirichlet(torch.full((K,), latent.prior_alpha))
    torch.testing.assert_close(latent.kl(posterior), kl_divergence(q, p))
    torch.testing.assert_close(latent.reversed_kl(posterior), kl_divergence(p.expand((len(raw),)), q))


def test_kl_is_zero_at_the_prior_and_reversed_differs() -> None:
    gaussian, dirichlet = families()[0], families()[2]
    at_prior = dirichlet.prior().expand((2,))
    torch.testing.assert_close(dirichlet.kl(at_prior), torch.zeros(2))
    torch.testing.assert_close(dirichlet.kl_per_unit(at_prior), torch.zeros(2, K))
    standard = Normal(torch.zeros(2, K), torch.ones(2, K))
    torch.testing.assert_close(gaussian.kl(standard), torch.zeros(2))
    posterior = dirichlet.posterior(raw_for(dirichlet))
    assert not torch.allclose(dirichlet.kl(posterior), dirichlet.reversed_kl(posterior), rtol=0.01)


def test_gaussian_units_add_up(latent: Latent) -> None:
    posterior = latent.posterior(raw_for(latent))
    units = latent.kl_per_unit(posterior)
    assert units.shape == (4, K)
    assert (units >= -1e-5).all()
    if isinstance(latent, GaussianLatent):
        torch.testing.assert_close(units.sum(1), latent.kl(posterior))
    else:  # a marginal cannot cost more than the joint
        assert (units.max(1).values <= latent.kl(posterior) + 1e-4).all()


@pytest.mark.parametrize("extreme", [-50.0, -20.0, 0.0, 20.0, 23.1, 60.0, 100.0])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_no_nan_from_minus_50_to_100(preset: str, extreme: float) -> None:
    config = PRESETS[preset].model.model_copy(update={"dimensions": K})
    latent = make_latent(config)
    for raw in (
        torch.full((3, latent.heads * K), extreme),
        raw_for(latent) * 0 + torch.linspace(-50, 100, latent.heads * K),
    ):
        raw = raw.clone().requires_grad_()
        posterior = latent.posterior(raw)
        sample = posterior.rsample()
        for value in (sample, latent.code(posterior), latent.kl(posterior), latent.reversed_kl(posterior)):
            assert torch.isfinite(value).all()
        (latent.kl(posterior).sum() + sample.square().sum()).backward()
        assert raw.grad is not None
        assert torch.isfinite(raw.grad).all()


def test_large_logits_keep_a_gradient() -> None:
    """The released code sticks at 23.03, where its clamp takes the gradient away."""
    for latent in families():
        raw = torch.full((1, latent.heads * K), 60.0, requires_grad=True)
        latent.kl(latent.posterior(raw)).sum().backward()
        assert raw.grad is not None
        assert (raw.grad != 0).all()


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 3),
    st.integers(0, K - 1),
    st.lists(st.floats(-2, 2), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_paths_take_the_values_and_stay_valid(
    which: int, dimension: int, values: list[float], seed: int
) -> None:
    latent = families()[which]
    code = latent.code(latent.posterior(raw_for(latent, 1, seed)))[0].detach().numpy()
    path = latent.path(code, dimension, np.array(values))
    assert path.shape == (len(values), K)
    others = np.delete(np.arange(K), dimension)
    if isinstance(latent, GaussianLatent):
        np.testing.assert_allclose(path[:, dimension], values, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(path[:, others], np.repeat(code[None, others], len(values), 0), rtol=1e-6)
    else:
        np.testing.assert_allclose(path[:, dimension], np.clip(values, 0, 1), atol=1e-6)
        assert (path >= 0).all()
        np.testing.assert_allclose(path.sum(1), 1, atol=1e-5)
        inside = np.clip(values, 0, 1) < 1
        if inside.any():  # the others keep their proportions
            rest = path[inside][:, others]
            np.testing.assert_allclose(
                rest / rest.sum(1, keepdims=True),
                np.repeat(code[None, others] / code[others].sum(), inside.sum(), 0),
                atol=1e-4,
            )


def test_path_from_a_corner_of_the_simplex() -> None:
    latent = DirichletLatent(3, prior_alpha=0.6, floor=1e-2)
    path = latent.path(np.array([1.0, 0, 0]), 0, np.array([0.5]))
    np.testing.assert_allclose(path, [[0.5, 0.25, 0.25]])


def test_codes_and_interpolations_are_on_the_simplex() -> None:
    latent = families()[2]
    codes = latent.code(latent.posterior(raw_for(latent, 2))).numpy()
    np.testing.assert_allclose(codes.sum(1), 1, atol=1e-6)
    way = latent.interpolate(codes[0], codes[1], 7)
    np.testing.assert_allclose(way[[0, -1]], codes, atol=1e-6)
    np.testing.assert_allclose(way.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(latent.valid(np.array([np.nan, -1, 2, 2, 0, 0])), [0, 0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(latent.valid(np.zeros(K)), np.full(K, 1 / K))


def test_draws_have_the_priors_moments(latent: Latent) -> None:
    draws = np.stack([latent.draw(seed) for seed in range(4000)])
    prior = latent.prior()
    np.testing.assert_allclose(draws.mean(0), latent.centre(), atol=0.08)
    np.testing.assert_allclose(draws.var(0), prior.variance, rtol=0.2)
    np.testing.assert_array_equal(latent.draw(3), draws[3])
    if isinstance(latent, DirichletLatent):
        np.testing.assert_allclose(draws.sum(1), 1, atol=1e-5)
