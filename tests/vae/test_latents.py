"""KL against Monte Carlo and torch.distributions; codes and paths valid; no NaN at extreme logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.distributions import Dirichlet, Independent, Normal, kl_divergence

from lungvae_core.vae.config import PRESETS, ModelConfig, override, preset
from lungvae_core.vae.latents import (
    FAMILIES,
    DirichletLatent,
    GaussianLatent,
    LaplaceLatent,
    Latent,
    _SharedDirichlet,
    make_latent,
)
from lungvae_core.vae.sync import Share
from tests.vae.von_mises_fisher import VonMisesFisherLatent

K = 6


# Every registered family, and that of the guide, with our settings and with those of the paper's code.
SETTINGS = {
    "lean": ModelConfig(prior="gaussian", network="lean", dimensions=K, width=32),
    "released": ModelConfig(
        prior="gaussian", network="released", dimensions=K, width=32, prior_alpha=0.95, alpha_floor=1e-6
    ),
    "scaled": ModelConfig(prior="gaussian", network="lean", dimensions=K, width=32, alpha_scale=100),
}
LATENTS: dict[str, Latent] = {
    f"{prior}-{name}": family.of(config)
    for prior, family in (FAMILIES | {"von-mises-fisher": VonMisesFisherLatent}).items()
    for name, config in SETTINGS.items()
}


def raw_for(latent: Latent, count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, latent.heads * K, generator=torch.Generator().manual_seed(seed)) + 1


@pytest.fixture(params=LATENTS)
def latent(request: pytest.FixtureRequest) -> Latent:
    return LATENTS[request.param]


def test_the_families_that_ship_are_the_choices_of_the_setting() -> None:
    assert ModelConfig.model_json_schema()["properties"]["prior"]["enum"] == list(FAMILIES)


def test_a_registered_prior_is_a_valid_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    values = SETTINGS["lean"].model_dump() | {"prior": "von-mises-fisher"}
    with pytest.raises(ValidationError, match="'gaussian' or 'dirichlet'"):
        ModelConfig.model_validate(values)
    monkeypatch.setitem(FAMILIES, "von-mises-fisher", VonMisesFisherLatent)
    config = ModelConfig.model_validate(values)
    assert isinstance(make_latent(config), config.family)
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def log_ratio(latent: Latent, posterior, z: torch.Tensor) -> torch.Tensor:
    """log q(z|x) - log p(z), (samples, N)."""
    prior = latent.prior()
    if not posterior.event_shape:
        posterior, prior = Independent(posterior, 1), Independent(prior, 1)
    return posterior.log_prob(z) - prior.log_prob(z)


def test_kl_is_what_monte_carlo_finds(latent: Latent) -> None:
    torch.manual_seed(1)
    posterior = latent.posterior(raw_for(latent))
    z = posterior.sample((20_000 if isinstance(latent, VonMisesFisherLatent) else 200_000,))
    if isinstance(latent, DirichletLatent):  # float32 samples can round to the simplex's edge
        z = z.clamp(min=1e-30)
        z = z / z.sum(-1, keepdim=True)
    ratio = log_ratio(latent, posterior, z)
    error = 5 * ratio.std(0) / len(ratio) ** 0.5 + 1e-3
    assert ((ratio.mean(0) - latent.kl(posterior)).abs() < error).all()


@pytest.mark.parametrize("name", [name for name in LATENTS if not name.startswith("von")])
def test_kl_is_torch_distributions(name: str) -> None:
    latent = LATENTS[name]
    raw = raw_for(latent)
    posterior = latent.posterior(raw)
    if isinstance(latent, GaussianLatent):
        assert isinstance(posterior, Normal)
        q = Independent(Normal(posterior.loc, posterior.scale), 1)
        p = Independent(Normal(torch.zeros(K), torch.ones(K)), 1)
    else:
        assert isinstance(latent, DirichletLatent)
        q = Dirichlet(latent.scale * torch.nn.functional.softplus(raw) + latent.floor)
        p = Dirichlet(torch.full((K,), latent.prior_alpha))
    torch.testing.assert_close(latent.kl(posterior), kl_divergence(q, p))
    torch.testing.assert_close(latent.reversed_kl(posterior), kl_divergence(p.expand((len(raw),)), q))


def test_kl_is_zero_at_the_prior_and_reversed_differs() -> None:
    gaussian, dirichlet = LATENTS["gaussian-lean"], LATENTS["dirichlet-lean"]
    at_prior = dirichlet.prior().expand((2,))
    torch.testing.assert_close(dirichlet.kl(at_prior), torch.zeros(2))
    torch.testing.assert_close(dirichlet.kl_per_unit(at_prior), torch.zeros(2, K))
    standard = Normal(torch.zeros(2, K), torch.ones(2, K))
    torch.testing.assert_close(gaussian.kl(standard), torch.zeros(2))
    posterior = dirichlet.posterior(raw_for(dirichlet))
    assert not torch.allclose(dirichlet.kl(posterior), dirichlet.reversed_kl(posterior), rtol=0.01)


def test_units_add_up_where_dimensions_are_independent(latent: Latent) -> None:
    posterior = latent.posterior(raw_for(latent))
    units = latent.kl_per_unit(posterior)
    assert units.shape == (4, K)
    assert (units >= -1e-5).all()
    if latent.independent:
        torch.testing.assert_close(units.sum(1), latent.kl(posterior))
    else:  # a marginal cannot cost more than the joint
        assert not latent.independent
        assert (units.max(1).values <= latent.kl(posterior) + 1e-4).all()


@pytest.mark.parametrize("extreme", [-50.0, -20.0, 0.0, 20.0, 23.1, 60.0, 100.0])
@pytest.mark.parametrize("name", [*LATENTS, *sorted(PRESETS)])
def test_no_nan_from_minus_50_to_100(name: str, extreme: float) -> None:
    if name in PRESETS:
        latent = make_latent(PRESETS[name].model.model_copy(update={"dimensions": K}))
    else:
        latent = LATENTS[name]
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


@pytest.mark.parametrize("dimension", [0, 2])
def test_a_path_along_a_guided_dimension_moves_its_coordinate_alone(dimension: int) -> None:
    for latent in LATENTS.values():
        code = latent.code(latent.posterior(raw_for(latent)))[0].detach().numpy()
        values = np.array([0.1, 0.3, 0.6, 0.9])
        guided, free = latent.coordinates(torch.tensor(latent.path(code, dimension, values)), 3)
        assert (guided[1:, dimension] > guided[:-1, dimension]).all()
        others = torch.cat([guided, free], 1)[:, [at for at in range(K) if at != dimension]]
        torch.testing.assert_close(others, others[:1].expand_as(others), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
@pytest.mark.parametrize("dimension", [0, 8, 9])
def test_steps_of_a_slider_are_even_for_the_decoder(name: str, dimension: int) -> None:
    """Log-ratios of a Dirichlet's guided components, which are 0 to 8; else values."""
    latent = make_latent(override(preset(name), {"dimensions": 12}).model)
    values = latent.spaced(dimension, 0.01, 0.4, 6)
    assert values[[0, -1]].tolist() == pytest.approx([0.01, 0.4])
    path = torch.tensor(latent.path(latent.valid(np.full(12, 0.2)), dimension, values))
    own = path if dimension == 9 else latent.coordinates(path, 9)[0]
    steps = own[:, dimension].diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), atol=1e-4, rtol=1e-4)
    assert latent.by_ratio(dimension) == (name == "dirvae-guided" and dimension < 9)
    assert np.isfinite(latent.spaced(dimension, *latent.bounds, 3)).all()


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
@pytest.mark.parametrize("dimension", [0, 9])
def test_a_slider_covers_the_codes_within_the_bounds(name: str, dimension: int) -> None:
    latent = make_latent(override(preset(name), {"dimensions": 12}).model)
    values = np.random.default_rng(0).dirichlet(np.full(12, 20.0), 400)[:, dimension]
    low, high = latent.span(dimension, values)
    assert latent.bounds[0] <= low < np.percentile(values, 0.5)
    assert np.percentile(values, 99.5) < high <= latent.bounds[1]
    assert low > 0 or not latent.by_ratio(dimension)  # 0 has no log-ratio


