"""A discriminator of patches, trained beside a VAE, that makes its reconstructions look like slices.

A reconstruction that is right on average is blurred, since a code does not say where each grain of noise
lies. With `adversarial` above 0, a small network learns to tell patches of slices from patches of
reconstructions (as in arXiv 1611.07004, with the hinge loss of arXiv 1705.02894 and the spectral
normalisation of arXiv 1802.05957), and the VAE learns to deceive it. The fine texture that it then draws is
plausible, but invented: `evaluation.sharpness` measures how much of it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lungvae_core.vae.sync import total

INVENTED = (
    "This model was trained to draw texture that looks real: the finest detail of its images is invented, "
    "not what the slice shows."
)
_WIDTH = 32  # channels of the first stage


class PatchDiscriminator(nn.Sequential):
    """Images (N, 1, 64, 64) in 0..1 to logits (N, 1, 16, 16) of real, each for a patch of 26 pixels."""

    def __init__(self, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            super().__init__(
                spectral_norm(nn.Conv2d(1, _WIDTH, 4, stride=2, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(_WIDTH, 2 * _WIDTH, 4, stride=2, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(2 * _WIDTH, 2 * _WIDTH, 3, padding=1)),
                nn.LeakyReLU(0.2),
                spectral_norm(nn.Conv2d(2 * _WIDTH, 1, 3, padding=1)),
            )


def discriminator_loss(discriminator: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The hinge loss of telling slices x from reconstructions y, both (N, 1, 64, 64): 0 at best, 2 by chance.

    Nothing of its gradient reaches y.
    """
    real, drawn = discriminator(torch.cat((x, y.detach().float()))).chunk(2)
    return (1 - real).relu().mean() + (1 + drawn).relu().mean()


def adversarial_loss(
    discriminator: nn.Module, drawn: Tensor, loss: Tensor, *, of_batch: float = 1.0
) -> Tensor:
    """How clearly reconstructions are recognised as such, scaled to weigh as much as `loss`.

    They are the first channel of `drawn` (N, C, 64, 64), and the share `of_batch` of the global batch, of
    which both are means. The gradient there has the norm of that of `loss`, as in arXiv 2012.09841. No
    gradient reaches the discriminator.
    """
    with _fixed(discriminator):
        score = -discriminator(drawn[:, :1].float()).mean()
    gradients = [torch.autograd.grad(each, drawn, retain_graph=True)[0] for each in (score, loss)]
    ours, theirs = total(torch.stack([(of_batch * each.float()).square().sum() for each in gradients]))
    return (theirs / ours.clamp(min=1e-24)).sqrt() * score


@contextmanager
def _fixed(network: nn.Module) -> Iterator[None]:
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
