"""A linear path that starts from a principal component analysis of the training slices.

A linear VAE has its optimum in closed form (Lucas et al., arXiv 1911.02469; Tipping and Bishop 1999, doi
10.1111/1467-9868.00196): its codes are the scores of the principal components, each with an uncertainty of
the residual noise over the component's deviation. Training begins there instead of at random weights: the
path into the code gives the scores, the path out of it is the least-squares map from drawn codes to the
pixels' logits, and the convolutions begin at 0 and learn what a linear map cannot.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lungvae_core.training.augment import augment, draw
from lungvae_core.vae.config import TrainingConfig
from lungvae_core.vae.lesion import KINDS, LesionDecoder
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import LinearPathDecoder, LinearPathEncoder, ReadingEncoder

_SLICES = 12_000  # at most so many are analysed; their principal components change no more with others
_LEAST, _MOST = 0.02, 0.98  # pixels between these, whose logits are finite
_CHUNK = 512  # slices that are encoded at a time
_RIDGE = 1e-3  # of the least squares, as a share of the codes' mean square


@torch.no_grad()
def start_from_pca(
    vae: VAE,
    hu: Tensor,
    *,
    guided: int,
    training: TrainingConfig,
    layers: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
) -> None:
    """Set the weights of a VAE with a full linear path from training slices (N, 64, 64) in HU.

    The first `guided` dimensions get the weakest components, since their guides determine them, or none
    where the encoder predicts their scores. A decoder with a lesion layer needs `layers`, which returns
    background and lesion of rows of `hu`. The slices are mirrored and turned as `training` does it, as far
    as this moves whole pixels.
    """
    decoder = vae.decoder
    assert isinstance(decoder, LinearPathDecoder | LesionDecoder)
    random = torch.Generator().manual_seed(training.seed)
    chosen = torch.randperm(len(hu), generator=random)[:_SLICES]
    changes = TrainingConfig(flips=training.flips, quarter_turns=training.quarter_turns)
    draws = draw(len(chosen), changes, random)

    def pixels_of(slices: Tensor) -> Tensor:
        return vae.images(augment(slices.cpu(), changes, draws).numpy()).flatten(1)  # (N, 4096)

    rows = chosen.to(hu.device)
    pixels = pixels_of(hu[rows])
    _start_encoder(vae, pixels, guided, training.seed)
    *_, last = (layer for layer in decoder.network.modules() if isinstance(layer, nn.Conv2d))
    _set(last, torch.zeros_like(last.weight), torch.zeros(last.out_channels))
    images = pixels.view(-1, 1, *hu.shape[1:])
    vae.eval()  # batch norms' statistics are not for this
    raw = torch.cat([vae.encoder(part) for part in images.split(_CHUNK)])
    vae.train()
    z = vae.latent.to_decoder(vae.latent.sample(vae.latent.posterior(raw)))  # (N, K)
    targets = _logits(pixels)
    if isinstance(decoder, LesionDecoder):
        assert layers is not None
        _, z = vae.latent.parted(z, len(KINDS))
        targets = torch.cat([_logits(pixels_of(layer)) for layer in layers(rows)], dim=1)
    _set(decoder.path, *_least_squares(z, targets))


def _start_encoder(vae: VAE, pixels: Tensor, guided: int, seed: int) -> None:
    """Set the encoder's path to the scores of the principal components of pixels (N, P), its network to 0."""
    encoder, k = vae.encoder, vae.config.dimensions
    if scored := isinstance(encoder, ReadingEncoder):
        encoder = encoder.network
    assert isinstance(encoder, LinearPathEncoder)
    mean, components, deviations, noise = _principal(pixels, k, seed)
    order = torch.arange(k).roll(guided)
    components, deviations = components[order], deviations[order]
    gain, bias = vae.latent.start(deviations / noise)
    if scored:  # the guided dimensions are scores, which begin in the middle
        gain[:guided] = bias[:guided] = 0
    matrix = gain[:, None] * components / deviations[:, None]  # (K, 4096)
    _set(encoder.path, matrix, bias[:k] - matrix @ mean)
    bias[:k] = 0  # it is in the path
    head = encoder.network.head
    assert isinstance(head, nn.Linear)
    _set(head, torch.zeros_like(head.weight), bias)


def _logits(pixels: Tensor) -> Tensor:
    return torch.logit(pixels.clamp(_LEAST, _MOST))


def _principal(x: Tensor, k: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean (P,), components (K, P), their deviations (K,), noise a pixel) of x (N, P).

    Where there are fewer than two slices a component, the last components are 0: they would draw these
    slices' noise, and nothing would be left to say how large the noise is.
    """
    mean = x.mean(0)
    centred = x - mean
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, singular, components = torch.svd_lowrank(
            centred, q=max(1, min(k, len(x) // 2, x.shape[1])), niter=4
        )
    missing = k - len(singular)
    singular, components = (nn.functional.pad(part, (0, missing)) for part in (singular, components))
    deviations = (singular / len(x) ** 0.5).clamp(min=1e-6)
    left = centred.square().sum() / len(x) - deviations.square().sum()
    noise = (left / max(x.shape[1] - k, 1)).clamp(min=1e-8).sqrt()
    return mean, components.T, deviations, noise


def _least_squares(z: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(weights (P, K), bias (P,)) of the ridge regression of targets (N, P) on codes (N, K)."""
    centre, level = z.mean(0), targets.mean(0)
    codes = z - centre
    square = codes.T @ codes
    square += _RIDGE * square.diagonal().mean() * torch.eye(len(square))
    weights = torch.linalg.solve(square, codes.T @ (targets - level)).T  # (P, K)
    return weights, level - weights @ centre


def _set(layer: nn.Module, weight: Tensor, bias: Tensor) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    assert layer.bias is not None
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
