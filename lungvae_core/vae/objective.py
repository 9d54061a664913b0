"""The training objective: a reconstruction term and beta times the KL, both in nats a slice.

`elbo` (ours): loss = 4096 * (l1 * |x - y| + mse * (x - y)^2 + bce * BCE(y, x) + ssim * (1 - SSIM) + ms_ssim *
(1 - MS-SSIM) + focal_frequency * FFL + feature * D) + beta * KL, each term averaged over pixels and the batch
first, KL summed over dimensions and averaged over the batch. `focus` weighs the pixels of L1, MSE and BCE by
1 + focus * exp(-r^2 / (2 * 12^2)), r in pixels from the crop's middle, where the lesion is, scaled to a mean
of 1. `mask_focus` weighs those inside the readers' mask by 1 + mask_focus as well, each slice scaled to a
mean of 1 again; a slice without a mask is not weighted. `tissue` is the share of L1, MSE, BCE, SSIM and
MS-SSIM that is taken of the images as seen in -500..400 HU, on that window's 0..1 scale. Outside the window
only a reconstruction on the wrong side of its edge counts, and inside it a reconstruction is never clipped,
so that it always has a gradient. With l1 = 1 alone and beta = 1 it is the negative
ELBO of a Laplace likelihood of scale 1, with bce = 1 alone that of a continuous Bernoulli but for its
normaliser, with mse = 1 alone that of a Gaussian of variance 1/2, each up to a constant; SSIM terms are a
perceptual likelihood on the same scale. beta means the same for both priors, and no weight depends on the
batch's size.

FFL is the focal frequency loss (Jiang et al., arXiv 2012.12821, alpha = 1): the mean of |F(x) - F(y)|^2 over
the frequencies of the orthonormal Fourier transform, each weighed by |F(x) - F(y)| as a share of the image's
largest. Without these weights it would be the MSE (Parseval).

D is the distance of a fixed network's features of x and y, at each of its scales: squared differences of its
features, scaled to length 1 over the channels of each pixel, summed over channels and averaged over pixels
and scales (Zhang et al., arXiv 1801.03924, without learned weights).

Free bits (Kingma et al., arXiv 1606.04934, eq. 15): for every dimension, the amount by which its batch-mean
KL falls short of `free_bits` is added to the KL; for a Gaussian that is sum_k max(KL_k, free_bits). The
Dirichlet's dimensions are not independent, so there KL_k is that of the dimension's marginal.

The joint phase adds label_weight * the classifier's binary cross-entropy, summed over the slices of the batch
that have a label and divided by the whole batch, so that the number of labelled slices in a batch does not
change their weight.

`released`: the paper's code: L1 summed over pixels and divided by the base width, (1 - SSIM) once a batch,
and KL with the weight that its code gives it (beta * K / 4096 / base for the Gaussian, 10 * beta * K / base /
4096 for the Dirichlet).

SSIM: Wang et al. 2004. MS-SSIM, from pytorch-msssim, at 64 px needs a window of 3 for its five scales.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from pytorch_msssim import ms_ssim as _ms_ssim
from torch import Tensor
from torch.distributions.distribution import Distribution

from lungvae_core.vae.config import Config, ModelConfig, ObjectiveConfig
from lungvae_core.vae.latents import Latent
from lungvae_core.vae.sync import batch_mean

PIXELS = 64 * 64
TISSUE = (-500.0, 400.0)  # HU: the window of soft tissue, in which the paper shows lesions
_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for images in 0..1
FeaturesOf = Callable[[Tensor], list[Tensor]]  # images (N, 1, 64, 64) in 0..1 -> (N, C, H, W) at each scale


@dataclass(frozen=True)
class Terms:
    """The parts of one batch's loss; scalars, averaged over the batch."""

    loss: Tensor
    reconstruction: Tensor  # weighted as the objective says
    kl: Tensor  # nats a slice, summed over dimensions, always KL(posterior || prior)


