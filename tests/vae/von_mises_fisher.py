"""A latent family that does not ship: von Mises-Fisher on the unit sphere (docs/guides/latent-family.md).

Source: Davidson et al., "Hyperspherical variational auto-encoders", arXiv 1804.00891.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions.distribution import Distribution

from lungvae_core.vae.config import ModelConfig
from lungvae_core.vae.latents import Latent, standard_normal
from lungvae_core.vae.sync import Share

_TERMS = 400  # of the series, enough up to the largest concentration
_MOST = 300.0  # concentration: draws of so narrow a posterior differ by less than a pixel's rounding
_STEPS = 1000  # of the table of cosines that draws are taken from


class VonMisesFisher(Distribution):
    """exp(natural . z) / Z on the unit sphere, natural (N, K): concentration times mean direction."""

    has_rsample = True

    def __init__(self, natural: Tensor) -> None:
        super().__init__(natural.shape[:-1], natural.shape[-1:], validate_args=False)
        # In float64, as the KL is a small difference of large numbers; off 0, where the length has no slope.
        natural = natural.double() + 1e-9
        length = natural.norm(dim=-1, keepdim=True)
        self.direction = natural / length  # (N, K)
        # Beyond the largest concentration it grows only as a logarithm, which keeps a gradient.
        over = torch.log1p((length - _MOST).clamp(min=0))
        self.concentration = torch.where(length > _MOST, _MOST + over, length)[..., 0]  # (N,)
        self.log_normaliser = self._log_series(natural.shape[-1] / 2)  # (N,) 0 for the uniform distribution

    def _log_series(self, order: float) -> Tensor:
        """(N,) log of the hypergeometric series 0F1(order; concentration^2 / 4)."""
        m = torch.arange(_TERMS, dtype=torch.float64, device=self.concentration.device)
        fixed = torch.lgamma(m + 1) + torch.lgamma(order + m) - torch.lgamma(order + 0 * m)
        return torch.logsumexp(2 * m * (self.concentration[..., None] / 2).log() - fixed, dim=-1)

    @property
    def mean_length(self) -> Tensor:
        """(N,) length of the mean: 0 for the uniform distribution, nearly 1 for a narrow one."""
        k = self.event_shape[0]
        return self.concentration / k * (self._log_series(k / 2 + 1) - self.log_normaliser).exp()

    @property
    def mean(self) -> Tensor:
        return (self.mean_length[..., None] * self.direction).float()

    @property
    def variance(self) -> Tensor:
        across = (self.mean_length / self.concentration)[..., None]
        along = 1 - self.event_shape[0] * across - self.mean_length[..., None] ** 2
        return (across + along * self.direction**2).float()

    def log_prob(self, value: Tensor) -> Tensor:
        """By the uniform distribution on the sphere, whose density counts as 1."""
        along = (value * self.direction).sum(-1) * self.concentration
        return (along - self.log_normaliser).float()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(*shape[:-1], shape[-1] + 1, device=self.direction.device)
        return self.from_noise(noise)

    def from_noise(self, noise: Tensor) -> Tensor:
        """(..., K) draws made of standard normal numbers (..., K + 1), with a gradient."""
        noise = noise.double()
        cosine = self._cosine(torch.special.ndtr(noise[..., -1]))[..., None]
        # A direction at a right angle to the mean, and how far to turn towards it.
        across = noise[..., :-1] - (noise[..., :-1] * self.direction).sum(-1, keepdim=True) * self.direction
        sine = (1 - cosine**2).clamp(min=1e-12).sqrt()
        return (cosine * self.direction + sine * F.normalize(across, dim=-1)).float()

    def _cosine(self, quantile: Tensor) -> Tensor:
        """The quantile of z . direction, from a table of its distribution over _STEPS equal bins."""
        width = 2 / _STEPS
        middles = torch.arange(_STEPS, device=quantile.device) * width + width / 2 - 1
        log_density = (self.event_shape[0] - 3) / 2 * torch.log1p(-(middles**2))
        shares = torch.softmax(log_density + self.concentration[..., None] * middles, dim=-1)
        upper = shares.cumsum(-1).expand(*quantile.shape, _STEPS).contiguous()
        at = torch.searchsorted(upper.detach(), quantile[..., None]).clamp(max=_STEPS - 1)
        share = shares.expand_as(upper).gather(-1, at)[..., 0]
        inside = (quantile - upper.gather(-1, at)[..., 0]) / share.clamp(min=1e-12)  # -1..0 of the bin
        return (-1 + (at[..., 0] + 1 + inside) * width).clamp(-1, 1)


class VonMisesFisherLatent(Latent):
    """Von Mises-Fisher posterior, uniform prior; a code is a direction, a point of the unit sphere."""

    heads = 1
    label, model_label = "von Mises-Fisher", "vMF-VAE"
    metric = "the codes as they are (chords of the sphere)"
    independent = False
    bounds = (-1.0, 1.0)
    prior_label = "uniform on the sphere"

    @classmethod
    def of(cls, config: ModelConfig) -> VonMisesFisherLatent:
        return cls(config.dimensions)

    def posterior(self, raw: Tensor) -> VonMisesFisher:
        return VonMisesFisher(raw)

    def prior(self, device: torch.device | None = None) -> VonMisesFisher:
        return VonMisesFisher(torch.zeros(self.dimensions, device=device))

    def sample(self, posterior: Distribution, share: Share | None = None) -> Tensor:
        assert isinstance(posterior, VonMisesFisher)
        like = posterior.direction.new_empty(*posterior.batch_shape, self.dimensions + 1)
        return posterior.from_noise(standard_normal(like, share))

    def kl(self, posterior: Distribution) -> Tensor:
        assert isinstance(posterior, VonMisesFisher)
        return (posterior.concentration * posterior.mean_length - posterior.log_normaliser).float()

    def reversed_kl(self, posterior: Distribution) -> Tensor:
        assert isinstance(posterior, VonMisesFisher)
        return posterior.log_normaliser.float()  # the prior's mean is 0

    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        # A marginal has no simple form: that of a normal distribution with its mean and variance.
        mean, ratio = posterior.mean, posterior.variance * self.dimensions
        return (ratio + mean.square() * self.dimensions - 1 - ratio.log()) / 2

    def code(self, posterior: Distribution) -> Tensor:
        assert isinstance(posterior, VonMisesFisher)
        return posterior.direction.float()

    def to_decoder(self, z: Tensor) -> Tensor:
        # Numbers of order one, whatever K is; of anything from outside the direction counts.
        return F.normalize(z, dim=1) * self.dimensions**0.5

    def coordinates(self, code: Tensor, first: int) -> tuple[Tensor, Tensor]:
        ratios = code / code[:, first:].norm(dim=1, keepdim=True)  # which `path` leaves alike for the others
        return ratios[:, :first], ratios[:, first:]

    def start(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        # Across a direction of concentration c draws deviate by 1 / sqrt(c): `gain` times a number of
        # deviation 1 has the ratio `gain / sqrt(c)`, and c is about gain * sqrt(K).
        gain = ratio.clamp(1, 8).square() * self.dimensions**0.5
        return gain, torch.zeros_like(ratio)

    def centre(self) -> np.ndarray:
        # The prior has no mean direction: the one in which all dimensions are alike.
        return self.valid(np.zeros(self.dimensions))

    def draw(self, seed: int) -> np.ndarray:
        return self.valid(np.random.default_rng(seed).standard_normal(self.dimensions))

    def path(self, code: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
        return np.stack([self.edited(code, {dimension: float(value)}) for value in values])

    def edited(self, start: np.ndarray, edits: Mapping[int, float]) -> np.ndarray:
        code = self.valid(start)
        if not edits:
            return code
        at = list(edits)
        values = np.clip(list(edits.values()), -1, 1)
        values /= max(np.linalg.norm(values), 1)
        # The others keep their proportions and fill up the length to 1.
        others = np.delete(np.arange(self.dimensions), at)
        if not code[others].any():
            code[others] = 1
        if len(others):
            code[others] *= np.sqrt(1 - (values**2).sum()) / np.linalg.norm(code[others])
        code[at] = values
        return self.valid(code)

    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        t = np.linspace(0, 1, steps)[:, None]
        return self.valid((1 - t) * self.valid(start) + t * self.valid(end))

    def valid(self, code: np.ndarray) -> np.ndarray:
        code = np.clip(super().valid(code), -1e9, 1e9).astype(np.float64)
        length = np.linalg.norm(code, axis=-1, keepdims=True)
        even = np.full_like(code, self.dimensions**-0.5)
        return np.divide(code, length, out=even, where=length > 0).astype(np.float32)