@pytest.mark.parametrize("name", [name for name in LATENTS if not name.startswith("von")])
def test_scores_become_the_coordinates_of_the_first_dimensions(name: str) -> None:
    latent = LATENTS[name]
    scores = torch.tensor([[0.0, 1.5, -1.0], [2.0, -2.0, 0.3]])
    raw = raw_for(latent, 2) + 3
    code = latent.code(latent.posterior(latent.with_scores(raw, scores)))
    guided, free = latent.coordinates(code, 3)
    torch.testing.assert_close(guided - latent.coordinate_centre(3), scores, atol=1e-3, rtol=1e-3)
    _, before = latent.coordinates(latent.code(latent.posterior(raw)), 3)
    torch.testing.assert_close(free, before, atol=1e-4, rtol=1e-4)


def test_large_logits_keep_a_gradient() -> None:
    """The released code sticks at 23.03, where its clamp takes the gradient away."""
    for latent in LATENTS.values():
        raw = torch.full((1, latent.heads * K), 60.0, requires_grad=True)
        latent.kl(latent.posterior(raw)).sum().backward()
        assert raw.grad is not None
        assert (raw.grad != 0).all()


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(sorted(LATENTS)),
    st.integers(0, K - 1),
    st.lists(st.floats(-2, 2), min_size=1, max_size=5),
    st.integers(0, 99),
)
def test_paths_take_the_values_and_stay_valid(
    which: str, dimension: int, values: list[float], seed: int
) -> None:
    latent = LATENTS[which]
    code = latent.code(latent.posterior(raw_for(latent, 1, seed)))[0].detach().numpy()
    path = latent.path(code, dimension, np.array(values))
    assert path.shape == (len(values), K)
    others = np.delete(np.arange(K), dimension)
    np.testing.assert_allclose(path, latent.valid(path), atol=1e-6)
    np.testing.assert_allclose(path[:, dimension], np.clip(values, *latent.bounds), rtol=1e-5, atol=1e-6)
    if isinstance(latent, GaussianLatent):
        np.testing.assert_allclose(path[:, others], np.repeat(code[None, others], len(values), 0), rtol=1e-6)
    elif latent.simplex:
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
    latent = LATENTS["dirichlet-lean"]
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
    np.testing.assert_allclose(draws.mean(0), prior.mean, atol=0.08)
    np.testing.assert_allclose(latent.valid(prior.mean.numpy()), latent.centre(), rtol=1e-6)
    np.testing.assert_allclose(draws.var(0), prior.variance, rtol=0.2)
    np.testing.assert_array_equal(latent.draw(3), draws[3])
    if isinstance(latent, DirichletLatent):
        np.testing.assert_allclose(draws.sum(1), 1, atol=1e-5)