def ssim(x: Tensor, y: Tensor, *, reduce: bool = True) -> Tensor:
    """SSIM of images (N, 1, 64, 64) in 0..1 with an 11-pixel Gaussian window: a scalar, or (N,).

    As pytorch-msssim has it, but filtered by two matrix products: eight times as fast with its gradient.
    """
    rows, columns = (_gaussian_window(side, x.device) for side in x.shape[-2:])
    x, y = x.float(), y.float()
    means = rows @ torch.stack((x, y, x * x, y * y, x * y)) @ columns.T  # (5, N, 1, H - 10, W - 10)
    mean_x, mean_y, square_x, square_y, product = means.unbind()
    both, squares = mean_x * mean_y, mean_x.square() + mean_y.square()
    contrast = (2 * (product - both) + _C2) / (square_x + square_y - squares + _C2)
    each = (contrast * (2 * both + _C1) / (squares + _C1)).flatten(2).mean(2)  # (N, channels)
    # SSIM can dip below 0 early in training, where its gradient would mislead.
    each = each.relu().mean(1)
    return each.mean() if reduce else each


def ms_ssim(x: Tensor, y: Tensor, *, reduce: bool = True) -> Tensor:
    """Five-scale MS-SSIM of images (N, 1, 64, 64) in 0..1 with a 3-pixel window: a scalar, or (N,)."""
    return _ms_ssim(x, y, data_range=1.0, size_average=reduce, win_size=3)


def beta_at(config: Config, epoch: float) -> float:
    """The KL's weight at `epoch` (fractional, from 0): rises linearly from 0 over the warm-up.

    Cyclical: it rises over `warmup_epochs`, holds as long, and begins again (Fu et al., arXiv 1903.10145),
    until the joint phase, in which it holds.
    """
    warmup = config.objective.warmup_epochs
    if config.objective.warmup == "cyclical" and warmup > 0 and epoch < config.training.epochs:
        epoch %= 2 * warmup
    return config.objective.beta * (min(epoch / warmup, 1.0) if warmup > 0 else 1.0)


def objective(
    x: Tensor,
    y: Tensor,
    posterior: Distribution,
    latent: Latent,
    config: Config,
    *,
    beta: float,
    masks: Tensor | None = None,
    features: FeaturesOf | None = None,
) -> Terms:
    """Loss of reconstructions y of images x, both (N, 1, 64, 64) float32 in 0..1.

    `masks` (N, 64, 64), 0..1, are the readers', for `mask_focus`; `features` are a network's, for `feature`.
    """
    weights = config.objective
    pixels = _pixel_weights(weights.focus, x.device)
    if weights.mask_focus and masks is not None:
        pixels = pixels * (1 + weights.mask_focus * masks[:, None])  # (N, 1, 64, 64)
        pixels = pixels / pixels.mean((1, 2, 3), keepdim=True)
    kl = latent.kl(posterior).mean()
    penalty = latent.reversed_kl(posterior).mean() if weights.reversed_kl else kl
    if weights.free_bits:
        units = batch_mean(latent.kl_per_unit(posterior))  # (K,)
        penalty = penalty + (weights.free_bits - units).clamp(min=0).sum()
    penalty = penalty.to(x.device)
    scale, factor = float(PIXELS), 1.0
    if weights.form == "released":
        # Its code's weights, per image: L1 as a sum over pixels / base, the others once; KL by K / 4096.
        base, k = config.model.width, config.model.dimensions
        weights = weights.model_copy(update={"l1": weights.l1 * PIXELS / base})
        scale, factor = 1.0, latent.released_weight * k / base / PIXELS
    reconstruction = (1 - weights.tissue) * _distance(x, y, weights, pixels)
    if weights.tissue:
        seen = _distance(*in_tissue(x, y, config.model), weights, pixels)
        reconstruction = reconstruction + weights.tissue * seen
    if weights.focal_frequency:
        reconstruction = reconstruction + weights.focal_frequency * focal_frequency(x, y)
    if weights.feature and features is not None:
        reconstruction = reconstruction + weights.feature * feature_distance(x, y, features)
    reconstruction = scale * reconstruction
    return Terms(reconstruction + beta * factor * penalty, reconstruction.detach(), kl.detach())


