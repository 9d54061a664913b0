"""Each term of the objective against its formula, and what a batch, a class and a nat count in it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as library_ms_ssim
from pytorch_msssim import ssim as library_ssim
from torch import Tensor
from torch.distributions.distribution import Distribution

from lungvae_core.training.classifier import class_weights
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.latents import Latent, make_latent
from lungvae_core.vae.objective import PIXELS, Terms, beta_at, in_tissue, label_loss, objective, ssim

K = 6
NOTHING = {
    **{"l1": 0, "ssim": 0, "ms_ssim": 0, "mse": 0, "bce": 0},
    **{"focus": 0, "tissue": 0, "warmup_epochs": 0},
}
FAMILIES = [("gvae", "pathwise"), ("dirvae", "pathwise"), ("dirvae", "laplace")]


def config_of(name: str = "gvae", **changes: Any) -> Config:
    return override(preset(name), {"width": 4, "dimensions": K, "prior_alpha": 0.6, **NOTHING, **changes})


def images(count: int, seed: int = 0) -> Tensor:
    """(count, 1, 64, 64) smooth images in 0..1, so that structure can be compared."""
    noise = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, size=64, mode="bilinear").clamp(0, 1)


def raw_of(latent: Latent, count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, latent.heads * K, generator=torch.Generator().manual_seed(seed))


def terms(config: Config, x: Tensor, y: Tensor, *, beta: float = 0.0, raw: Tensor | None = None) -> Terms:
    latent = make_latent(config.model)
    posterior = latent.posterior(raw_of(latent, len(x)) if raw is None else raw)
    return objective(x, y, posterior, latent, config, beta=beta)


def focused(each: Tensor, focus: float) -> Tensor:
    """(N,) the weighted mean over the pixels of each (N, 1, 64, 64)."""
    at = np.arange(64) - 31.5
    weights = 1 + focus * np.exp(-(at[:, None] ** 2 + at**2) / 288)
    return (each[:, 0].double() * torch.tensor(weights / weights.mean())).mean((1, 2))


@pytest.mark.parametrize("focus", [0.0, 4.0])
@pytest.mark.parametrize("term", ["l1", "mse", "bce"])
def test_pixel_terms_are_their_formulas(term: str, focus: float) -> None:
    x, y = images(3), images(3, seed=1) * 0.9 + 0.05
    a, b = x.double(), y.double()
    each = {
        "l1": (a - b).abs(),
        "mse": (a - b) ** 2,
        "bce": -(a * b.log() + (1 - a) * (1 - b).log()),
    }[term]
    expected = 0.7 * 4096 * focused(each, focus).mean()
    found = terms(config_of(**{term: 0.7, "focus": focus}), x, y)
    torch.testing.assert_close(found.loss.double(), expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.reconstruction, found.loss)


def test_similarity_terms_are_the_librarys() -> None:
    x, y = images(3), images(3, seed=1)
    found = terms(config_of(ssim=0.3), x, y).loss
    expected = 0.3 * PIXELS * (1 - library_ssim(x, y, data_range=1, nonnegative_ssim=True))
    torch.testing.assert_close(found, expected)
    found = terms(config_of(ms_ssim=0.3), x, y).loss
    torch.testing.assert_close(found, 0.3 * PIXELS * (1 - library_ms_ssim(x, y, data_range=1, win_size=3)))
    for term in ("ssim", "ms_ssim", "l1", "mse"):
        assert abs(float(terms(config_of(**{term: 1.0}), x, x).loss)) < 1e-2  # of 4096


@pytest.mark.parametrize("term", ["l1", "mse", "bce"])
def test_pixels_inside_the_mask_count_more(term: str) -> None:
    x = torch.full((3, 1, 64, 64), 0.5)
    masks = torch.zeros(3, 64, 64)
    masks[:2, 10:20, 10:20] = 1
    inside, outside = x.clone(), x.clone()
    inside[..., 10:20, 10:20] = 0.8
    outside[..., 40:50, 40:50] = 0.8
    config = config_of(**{term: 1.0, "mask_focus": 3})

    def loss(y: Tensor, rows: slice, masks: Tensor | None = masks, config: Config = config) -> float:
        latent = make_latent(config.model)
        posterior = latent.posterior(raw_of(latent, len(x[rows])))
        given = None if masks is None else masks[rows]
        return float(objective(x[rows], y[rows], posterior, latent, config, beta=0, masks=given).loss)

    one, plain = slice(0, 2), config_of(**{term: 1.0})
    base = loss(x, one, None)  # of equal images: 0 but for the entropy's own
    assert loss(x, one) == pytest.approx(base, abs=1e-3)  # each slice keeps its scale
    assert loss(inside, one) - base == pytest.approx(4 * (loss(outside, one) - base), rel=1e-3)
    without = slice(2, 3)  # has no mask
    assert loss(inside, without) == pytest.approx(loss(outside, without))
    assert loss(inside, one, config=plain) == loss(inside, one, None)


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.0])
def test_ssim_and_its_gradient_are_the_librarys(shift: float) -> None:
    x, y = images(4), ((1 - shift) * images(4) + shift * images(4, seed=1)).requires_grad_()
    torch.testing.assert_close(
        ssim(x, y, reduce=False),
        library_ssim(x, y, data_range=1, size_average=False, nonnegative_ssim=True),
        rtol=1e-4,
        atol=1e-5,
    )
    ours, theirs = (
        torch.autograd.grad(each, y)[0]
        for each in (ssim(x, y), library_ssim(x, y, data_range=1, nonnegative_ssim=True))
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("window", [(-1000, 400), (-1000, 500), (-500, 400), (-600, 200)])
@pytest.mark.parametrize("term", ["l1", "mse", "ssim"])
def test_the_share_in_the_tissue_window_sees_images_clipped_to_it(
    term: str, window: tuple[float, float]
) -> None:
    low, high = window
    hu_x, hu_y = (images(3, seed) * (high - low) + low for seed in (0, 1))
    x, y = ((hu - low) / (high - low) for hu in (hu_x, hu_y))
    span = {"hu_low": low, "hu_high": high}

    def loss(share: float) -> float:
        return float(terms(config_of(**{term: 1.0, "tissue": share}, **span), x, y).loss)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        each = {"l1": (a - b).abs(), "mse": (a - b) ** 2, "ssim": 1 - ssim(a, b)}[term]
        return PIXELS * each.mean()

    real, drawn = (hu_x.clamp(-500, 400) + 500) / 900, (hu_y + 500) / 900
    # Outside the window only the wrong side of its edge counts.
    drawn = torch.where((real <= 0) & (drawn <= 0), 0.0, torch.where((real >= 1) & (drawn >= 1), 1.0, drawn))
    assert loss(1.0) == pytest.approx(float(distance(real, drawn)), rel=1e-4, abs=1e-3)
    assert loss(0.25) == pytest.approx(0.75 * loss(0.0) + 0.25 * loss(1.0), rel=1e-4, abs=1e-3)


def test_tissue_that_is_drawn_too_dark_has_a_gradient() -> None:
    model = config_of().model  # -1000..400
    dark = torch.full((1, 1, 64, 64), 0.1, requires_grad=True)  # -860 HU
    x, y = in_tissue(torch.full((1, 1, 64, 64), 0.7), dark, model)
    assert (torch.autograd.grad((x - y).square().mean(), dark)[0] < 0).all()
    x, y = in_tissue(torch.zeros(1, 1, 64, 64), dark, model)  # air, as dark as its window shows
    assert not torch.autograd.grad((x - y).square().mean(), dark)[0].any()


def test_the_focal_frequency_loss_is_its_formula() -> None:
    x, y = images(3), images(3, seed=1)
    a, b = (np.fft.fft2(part[:, 0].double().numpy(), norm="ortho") for part in (x, y))
    distance = np.abs(a - b)
    weight = distance / distance.max((1, 2), keepdims=True)
    found = float(terms(config_of(focal_frequency=0.3), x, y).loss)
    assert found == pytest.approx(0.3 * 4096 * (weight * distance**2).mean(), rel=1e-4)
    assert found < float(terms(config_of(mse=0.3), x, y).loss)  # by Parseval
    same = x.clone().requires_grad_()
    loss = terms(config_of(focal_frequency=1.0), x, same).loss
    loss.backward()
    assert float(loss) == 0
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()


def test_terms_add_up() -> None:
    x, y = images(3), images(3, seed=1)
    weights = {"l1": 1.0, "ssim": 0.15, "ms_ssim": 0.2, "mse": 0.4, "bce": 0.3, "focal_frequency": 0.5}
    parts = [terms(config_of(**{name: weight}), x, y).loss for name, weight in weights.items()]
    whole = terms(config_of(**weights), x, y, beta=0.5)
    torch.testing.assert_close(whole.reconstruction, torch.stack(parts).sum())
    torch.testing.assert_close(whole.loss, whole.reconstruction + 0.5 * whole.kl)


@pytest.mark.parametrize("term", ["l1", "mse", "bce", "ssim", "ms_ssim", "focal_frequency"])
@pytest.mark.parametrize(("name", "sampler"), FAMILIES)
def test_the_loss_is_the_mean_over_however_a_batch_is_cut(term: str, name: str, sampler: str) -> None:
    """Every term is a mean over slices, so parts weighted by their sizes give the whole.

    Free bits are left out: they compare a threshold with the mean of the batch's KL, and the mean of two
    parts' shortfalls is not the shortfall of their mean.
    """
    config = config_of(name, sampler=sampler, **{term: 1.0})
    x, y = images(7), images(7, seed=1)
    raw = raw_of(make_latent(config.model), 7)
    whole = terms(config, x, y, beta=0.7, raw=raw)
    for cuts in ((0, 3, 7), (0, 1, 2, 7)):
        parts = [
            (b - a, terms(config, x[a:b], y[a:b], beta=0.7, raw=raw[a:b]))
            for a, b in itertools.pairwise(cuts)
        ]
        for part in ("loss", "reconstruction", "kl"):
            mean = sum(rows * getattr(each, part) for rows, each in parts) / 7
            torch.testing.assert_close(getattr(whole, part), mean, rtol=1e-5, atol=1e-3)


def test_free_bits_depend_on_the_batch() -> None:
    """What the test above leaves out: one slice above the threshold makes up for another below it."""
    config = config_of(free_bits=1.0)
    x = images(2)
    raw = torch.zeros(2, 2 * K)
    raw[0, 0] = 3.0  # the mean of the first dimension: 4.5 nats and more in one slice, little in the other
    whole = terms(config, x, x, beta=1.0, raw=raw).loss
    halves = [terms(config, x[i : i + 1], x[i : i + 1], beta=1.0, raw=raw[i : i + 1]).loss for i in range(2)]
    assert float(whole) < float(torch.stack(halves).mean()) - 0.1


def test_cross_entropy_has_finite_gradients_at_the_extremes() -> None:
    for target in (0.0, 1.0):
        logits = torch.tensor([-200.0, -50, -17, 0, 17, 50, 200]).repeat(1, 1, 64, 10)[..., :64]
        logits.requires_grad_()
        loss = terms(config_of(bce=1.0), torch.full((1, 1, 64, 64), target), logits.sigmoid()).loss
        loss.backward()
        assert torch.isfinite(loss)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        assert (logits.grad[logits == 0] != 0).all()
        y = torch.tensor([0.0, 1.0]).repeat(1, 1, 64, 32).requires_grad_()  # as half precision rounds them
        terms(config_of(bce=1.0), torch.full((1, 1, 64, 64), target), y).loss.backward()
        assert y.grad is not None
        assert torch.isfinite(y.grad).all()


def test_free_bits_are_the_larger_of_kl_and_threshold_for_a_gaussian() -> None:
    config, x = config_of(free_bits=0.5), images(5)
    latent = make_latent(config.model)
    raw = raw_of(latent, 5) * torch.linspace(0, 2, K).repeat(2)
    units = latent.kl_per_unit(latent.posterior(raw)).mean(0)
    assert (units < 0.5).any()
    assert (units > 0.5).any()
    found = terms(config, x, x, beta=2.0, raw=raw)
    torch.testing.assert_close(found.loss, 2 * units.clamp(min=0.5).sum())
    torch.testing.assert_close(found.kl, units.sum())  # what is shown is the KL itself


@pytest.mark.parametrize(("name", "sampler"), FAMILIES)
def test_free_bits_add_what_each_dimension_falls_short(name: str, sampler: str) -> None:
    config, x = config_of(name, sampler=sampler, free_bits=0.3, alpha_scale=1), images(5)
    latent = make_latent(config.model)
    raw = raw_of(latent, 5) * torch.linspace(0.1, 2, latent.heads * K)
    posterior = latent.posterior(raw)
    short = (0.3 - latent.kl_per_unit(posterior).mean(0)).clamp(min=0).sum()
    assert short > 0
    torch.testing.assert_close(
        terms(config, x, x, beta=1.5, raw=raw).loss, 1.5 * (latent.kl(posterior).mean() + short)
    )


@pytest.mark.parametrize(("name", "sampler"), [FAMILIES[0], FAMILIES[2]])
def test_below_the_free_bits_no_force_pulls_to_the_prior(name: str, sampler: str) -> None:
    """Where the dimensions are independent; a Dirichlet's are not."""
    config, x = config_of(name, sampler=sampler, free_bits=100.0), images(3)
    raw = raw_of(make_latent(config.model), 3).requires_grad_()
    terms(config, x, x, beta=1.0, raw=raw).loss.backward()
    assert raw.grad is not None
    torch.testing.assert_close(raw.grad, torch.zeros_like(raw), rtol=0, atol=1e-5)
    raw.grad = None
    terms(override(config, {"free_bits": 1e-6}), x, x, beta=1.0, raw=raw).loss.backward()
    assert (raw.grad.abs() > 1e-3).any()