# The Laplace approximation in the softmax basis


def laplace(alpha: float = 0.6, floor: float = 1e-2, k: int = K) -> LaplaceLatent:
    return LaplaceLatent(k, prior_alpha=alpha, floor=floor)


def raw_giving(alpha: torch.Tensor, floor: float) -> torch.Tensor:
    """What an encoder gives for these concentrations: the inverse of softplus(raw) + floor."""
    return torch.log(torch.expm1(alpha.double() - floor)).float()


def test_laplace_kl_is_what_monte_carlo_finds() -> None:
    """With the Gaussian before the softmax as the latent variable, written out once more from MacKay 1998."""
    family = laplace()
    posterior = family.posterior(raw_for(family))
    assert isinstance(posterior, Dirichlet)

    def gaussian(alpha: torch.Tensor) -> Independent:
        variance = (1 / alpha) * (1 - 2 / K) + (1 / alpha).sum(-1, keepdim=True) / K**2
        logs = alpha.log()
        return Independent(Normal(logs - logs.mean(-1, keepdim=True), variance.sqrt()), 1)

    q = gaussian(posterior.concentration.double())
    p = gaussian(torch.full((4, K), 0.6, dtype=torch.float64))
    torch.manual_seed(1)
    for ratio, found in (
        (q.log_prob(z := q.sample((200_000,))) - p.log_prob(z), family.kl(posterior)),
        (p.log_prob(z := p.sample((200_000,))) - q.log_prob(z), family.reversed_kl(posterior)),
    ):
        error = 5 * ratio.std(0) / len(ratio) ** 0.5 + 1e-3
        assert ((ratio.mean(0) - found.double()).abs() < error).all()
    units = family.kl_per_unit(posterior)
    assert units.shape == (4, K)
    torch.testing.assert_close(units.sum(1), family.kl(posterior))