def _distance(x: Tensor, y: Tensor, weights: ObjectiveConfig, pixels: Tensor) -> Tensor:
    """The weighted terms of pixels and of similarity: a scalar, a mean over the pixels and the batch."""
    distance = weights.l1 * (pixels * (x - y).abs()).mean()
    if weights.mse:
        distance = distance + weights.mse * (pixels * (x - y).square()).mean()
    if weights.bce:
        # Kept off 0 and 1, where half precision puts sigmoids and the logarithm has no gradient.
        entropy = F.binary_cross_entropy(y.clamp(1e-5, 1 - 1e-5), x, reduction="none")
        distance = distance + weights.bce * (pixels * entropy).mean()
    if weights.ssim:
        distance = distance + weights.ssim * (1 - ssim(x, y))
    if weights.ms_ssim:
        distance = distance + weights.ms_ssim * (1 - ms_ssim(x, y))
    return distance


def in_tissue(x: Tensor, y: Tensor, model: ModelConfig) -> tuple[Tensor, Tensor]:
    """Images and their reconstructions (N, 1, 64, 64), 0..1 in the model's window, as in the window `TISSUE`.

    The images are clipped to 0..1 of that window; a reconstruction only where its image is.
    """
    low, high = ((hu - model.hu_low) / (model.hu_high - model.hu_low) for hu in TISSUE)
    y = torch.where(x <= low, y.clamp(min=low), torch.where(x >= high, y.clamp(max=high), y))
    return (x.clamp(low, high) - low) / (high - low), (y - low) / (high - low)


def feature_distance(x: Tensor, y: Tensor, features: FeaturesOf) -> Tensor:
    """The distance of the features of images (N, 1, 64, 64) in 0..1: a scalar in 0..4."""
    with torch.no_grad():
        real = features(x)
    each = [
        (F.normalize(one, dim=1) - F.normalize(other, dim=1)).square().sum(1).mean()
        for one, other in zip(real, features(y), strict=True)
    ]
    return torch.stack(each).mean()


def focal_frequency(x: Tensor, y: Tensor) -> Tensor:
    """The focal frequency loss of images (N, 1, 64, 64) in 0..1: a scalar."""
    distance = torch.fft.fft2(x - y, norm="ortho").abs()
    with torch.no_grad():
        weight = distance / distance.amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return (weight * distance.square()).mean()


def label_loss(logits: Tensor, labels: Tensor, weights: tuple[float, float]) -> Tensor:
    """Binary cross-entropy of logits (B,) over the batch; labels (B,) are 0, 1 or NaN, which is ignored.

    `weights` are those of the classes 0 and 1.
    """
    rated = ~torch.isnan(labels)
    target = torch.where(rated, labels, torch.zeros_like(labels))
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    weight = torch.where(target > 0.5, weights[1], weights[0]) * rated
    return (each * weight).mean()


@cache
def _gaussian_window(side: int, device: torch.device) -> Tensor:
    """(side - 10, side) float32: means of 11 values, weighted by a Gaussian of 1.5 pixels."""
    window = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2))
    rows = torch.zeros(side - 10, side)
    for row in range(side - 10):
        rows[row, row : row + 11] = window / window.sum()
    return rows.to(device)


@cache
def _pixel_weights(focus: float, device: torch.device) -> Tensor:
    """(64, 64) float32 of mean 1."""
    distance = torch.arange(64, device=device) - 31.5
    weights = 1 + focus * torch.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 12**2))
    return weights / weights.mean()


@torch.no_grad()
def image_metrics(x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Per image (N,): SSIM, MSE and MAE of y against x, both (N, 1, 64, 64) in 0..1."""
    difference = (x - y).flatten(1)
    return {
        "ssim": ssim(x, y, reduce=False),
        "mse": difference.square().mean(1),
        "mae": difference.abs().mean(1),
    }