@pytest.mark.parametrize(("name", "sampler"), FAMILIES)
@pytest.mark.parametrize("reversed_", [False, True])
def test_beta_weighs_nats_of_the_slice_for_every_family(name: str, sampler: str, reversed_: bool) -> None:
    config = config_of(name, sampler=sampler, reversed_kl=reversed_, l1=1.0)
    x, y = images(4), images(4, seed=1)
    latent = make_latent(config.model)
    raw = raw_of(latent, 4)
    posterior: Distribution = latent.posterior(raw)
    nats = (latent.reversed_kl if reversed_ else latent.kl)(posterior)
    assert nats.shape == (4,)
    none, some = (terms(config, x, y, beta=beta, raw=raw) for beta in (0.0, 3.0))
    torch.testing.assert_close(some.loss - none.loss, 3 * nats.mean(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(some.kl, latent.kl(posterior).mean())  # always the ELBO's
    # And not with the images' size or the batch's.
    twice = terms(config, x.repeat(2, 1, 1, 1), y.repeat(2, 1, 1, 1), beta=3.0, raw=raw.repeat(2, 1))
    torch.testing.assert_close(twice.loss, some.loss)


def test_cyclical_warm_up_rises_holds_and_begins_again() -> None:
    config = config_of(beta=2.0, warmup_epochs=3, warmup="cyclical", epochs=20, rounds=2, round_epochs=4)
    found = [beta_at(config, epoch) for epoch in (0, 0.75, 1.5, 3, 4.5, 5.99, 6, 7.5, 9, 11.9, 12, 18)]
    assert found == pytest.approx([0, 0.5, 1, 2, 2, 2, 0, 1, 2, 2, 0, 0])
    # In the joint phase it holds: a guide on codes that collapse and return would chase them.
    assert [beta_at(config, epoch) for epoch in (20, 24, 24.5, 28)] == [2, 2, 2, 2]
    linear = override(config, {"warmup": "linear"})
    assert [beta_at(linear, epoch) for epoch in (0, 1.5, 3, 6, 20)] == [0, 1, 2, 2, 2]
    assert beta_at(override(config, {"warmup_epochs": 0}), 7) == 2


def test_label_loss_is_the_sum_over_labelled_slices_divided_by_the_whole_batch() -> None:
    logits = torch.tensor([0.3, -1.2, 2.0, 0.1, -0.4])
    labels = torch.tensor([1, 0, float("nan"), 0, float("nan")])
    p = logits.double().sigmoid()
    expected = -(p[0].log() + (1 - p[1]).log() + (1 - p[3]).log()) / 5
    torch.testing.assert_close(label_loss(logits, labels, (1.0, 1.0)).double(), expected)
    weighted = -(3.0 * p[0].log() + 0.5 * ((1 - p[1]).log() + (1 - p[3]).log())) / 5
    torch.testing.assert_close(label_loss(logits, labels, (0.5, 3.0)).double(), weighted)


def test_slices_without_a_label_count_nothing() -> None:
    logits = torch.tensor([0.3, -1.2, 1e4, -1e4], requires_grad=True)
    labels = torch.tensor([1, 0, float("nan"), float("nan")])
    label_loss(logits, labels, (1.0, 1.0)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:2].abs().min() > 0
    assert logits.grad[2:].abs().max() == 0
    nothing = label_loss(torch.ones(3, requires_grad=True), torch.full((3,), float("nan")), (1.0, 1.0))
    assert float(nothing.detach()) == 0


def test_balanced_classes_count_alike() -> None:
    labels = torch.tensor([1.0] * 3 + [0.0] * 17 + [float("nan")] * 5)
    weights = class_weights(labels.numpy())
    logits = torch.zeros(len(labels))
    positive, negative = (
        float(label_loss(logits, torch.where(labels == kind, labels, torch.nan), weights)) for kind in (1, 0)
    )
    assert positive == pytest.approx(negative)
    # And all of it weighs what it weighed: the mean weight of a labelled slice is 1.
    assert float(label_loss(logits, labels, weights)) == pytest.approx(
        float(label_loss(logits, labels, (1, 1)))
    )
    assert all(np.isfinite(class_weights(np.array([1.0, 1.0]))))