def test_laplace_kl_is_zero_at_the_prior_and_positive_elsewhere() -> None:
    family = laplace()
    at_prior = family.posterior(raw_giving(torch.full((2, K), 0.6), 1e-2))
    for kl in (family.kl, family.reversed_kl):
        torch.testing.assert_close(kl(at_prior), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(family.kl_per_unit(at_prior), torch.zeros(2, K), rtol=0, atol=1e-5)
    elsewhere = family.posterior(raw_for(family, 50))
    assert (family.kl_per_unit(elsewhere) >= -1e-6).all()
    assert (family.kl(elsewhere) > 0.01).all()


@pytest.mark.parametrize("k", [K, 40])
def test_laplace_draws_have_the_dirichlets_moments_at_large_concentrations(k: int) -> None:
    """But for the covariances before the softmax, which a diagonal Gaussian leaves out: about 1/K of it."""
    family = laplace(k=k)
    alpha = torch.linspace(30, 100, k)[torch.randperm(k, generator=torch.Generator().manual_seed(0))][None]
    raw = raw_giving(alpha, 1e-2)
    posterior, exact = family.posterior(raw), Dirichlet(alpha[0])
    torch.testing.assert_close(family.code(posterior)[0], exact.mean)
    torch.manual_seed(0)
    z = family.sample(family.posterior(raw.expand(50_000, k)))
    torch.testing.assert_close(z.mean(0), exact.mean, rtol=0.02, atol=0)
    torch.testing.assert_close(z.var(0), exact.variance, rtol=1.3 / k + 0.05, atol=0)
    torch.testing.assert_close(posterior.rsample((50_000,))[:, 0].mean(0), z.mean(0), rtol=0.01, atol=0)


@pytest.mark.parametrize("floor", [1e-6, 1e-2])
def test_laplace_stays_finite_at_extreme_logits(floor: float) -> None:
    family = laplace(floor=floor)
    raw = torch.tensor([[-100.0] * K, [100.0] * K, [-100, 100, -50, 50, 0, 23.1], [1e4] * K])
    raw.requires_grad_()
    posterior = family.posterior(raw)
    torch.manual_seed(0)
    z = family.sample(posterior)
    torch.testing.assert_close(z.sum(1), torch.ones(4))
    assert (z >= 0).all()
    values = (family.kl(posterior), family.reversed_kl(posterior), family.code(posterior))
    for value in (*values, family.kl_per_unit(posterior)):
        assert torch.isfinite(value).all()
    (family.kl(posterior).sum() + (z * torch.arange(K)).sum()).backward()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()


# Gradients through the draws


def test_the_pathwise_gradient_is_that_of_the_expectation() -> None:
    """d/d alpha of E[f(z)] for f(z) = sum w z^2, whose expectation under a Dirichlet is known."""
    family = DirichletLatent(3, prior_alpha=0.6, floor=1e-2)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    alpha = torch.tensor([0.4, 1.5, 3.0], dtype=torch.float64)

    def expectation(a: torch.Tensor) -> torch.Tensor:
        return (weights * a * (a + 1)).sum() / (a.sum() * (a.sum() + 1))

    step = 1e-5
    differences = torch.stack(
        [
            (expectation(alpha + step * unit) - expectation(alpha - step * unit)) / (2 * step)
            for unit in torch.eye(3, dtype=torch.float64)
        ]
    )
    count = 200_000
    raw = raw_giving(alpha, 1e-2).expand(count, 3).clone().requires_grad_()
    torch.manual_seed(0)
    z = family.sample(family.posterior(raw))
    (weights.float() * z.square()).sum().backward()
    assert raw.grad is not None
    each = raw.grad.double() / torch.sigmoid(raw.detach().double())  # by alpha: softplus' slope taken out
    error = 5 * each.std(0) / count**0.5 + 1e-3 * differences.abs().max()
    assert ((each.mean(0) - differences).abs() < error).all()


def test_the_laplace_gradient_is_that_of_the_same_draws_moved() -> None:
    family = laplace()
    raw = raw_for(family, 3).requires_grad_()
    weights = torch.linspace(-1, 2, K)

    def value(at: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(4)
        return (family.sample(family.posterior(at)) * weights).sum()

    (gradient,) = torch.autograd.grad(value(raw), raw)
    direction = torch.randn(3, K, generator=torch.Generator().manual_seed(0))
    step = 1e-2
    with torch.no_grad():
        difference = (value(raw + step * direction) - value(raw - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), difference, rtol=1e-2, atol=1e-4)


def test_a_shared_draw_is_torchs_own() -> None:
    """The same numbers and the same gradient, where one process has the whole batch."""
    family = DirichletLatent(K, prior_alpha=0.6, floor=1e-2)
    alpha = family.posterior(raw_for(family, 40)).concentration
    weights = torch.randn(40, K, generator=torch.Generator().manual_seed(2))
    drawn, gradients = [], []
    for draw in (
        lambda a: Dirichlet(a).rsample(),
        lambda a: _SharedDirichlet.apply(a, Share(0, 40, 40)),
    ):
        leaf = alpha.clone().requires_grad_()
        torch.manual_seed(9)
        z = draw(leaf)
        (z * weights).sum().backward()
        drawn.append(z.detach())
        gradients.append(leaf.grad)
    assert torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("which", ["gaussian", "laplace"])
def test_a_share_gets_its_rows_of_the_whole_batchs_draw(which: str) -> None:
    family = GaussianLatent(K) if which == "gaussian" else laplace()
    raw = raw_for(family, 7)
    torch.manual_seed(3)
    whole = family.sample(family.posterior(raw), Share(0, 7, 7))
    torch.manual_seed(3)
    torch.testing.assert_close(family.sample(family.posterior(raw)), whole)
    parts = []
    for start, stop in ((0, 3), (3, 7)):
        torch.manual_seed(3)
        parts.append(family.sample(family.posterior(raw[start:stop]), Share(start, stop, 7)))
    torch.testing.assert_close(torch.cat(parts), whole)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["dirichlet", "laplace"]),
    st.lists(st.floats(-100, 100, width=32), min_size=K, max_size=K),
    st.integers(0, K - 1),
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=4),
    st.sampled_from([1e-6, 1e-2]),
)
def test_codes_draws_and_paths_stay_on_the_simplex(
    which: str, raw: list[float], dimension: int, values: list[float], floor: float
) -> None:
    family = laplace(floor=floor) if which == "laplace" else DirichletLatent(K, prior_alpha=0.6, floor=floor)
    posterior = family.posterior(torch.tensor([raw]))
    torch.manual_seed(0)
    code = family.code(posterior).numpy()[0]
    path = family.path(code, dimension, np.array(values))
    way = family.interpolate(code, family.draw(1), 5)
    for codes in (code[None], family.sample(posterior).numpy(), path, way, family.valid(path)):
        assert np.isfinite(codes).all()
        assert (codes >= 0).all()
        np.testing.assert_allclose(codes.sum(-1), 1, atol=1e-5)
