"""Gaussian and Dirichlet latents behind one interface: posterior, prior, KL, code and path.

Both weigh alike: KL is in nats, summed over the latent dimensions, one value an image.

Sources: Kingma & Welling, arXiv 1312.6114 (Gaussian); Joo et al., arXiv 1901.02739 and Figurnov et al.,
arXiv 1805.08498 (Dirichlet, pathwise gradients).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Beta, Dirichlet, Normal, kl_divergence
from torch.distributions.distribution import Distribution

from lungvae_core.vae.config import ModelConfig


class Latent(ABC):
    """A family of latent distributions over K dimensions.

    `raw` is what the encoder's head gives: (N, heads * K), float32, any real values.
    """

    heads: int  # numbers the encoder gives for each dimension

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    @abstractmethod
    def posterior(self, raw: Tensor) -> Distribution:
        """q(z|x) for raw (N, heads * K)."""

    @abstractmethod
    def prior(self, device: torch.device | None = None) -> Distribution:
        """p(z), over K dimensions."""

    @abstractmethod
    def kl(self, posterior: Distribution) -> Tensor:
        """(N,) KL(q || p) in nats, summed over the dimensions."""

    @abstractmethod
    def reversed_kl(self, posterior: Distribution) -> Tensor:
        """(N,) KL(p || q) in nats: what the paper's released DirVAE minimises instead of KL(q || p)."""

    @abstractmethod
    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        """(N, K) KL of each dimension's marginal in nats; a dimension near 0 for all images is unused."""

    def code(self, posterior: Distribution) -> Tensor:
        """(N, K) the posterior mean: what maps, classifiers and traversals work on."""
        return posterior.mean

    def to_decoder(self, z: Tensor) -> Tensor:
        """(N, K) z as the decoder takes it."""
        return z

    @abstractmethod
    def centre(self) -> np.ndarray:
        """(K,) float32: the prior's mean."""

    @abstractmethod
    def draw(self, seed: int) -> np.ndarray:
        """(K,) float32: a code drawn from the prior; the same seed draws the same one."""

    @abstractmethod
    def path(self, code: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
        """(T, K) float32: `code` (K,) with `dimension` taking each of `values` (T,), the rest kept valid."""

    @abstractmethod
    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        """(steps, K) float32: the straight way from `start` to `end`; valid codes throughout."""

    def valid(self, code: np.ndarray) -> np.ndarray:
        """(..., K) float32: the nearest code that this family can have; used on anything from outside."""
        return np.nan_to_num(np.asarray(code, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


class GaussianLatent(Latent):
    """Diagonal Gaussian posterior, standard normal prior; raw is (mean, scale parameter)."""

    heads = 2

    def __init__(self, dimensions: int, *, log_variance: bool = False) -> None:
        super().__init__(dimensions)
        self.log_variance = log_variance  # the released parametrisation; else scale = softplus(raw)

    def posterior(self, raw: Tensor) -> Normal:
        mean, scale = raw.float().chunk(2, dim=1)  # (N, K) each
        if self.log_variance:
            # Beyond 20 the variance would overflow float32; growing only as a logarithm keeps a gradient.
            scale = torch.where(scale > 20, 20 + torch.log1p((scale - 20).clamp(min=0)), scale)
            deviation = torch.exp(0.5 * scale)
        else:
            deviation = F.softplus(scale)
        return Normal(mean, deviation + 1e-4, validate_args=False)

    def prior(self, device: torch.device | None = None) -> Normal:
        zeros = torch.zeros(self.dimensions, device=device)
        return Normal(zeros, torch.ones_like(zeros))

    def kl(self, posterior: Distribution) -> Tensor:
        return self.kl_per_unit(posterior).sum(1)

    def reversed_kl(self, posterior: Distribution) -> Tensor:
        return kl_divergence(self.prior(posterior.mean.device), posterior).sum(1)

    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        return kl_divergence(posterior, self.prior(posterior.mean.device))

    def centre(self) -> np.ndarray:
        return np.zeros(self.dimensions, np.float32)

    def draw(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)

    def path(self, code: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
        codes = np.repeat(self.valid(code)[None], len(values), axis=0)
        codes[:, dimension] = values
        return codes

    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return (1 - t) * self.valid(start) + t * self.valid(end)


class DirichletLatent(Latent):
    """Dirichlet posterior, symmetric Dirichlet(prior_alpha) prior; codes lie on the simplex.

    Concentrations are softplus(raw) + floor, in float32: below 1e-3 PyTorch's sampler returns the
    simplex's centre (pytorch issue 76030) and the KL's gradient explodes.
    """

    heads = 1

    def __init__(self, dimensions: int, *, prior_alpha: float, floor: float) -> None:
        super().__init__(dimensions)
        self.prior_alpha = prior_alpha
        self.floor = floor

    def posterior(self, raw: Tensor) -> Dirichlet:
        return Dirichlet(F.softplus(raw.float()) + self.floor, validate_args=False)

    def prior(self, device: torch.device | None = None) -> Dirichlet:
        return Dirichlet(torch.full((self.dimensions,), self.prior_alpha, device=device))

    def kl(self, posterior: Distribution) -> Tensor:
        return kl_divergence(posterior, self.prior(posterior.mean.device))

    def reversed_kl(self, posterior: Distribution) -> Tensor:
        return kl_divergence(self.prior(posterior.mean.device).expand(posterior.batch_shape), posterior)

    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        # A Dirichlet's marginals are Beta; their KLs do not add up to the joint's, but each is 0 when unused.
        assert isinstance(posterior, Dirichlet)
        alpha = posterior.concentration
        rest = self.prior_alpha * (self.dimensions - 1)
        marginal = Beta(alpha, alpha.sum(1, keepdim=True) - alpha, validate_args=False)
        target = torch.full_like(alpha, self.prior_alpha)
        return kl_divergence(marginal, Beta(target, torch.full_like(alpha, rest), validate_args=False))

    def to_decoder(self, z: Tensor) -> Tensor:
        # Coordinates average 1/K; times K the decoder sees values of order one whatever K is.
        return z * self.dimensions

    def centre(self) -> np.ndarray:
        return np.full(self.dimensions, 1 / self.dimensions, np.float32)

    def draw(self, seed: int) -> np.ndarray:
        concentration = np.full(self.dimensions, self.prior_alpha)
        return self.valid(np.random.default_rng(seed).dirichlet(concentration))

    def path(self, code: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
        t = np.clip(np.asarray(values, np.float64), 0, 1)[:, None]
        rest = self.valid(code).astype(np.float64)
        rest[dimension] = 0
        total = rest.sum()
        if total > 0:
            rest /= total
        else:  # the whole mass was on this dimension: the others share what is left
            rest[:] = 1 / (self.dimensions - 1)
            rest[dimension] = 0
        codes = (1 - t) * rest
        codes[:, dimension] = t[:, 0]
        return codes.astype(np.float32)

    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return (1 - t) * self.valid(start) + t * self.valid(end)

    def valid(self, code: np.ndarray) -> np.ndarray:
        code = np.clip(super().valid(code), 0, None).astype(np.float64)
        total = code.sum(-1, keepdims=True)
        simplex = np.divide(code, total, out=np.full_like(code, 1 / self.dimensions), where=total > 0)
        return simplex.astype(np.float32)


def make_latent(config: ModelConfig) -> Latent:
    """The latent family that a model's configuration names."""
    if config.prior == "gaussian":
        return GaussianLatent(config.dimensions, log_variance=config.network == "released")
    return DirichletLatent(config.dimensions, prior_alpha=config.prior_alpha, floor=config.alpha_floor)
