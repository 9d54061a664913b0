"""The space in which a model's lesions are compared: for maps, clusters and neighbours.

Lesions of a guided model are compared by its guided dimensions: they describe the lesion, while the free
ones draw the rest of the slice. Without guides, lesions are compared by what their codes draw about the
middle of the slice, where the lesion lies. Codes as they are would not do: hundreds of dimensions vary alike,
whether they draw the lesion or noise at the border, and distances follow the many.

Source: the metric that a decoder pulls back to the latent space (Arvanitidis et al., arXiv 1710.11379), here
at the mean code, with weights on the pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap

from lungvae_core.data.outlines import SIZE
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import inputs_of
from lungvae_core.vae.config import Config
from lungvae_core.vae.model import VAE

# Pixels: the standard deviation of a pixel's weight about the middle of the slice. It is that of the mean
# mask of the 10,318 slices of LIDC-IDRI that the shipped models were trained and judged on: 6.2 and 5.9.
ABOUT = 6.0
MOST_DIRECTIONS = 512  # principal directions of the codes along which the decoder is differentiated
_KEPT = 0.999  # of the variance of what is drawn
_AT_ONCE = 64  # derivatives


class LesionSpace:
    """Codes (N, K) to points (N, D) whose Euclidean distances compare lesions."""

    def __init__(self, config: Config, axes: tuple[np.ndarray, np.ndarray] | None = None) -> None:
        self._inputs = inputs_of(config)
        self.family = config.model.family
        self._axes = axes  # the origin (K,) and the axes (K, D) that codes are projected on

    @classmethod
    def of(cls, run: Run, codes: np.ndarray, vae: VAE | None = None) -> LesionSpace:
        """That of a run, whose codes are (N, K); `vae` is its model, if it was read already.

        Raises UserError where the model is needed, and missing or damaged.
        """
        if run.config.objective.guided or not len(codes):
            return cls(run.config)
        return cls(run.config, drawn_axes(vae or run.load_model(), codes))

    def points(self, codes: np.ndarray) -> np.ndarray:
        """(N, D) float32 of codes (N, K)."""
        codes = np.asarray(codes, np.float32)
        if self._inputs.guided:
            return self._inputs.of(torch.tensor(codes)).numpy()
        if self._axes is None:
            return self.family.features(codes)
        origin, axes = self._axes
        return ((codes - origin) @ axes).astype(np.float32)


def metric(config: Config) -> str:
    """What a model compares lesions by, as text."""
    if config.objective.guided:
        return f"the guided dimensions, {', '.join(config.objective.guided)} (Euclidean distances)"
    return "what their codes draw about the middle of the slice (Euclidean distances)"


def drawn_axes(vae: VAE, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(origin (K,), axes (K, D)): distances of codes (N, K) on the axes are distances of what they draw.

    That is to first order about the mean code, with a pixel's weight falling off from the slice's middle.
    None for a decoder that draws the same whatever the code.
    """
    origin = codes.mean(0, dtype=np.float64).astype(np.float32)
    spread = codes - origin
    count = min(MOST_DIRECTIONS, codes.shape[1])
    covariance = spread.T.astype(np.float64) @ spread / len(codes)
    variances, directions = (part[..., ::-1][..., :count] for part in np.linalg.eigh(covariance))
    deviations = np.sqrt(np.clip(variances, 0, None))  # (count,)
    drawn = _derivatives(vae, origin, (directions * deviations).T.astype(np.float32))  # (count, pixels)
    # Of the codes in units of their deviation, so that what hardly varies does not count.
    parts, sizes, _ = np.linalg.svd(drawn, full_matrices=False)
    shares = np.cumsum(sizes**2)
    if not np.isfinite(sizes).all() or not shares[-1] > 0:
        return None
    kept = int(np.searchsorted(shares, _KEPT * shares[-1])) + 1
    varies = deviations > 1e-6 * deviations.max()
    scales = np.divide(1, deviations, out=np.zeros_like(deviations), where=varies)
    return origin, (directions * scales) @ (parts * sizes)[:, :kept]


def _derivatives(vae: VAE, code: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(M, pixels) float64: how the weighted image changes from `code` (K,) along each direction (M, K)."""
    device = next(vae.parameters()).device
    at = torch.tensor(code, device=device)
    across = torch.arange(SIZE, device=device) - (SIZE - 1) / 2
    weights = torch.exp(-(across**2 + across[:, None] ** 2) / (4 * ABOUT**2))  # the weight's square root

    def image(z: Tensor) -> Tensor:
        return (vae.reconstruct(z[None])[0, 0] * weights).flatten()

    def along(direction: Tensor) -> Tensor:
        return jvp(image, (at,), (direction,))[1]

    with torch.no_grad():
        changes = vmap(along, chunk_size=_AT_ONCE)(torch.tensor(directions, device=device))
    return changes.cpu().numpy().astype(np.float64)
