"""Latent families behind one interface, registered in FAMILIES: posterior, prior, KL, code and path.

The KL is in nats, summed over the latent dimensions, one value per image, so beta means the same for all.

Sources: Kingma & Welling, arXiv 1312.6114 (Gaussian); Joo et al., arXiv 1901.02739 and Figurnov et al., arXiv
1805.08498 (Dirichlet, pathwise gradients); MacKay 1998, doi 10.1023/A:1007558615313, and Srivastava & Sutton,
arXiv 1703.01488 (its Laplace approximation in the softmax basis).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, logit
from torch import Tensor
from torch.distributions import Beta, Dirichlet, Normal, kl_divergence
from torch.distributions.distribution import Distribution

from lungvae_core.vae.config import ModelConfig
from lungvae_core.vae.sync import Share, gathered, processes

LARGEST = 1000.0  # no latent value of any use is larger, and float32 stays finite
_TINY = 1e-6  # of a component's mean: less is none
_SHARES = (1e-6, 1 - 1e-6)  # between which a share has a log-ratio
_MOST_RATIO = 8.0  # of signal to noise, with which a Dirichlet's component starts


class Latent(ABC):
    """A family of latent distributions over K dimensions.

    `raw` is the output of the encoder's head: (N, heads * K), float32, any real values.
    """

    heads: int  # numbers the encoder gives for each dimension
    label: str  # the family's name on pages
    model_label: str  # a model of this family, as "GVAE"
    metric: str = "the codes as they are (Euclidean distances)"  # what `features` makes of codes
    simplex: bool = False  # codes are shares that add up to one
    independent: bool = True  # the KLs of the dimensions add up to that of a slice
    bounds: tuple[float, float] = (-LARGEST, LARGEST)  # what one dimension of a code can be
    settings: frozenset[str] = frozenset()  # names of settings that only this family reads
    released_weight: float = 1.0  # of the KL in the objective of the paper's code

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions

    @classmethod
    @abstractmethod
    def of(cls, config: ModelConfig) -> Latent:
        """The family as a model's configuration sets it."""

    @property
    @abstractmethod
    def prior_label(self) -> str:
        """The prior with its parameters, as "standard normal"."""

    @abstractmethod
    def posterior(self, raw: Tensor) -> Distribution:
        """q(z|x) for raw (N, heads * K)."""

    @abstractmethod
    def prior(self, device: torch.device | None = None) -> Distribution:
        """p(z), over K dimensions."""

    def kl(self, posterior: Distribution) -> Tensor:
        """(N,) KL(q || p) in nats, summed over the dimensions; override it if these are not independent."""
        return self.kl_per_unit(posterior).sum(1)

    @abstractmethod
    def reversed_kl(self, posterior: Distribution) -> Tensor:
        """(N,) KL(p || q) in nats: what the paper's released DirVAE minimises instead of KL(q || p)."""

    @abstractmethod
    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        """(N, K) KL of each dimension's marginal in nats; a dimension near 0 for all images is unused."""

    @abstractmethod
    def sample(self, posterior: Distribution, share: Share | None = None) -> Tensor:
        """(N, K) a draw from each posterior, with a gradient; `share` says which rows of a batch these are.

        It draws from PyTorch's default random state of the posterior's device.
        """

    def code(self, posterior: Distribution) -> Tensor:
        """(N, K) the posterior mean, the input of maps, classifiers and traversals."""
        return posterior.mean

    def diagnostics(self, posterior: Distribution) -> dict[str, Tensor]:
        """(N,) each: what a training reports of its posteriors beside the KL, by name."""
        return {}

    @staticmethod
    def features(codes: np.ndarray) -> np.ndarray:
        """(N, K) float32: codes (N, K) whose Euclidean distances mean something."""
        return np.asarray(codes, np.float32)

    def to_decoder(self, z: Tensor) -> Tensor:
        """(N, K) z as the decoder takes it."""
        return z

    def coordinates(self, code: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Codes (N, K) as real numbers: (N, first) of the first dimensions, (N, K - first) of the others.

        A path along one of the first dimensions changes its number alone, and none of the others'.
        """
        return code[:, :first], code[:, first:]

    def coordinate_centre(self, first: int) -> float:
        """The coordinates of the `first` dimensions at the prior's mean."""
        return 0.0

    def parted(self, z: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """z (N, K), as the decoder takes it, split into two independent parts.

        (N, first): the coordinates of the first dimensions, 0 at the prior's mean. (N, K - first): the
        others, as a decoder takes them.
        """
        return z[:, :first], z[:, first:]

    def with_step(self, code: Tensor, dimension: Tensor, size: Tensor) -> Tensor:
        """Codes (N, K) with the coordinate of one of the first dimensions, (N,), moved by `size` (N,)."""
        return code + F.one_hot(dimension, self.dimensions) * size[:, None]

    def with_scores(self, raw: Tensor, scores: Tensor) -> Tensor:
        """Raw latents whose posterior means have given coordinates at the first dimensions.

        `scores` (N, G) are those coordinates less their centre, the first G dimensions parted from the rest.
        """
        return torch.cat((scores, raw[:, scores.shape[1] :]), 1)

    @abstractmethod
    def start(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        """(gain (K,), bias (heads * K,)) that turn numbers of mean 0 and deviation 1 into raw latents.

        raw = bias + gain * number for the first K, and bias for the rest, gives posteriors whose draws have
        the signal-to-noise ratios `ratio` (K,), as far as the family allows.
        """

    @abstractmethod
    def centre(self) -> np.ndarray:
        """(K,) float32: the prior's mean."""

    @abstractmethod
    def draw(self, seed: int) -> np.ndarray:
        """(K,) float32: a code drawn from the prior; the same seed gives the same code."""

    @abstractmethod
    def path(self, code: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
        """(T, K) float32: `code` (K,) with `dimension` taking each of `values` (T,), the rest kept valid."""

    def by_ratio(self, dimension: int) -> bool:
        """Whether the decoder reads the log-ratio of a dimension, whose slider then moves evenly in that."""
        return False

    def places(self, dimension: int, values: np.ndarray) -> np.ndarray:
        """Where values (N,) of a dimension lie on its slider, whose steps are even for the decoder."""
        return values

    def values_at(self, dimension: int, places: np.ndarray) -> np.ndarray:
        """The values (N,) at places on a dimension's slider."""
        return places

    def spaced(self, dimension: int, low: float, high: float, steps: int) -> np.ndarray:
        """(steps,) float32: `dimension` from `low` to `high`, in steps that are even for the decoder."""
        first, last = self.places(dimension, np.array([low, high], np.float64))
        return self.values_at(dimension, np.linspace(first, last, steps)).astype(np.float32)

    def span(self, dimension: int, values: np.ndarray) -> tuple[float, float]:
        """The ends of a dimension's slider, from its values (N,) in the data.

        The 0.5th to 99.5th percentile, widened by a tenth, within the family's bounds.
        """
        low, high = self.places(dimension, np.percentile(values, [0.5, 99.5]))
        margin = max(0.1 * (high - low), 1e-3)
        low, high = self.values_at(dimension, np.array([low - margin, high + margin]))
        least, most = self.bounds
        return max(float(low), least), min(float(high), most)

    def edited(self, start: np.ndarray, edits: Mapping[int, float]) -> np.ndarray:
        """(K,) float32: `start` (K,) with some dimensions set to other values, whatever their order."""
        code = self.valid(start)
        code[list(edits)] = list(edits.values())
        return self.valid(code)

    def interpolate(self, start: np.ndarray, end: np.ndarray, steps: int) -> np.ndarray:
        """(steps, K) float32: the straight path from `start` to `end`; valid codes throughout."""
        t = np.linspace(0, 1, steps, dtype=np.float32)[:, None]
        return (1 - t) * self.valid(start) + t * self.valid(end)

    def valid(self, code: np.ndarray) -> np.ndarray:
        """(..., K) float32: the nearest valid code; use it on any code from outside."""
        return np.nan_to_num(np.asarray(code, np.float32), nan=0.0, posinf=0.0, neginf=0.0)


class GaussianLatent(Latent):
    """Diagonal Gaussian posterior, standard normal prior; raw is (mean, scale parameter)."""

    heads = 2
    label, model_label = "Gaussian", "GVAE"
    prior_label = "standard normal"

    def __init__(self, dimensions: int, *, log_variance: bool = False) -> None:
        super().__init__(dimensions)
        self.log_variance = log_variance  # the released parametrisation; else scale = softplus(raw)

    @classmethod
    def of(cls, config: ModelConfig) -> GaussianLatent:
        return cls(config.dimensions, log_variance=config.network == "released")

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

    def sample(self, posterior: Distribution, share: Share | None = None) -> Tensor:
        return posterior.mean + posterior.stddev * standard_normal(posterior.mean, share)

    def reversed_kl(self, posterior: Distribution) -> Tensor:
        return kl_divergence(self.prior(posterior.mean.device), posterior).sum(1)

    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        return kl_divergence(posterior, self.prior(posterior.mean.device))

    def start(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        deviation = (1 / ratio).clamp(1e-3, 1)
        scale = 2 * deviation.log() if self.log_variance else torch.expm1(deviation).log()
        return torch.ones_like(ratio), torch.cat((torch.zeros_like(ratio), scale))

    def centre(self) -> np.ndarray:
        return np.zeros(self.dimensions, np.float32)

    def draw(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)

    def path(self, code: np.ndarray, dimension: int, values: np.ndarray) -> np.ndarray:
        codes = np.repeat(self.valid(code)[None], len(values), axis=0)
        codes[:, dimension] = values
        return codes


class DirichletLatent(Latent):
    """Dirichlet posterior, symmetric Dirichlet(prior_alpha) prior; codes lie on the simplex.

    Concentrations are scale * softplus(raw) + floor, in float32: below 1e-3 PyTorch's sampler returns the
    simplex's centre (pytorch issue 76030) and the KL's gradient explodes.
    """

    heads = 1
    label, model_label = "Dirichlet", "DirVAE"
    metric = "square roots of the codes, which are shares (Hellinger distances)"
    simplex, independent = True, False
    bounds = (0.0, 1.0)
    settings = frozenset({"prior_alpha", "alpha_floor", "alpha_scale", "reversed_kl", "sampler"})
    released_weight = 10.0

    def __init__(
        self, dimensions: int, *, prior_alpha: float, floor: float, scale: float = 1.0, ratios: int = 0
    ) -> None:
        """`ratios`: of so many components, the first ones, the decoder reads the log-ratio."""
        super().__init__(dimensions)
        self.ratios = ratios
        self.prior_alpha = prior_alpha
        self.floor = floor
        self.scale = scale

    @classmethod
    def of(cls, config: ModelConfig) -> DirichletLatent:
        family = LaplaceLatent if config.sampler == "laplace" else DirichletLatent
        return family(
            config.dimensions,
            prior_alpha=config.prior_alpha,
            floor=config.alpha_floor,
            scale=config.alpha_scale,
            ratios=config.guided_dimensions,
        )

    @property
    def prior_label(self) -> str:
        return f"Dirichlet({self.prior_alpha:g})"

    def posterior(self, raw: Tensor) -> Dirichlet:
        if raw.device.type == "mps":
            raw = raw.cpu()  # Apple's GPUs lack the Dirichlet's sampler and the gradient of its KL
        return Dirichlet(self._concentration(raw.float()), validate_args=False)

    def _concentration(self, raw: Tensor) -> Tensor:
        return self.scale * F.softplus(raw) + self.floor

    def sample(self, posterior: Distribution, share: Share | None = None) -> Tensor:
        if share is None or processes() == 1:
            return posterior.rsample()
        return _SharedDirichlet.apply(_concentration(posterior), share)

    def prior(self, device: torch.device | None = None) -> Dirichlet:
        return Dirichlet(torch.full((self.dimensions,), self.prior_alpha, device=device))

    def kl(self, posterior: Distribution) -> Tensor:
        return kl_divergence(posterior, self.prior(posterior.mean.device))

    def reversed_kl(self, posterior: Distribution) -> Tensor:
        return kl_divergence(self.prior(posterior.mean.device).expand(posterior.batch_shape), posterior)

    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        # A Dirichlet's marginals are Beta; their KLs do not add up to the joint's, but each is 0 when unused.
        alpha = _concentration(posterior)
        rest = self.prior_alpha * (self.dimensions - 1)
        marginal = Beta(alpha, alpha.sum(1, keepdim=True) - alpha, validate_args=False)
        target = torch.full_like(alpha, self.prior_alpha)
        return kl_divergence(marginal, Beta(target, torch.full_like(alpha, rest), validate_args=False))

    def diagnostics(self, posterior: Distribution) -> dict[str, Tensor]:
        return {"alpha0": _concentration(posterior).sum(1)}

    @staticmethod
    def features(codes: np.ndarray) -> np.ndarray:
        # Distances of square roots are Hellinger distances, the usual metric of distributions.
        return np.sqrt(np.clip(np.asarray(codes, np.float32), 0, None))

    def to_decoder(self, z: Tensor) -> Tensor:
        # Coordinates average 1/K; times K the decoder sees values of order one whatever K is.
        return z * self.dimensions

    def coordinates(self, code: Tensor, first: int) -> tuple[Tensor, Tensor]:
        # Log-ratios to what the others hold together, which a path along one of the first leaves to the rest.
        ratios = code.log() - code[:, first:].sum(1, keepdim=True).log()
        return ratios[:, :first], ratios[:, first:]

    def with_scores(self, raw: Tensor, scores: Tensor) -> Tensor:
        rest = raw[:, scores.shape[1] :]
        concentration = self._concentration(rest).mean(1, keepdim=True) * scores.exp()
        above = ((concentration - self.floor) / self.scale).clamp(min=_TINY)
        # The softplus's inverse, which is its argument where that is large.
        inverse = torch.where(above > 20, above, torch.expm1(above.clamp(max=20)).log())
        return torch.cat((inverse, rest), 1)

    def coordinate_centre(self, first: int) -> float:
        return -math.log(self.dimensions - first)

    def parted(self, z: Tensor, first: int) -> tuple[Tensor, Tensor]:
        rest = z[:, first:]
        mean = rest.mean(1, keepdim=True).clamp(min=_TINY)
        return z[:, :first].clamp(min=_TINY).log() - mean.log(), rest / mean

    def with_step(self, code: Tensor, dimension: Tensor, size: Tensor) -> Tensor:
        moved = code * (F.one_hot(dimension, self.dimensions) * size[:, None]).exp()
        return moved / moved.sum(1, keepdim=True)

    def centre(self) -> np.ndarray:
        return np.full(self.dimensions, 1 / self.dimensions, np.float32)

    def start(self, ratio: Tensor) -> tuple[Tensor, Tensor]:
        # A concentration a is drawn with the deviation sqrt(a): around 2 * gain, two deviations above 0,
        # numbers of deviation `gain` have the ratio sqrt(gain / 2).
        least = self.scale**0.5
        gain = 2 * ratio.clamp(least, max(_MOST_RATIO, 2 * least)).square() / self.scale
        return gain, 2 * gain

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

    def by_ratio(self, dimension: int) -> bool:
        return dimension < self.ratios

    def places(self, dimension: int, values: np.ndarray) -> np.ndarray:
        # Along a path the ratio to all others is a constant times that to the free ones, which is read.
        return logit(np.clip(values, *_SHARES)) if self.by_ratio(dimension) else values

    def values_at(self, dimension: int, places: np.ndarray) -> np.ndarray:
        return expit(places) if self.by_ratio(dimension) else places

    def span(self, dimension: int, values: np.ndarray) -> tuple[float, float]:
        low, high = super().span(dimension, values)
        return (low if self.by_ratio(dimension) else 0.0), high

    def edited(self, start: np.ndarray, edits: Mapping[int, float]) -> np.ndarray:
        # The other dimensions share what is left in the start's proportions, so moving one after another
        # along `path` is the same as setting all at once to where they ended.
        code = self.valid(start).astype(np.float64)
        if not edits:
            return code.astype(np.float32)
        at, values = list(edits), np.clip(np.array(list(edits.values()), np.float64), 0, 1)
        values /= max(values.sum(), 1)
        others = np.ones(len(code), bool)
        others[at] = False
        share = np.where(others, code, 0)
        if share.sum() == 0:  # the start's whole mass was on the edited ones: the others are equal
            share = others.astype(np.float64)
        if others.any():
            code = share * (1 - values.sum()) / share.sum()
        code[at] = values
        return self.valid(code)

    def valid(self, code: np.ndarray) -> np.ndarray:
        code = np.clip(super().valid(code), 0, None).astype(np.float64)
        total = code.sum(-1, keepdims=True)
        simplex = np.divide(code, total, out=np.full_like(code, 1 / self.dimensions), where=total > 0)
        return simplex.astype(np.float32)


class LaplaceLatent(DirichletLatent):
    """The Dirichlet's alternative: softmax of a diagonal Gaussian, the Laplace approximation of Dirichlets.

    Posterior and prior are the Gaussians that approximate Dirichlet(alpha(x)) and Dirichlet(prior_alpha)
    before the softmax, and the KL is theirs; so with the Gaussian as the latent variable the bound is exact.
    The approximation is good for large alpha and poor well below 1; its draws vary about 1/K less than the
    Dirichlet's, since a diagonal Gaussian leaves out the covariances. Codes are alpha / alpha0 as for the
    Dirichlet, so that maps, classifiers and traversals work alike.
    """

    def posterior(self, raw: Tensor) -> Dirichlet:
        return _SoftmaxGaussian(self._concentration(raw.float()))

    def sample(self, posterior: Distribution, share: Share | None = None) -> Tensor:
        before = _laplace(_concentration(posterior))
        return torch.softmax(before.mean + before.stddev * standard_normal(before.mean, share), dim=1)

    kl = Latent.kl

    def reversed_kl(self, posterior: Distribution) -> Tensor:
        alpha = _concentration(posterior)
        return kl_divergence(self._prior(alpha), _laplace(alpha)).sum(1)

    def kl_per_unit(self, posterior: Distribution) -> Tensor:
        alpha = _concentration(posterior)
        return kl_divergence(_laplace(alpha), self._prior(alpha))

    def _prior(self, like: Tensor) -> Normal:
        return _laplace(torch.full_like(like, self.prior_alpha))


class _SoftmaxGaussian(Dirichlet):
    """A Dirichlet that is drawn from by its Laplace approximation."""

    def __init__(self, concentration: Tensor) -> None:
        super().__init__(concentration, validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        before = _laplace(self.concentration)
        return torch.softmax(before.rsample(torch.Size(sample_shape)), dim=-1)


def _concentration(posterior: Distribution) -> Tensor:
    assert isinstance(posterior, Dirichlet)
    return posterior.concentration


def _laplace(alpha: Tensor) -> Normal:
    """The Gaussian before the softmax that approximates Dirichlet(alpha), alpha (N, K); MacKay 1998."""
    k = alpha.shape[-1]
    logs, inverse = alpha.log(), 1 / alpha
    variance = inverse * (1 - 2 / k) + inverse.mean(-1, keepdim=True) / k
    return Normal(logs - logs.mean(-1, keepdim=True), variance.sqrt(), validate_args=False)


def standard_normal(like: Tensor, share: Share | None) -> Tensor:
    """(N, K) standard normal numbers; with a share, its rows of the global batch's draw."""
    if share is None:
        return torch.randn_like(like)
    whole = torch.randn(share.total, like.shape[1], dtype=like.dtype, device=like.device)
    return whole[share.start : share.stop]


class _SharedDirichlet(torch.autograd.Function):
    """Draws for the whole global batch on every process, so that a slice's draw is the same on any number.

    The sampler takes as many random numbers as its concentrations make it, so a part cannot be drawn alone.
    """

    @staticmethod
    def forward(ctx: Any, alpha: Tensor, share: Share) -> Tensor:
        z = torch._sample_dirichlet(gathered(alpha, share))[share.start : share.stop]
        ctx.save_for_backward(z, alpha)
        return z

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        z, alpha = ctx.saved_tensors
        (gradient,) = gradients
        # As torch.distributions.dirichlet: the pathwise derivative of each coordinate, and the simplex's own.
        whole = alpha.sum(-1, keepdim=True).expand_as(alpha)
        slope = torch._dirichlet_grad(z, alpha, whole)
        return slope * (gradient - (z * gradient).sum(-1, keepdim=True)), None


# By the name of the prior in a model's configuration.
FAMILIES: dict[str, type[Latent]] = {"gaussian": GaussianLatent, "dirichlet": DirichletLatent}


def make_latent(config: ModelConfig) -> Latent:
    """The latent family that a model's configuration names."""
    return FAMILIES[config.prior].of(config)
