"""Every preset's network: shapes, batches of one, the window, and the objective's bookkeeping."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungvae_core.vae.config import PRESETS, Config, override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import decoder_column_norms
from lungvae_core.vae.objective import beta_at, image_metrics, objective, ssim
from tests.conftest import few_guides

SMALL = {"width": 4, "dimensions": 6}


LINEAR = {"linear_path": True}
VARIANTS = {
    **{name: (name, few_guides(name)) for name in sorted(PRESETS)},
    "gvae, linear path": ("gvae", LINEAR),
    "dirvae, linear path": ("dirvae", LINEAR),
    "paper-gvae, linear path": ("paper-gvae", LINEAR),
    "dirvae, linear path of rank 2": ("dirvae", {**LINEAR, "linear_rank": 2}),
}


@pytest.fixture(params=VARIANTS)
def config(request: pytest.FixtureRequest) -> Config:
    name, changes = VARIANTS[request.param]
    return override(preset(name), {**SMALL, **changes})


@pytest.mark.parametrize("count", [1, 3])
def test_a_step_of_training_works_with_any_batch(config: Config, count: int) -> None:
    torch.manual_seed(0)
    vae = VAE(config.model)
    vae.train()
    x = torch.rand(count, 1, 64, 64)
    drawn, posterior = vae(x)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    y = drawn[:, :1]
    assert y.shape == x.shape
    terms = objective(x, y, posterior, vae.latent, config, beta=1.0)
    terms.loss.backward()
    for name, parameter in vae.named_parameters():
        if ".reader." in name:  # learned before
            assert parameter.grad is None, name
            continue
        if not parameter.requires_grad:  # a bias that a batch norm would take out
            assert (parameter == 0).all(), name
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_codes_and_images_have_the_shapes_promised(config: Config) -> None:
    vae = VAE(config.model).eval()
    hu = np.random.default_rng(0).integers(-1000, 400, (5, 64, 64)).astype(np.int16)
    codes = vae.encode_hu(hu, batch_size=2)
    assert codes.shape == (5, 6)
    assert codes.dtype == np.float32
    images = vae.decode_codes(codes, batch_size=3)
    assert images.shape == (5, 64, 64)
    np.testing.assert_allclose(vae.encode_hu(hu[1:2]), codes[1:2], atol=1e-4)  # batches do not mix
    assert vae.encode_hu(hu[:0]).shape == (0, 6)
    assert decoder_column_norms(vae.decoder).shape == (6,)


def test_window_is_the_models(config: Config) -> None:
    low, high = config.model.hu_low, config.model.hu_high
    hu = np.array([low - 500, low, (low + high) / 2, high, high + 500]).astype(np.int16)
    found = VAE(config.model).images(hu[None, None])
    np.testing.assert_allclose(found.flatten(), [0, 0, 0.5, 1, 1], atol=1e-3)


def test_loss_does_not_depend_on_how_a_batch_is_cut() -> None:
    config = override(preset("gvae"), SMALL)
    vae = VAE(config.model).eval()
    x = torch.rand(8, 1, 64, 64)
    posterior = vae.posterior(x)
    y = vae.reconstruct(vae.latent.code(posterior))
    whole = objective(x, y, posterior, vae.latent, config, beta=0.7).loss
    halves = []
    for part in (slice(0, 4), slice(4, 8)):
        q = torch.distributions.Normal(posterior.mean[part], posterior.stddev[part])
        halves.append(objective(x[part], y[part], q, vae.latent, config, beta=0.7).loss)
    torch.testing.assert_close(whole, torch.stack(halves).mean(), rtol=1e-4, atol=1e-2)


def test_beta_means_nats_for_both_priors() -> None:
    for name in ("gvae", "dirvae"):
        config = override(preset(name), SMALL)
        vae = VAE(config.model).eval()
        x = torch.rand(4, 1, 64, 64)
        posterior = vae.posterior(x)
        y = vae.reconstruct(vae.latent.code(posterior))
        none = objective(x, y, posterior, vae.latent, config, beta=0.0).loss
        some = objective(x, y, posterior, vae.latent, config, beta=2.0).loss
        torch.testing.assert_close(some - none, 2 * vae.latent.kl(posterior).mean(), rtol=1e-3, atol=1e-3)


def test_released_loss_is_the_papers_formula() -> None:
    """Written out once more from the released code: sums over pixels / base, KL by its own weights."""
    for name, reversed_ in (("paper-gvae", False), ("paper-dirvae", True), ("paper-dirvae", False)):
        config = override(preset(name), {**SMALL, "reversed_kl": reversed_})
        vae = VAE(config.model).eval()
        x = torch.rand(3, 1, 64, 64)
        posterior = vae.posterior(x)
        y = vae.reconstruct(vae.latent.code(posterior))
        weights, base, k, batch = config.objective, 4, 6, 3
        if name == "paper-gvae":
            kld = vae.latent.kl(posterior).sum() / (batch * base)
            penalty = weights.beta * k / 4096 * kld
        else:
            kld = (vae.latent.reversed_kl if reversed_ else vae.latent.kl)(posterior).sum()
            penalty = 10 * weights.beta * (k / base) / (4096 * batch) * kld
        expected = (
            weights.l1 * (x - y).abs().sum() / (batch * base) + weights.ssim * (1 - ssim(x, y)) + penalty
        )
        found = objective(x, y, posterior, vae.latent, config, beta=weights.beta).loss
        torch.testing.assert_close(found, expected)


def test_focus_weighs_the_middle_and_keeps_the_scale() -> None:
    config = override(preset("gvae"), {**SMALL, "l1": 1, "mse": 0, "ssim": 0, "tissue": 0, "focus": 4})
    vae = VAE(config.model).eval()
    x = torch.zeros(1, 1, 64, 64)
    posterior = vae.posterior(x)
    middle, corner, everywhere = x.clone(), x.clone(), x + 0.5
    middle[..., 30:34, 30:34] = 1
    corner[..., :4, :4] = 1
    losses = [
        float(objective(x, y, posterior, vae.latent, config, beta=0).loss)
        for y in (middle, corner, everywhere)
    ]
    assert losses[0] > 3 * losses[1]
    assert losses[2] == pytest.approx(4096 * config.objective.l1 * 0.5, rel=1e-4)


def test_warm_up_rises_to_beta() -> None:
    config = override(preset("gvae"), {"beta": 2, "warmup_epochs": 4})
    assert [beta_at(config, epoch) for epoch in (0, 1, 4, 9)] == [0, 0.5, 2, 2]
    assert beta_at(override(config, {"warmup_epochs": 0}), 0) == 2


def test_metrics_of_equal_images_are_perfect() -> None:
    x = torch.rand(2, 1, 64, 64)
    found = image_metrics(x, x)
    torch.testing.assert_close(found["ssim"], torch.ones(2))
    assert float(found["mse"].sum()) == 0
    torch.testing.assert_close(image_metrics(x, 1 - x)["mae"], (2 * x - 1).abs().flatten(1).mean(1))
