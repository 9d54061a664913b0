"""The space in which a model's lesions are compared and scored: maps, clusters, neighbours and classifiers.

Lesions of a guided model are compared by its guided dimensions: they describe the lesion, while the free
ones draw the rest of the slice. Without labels, lesions are compared by what their codes draw about the
middle of the slice, where the lesion lies. Codes as they are would not do: hundreds of dimensions vary alike,
whether they draw the lesion or noise at the border, and distances and classifiers follow the many. Codes that
a joint phase or a feature loss shaped are taken whole, since labels may have put anything anywhere.

Source: the metric that a decoder pulls back to the latent space (Arvanitidis et al., arXiv 1710.11379), here
at the mean code, with weights on the pixels.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import jvp, vmap

from lungvae_core.data.outlines import SIZE
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import trained_rows
from lungvae_core.training.inputs import Inputs, inputs_of
from lungvae_core.vae.config import Config
from lungvae_core.vae.model import VAE

# Pixels: the standard deviation of a pixel's weight about the middle of the slice. It is that of the mean
# mask of the 10,318 slices of LIDC-IDRI that the shipped models were trained and judged on: 6.2 and 5.9.
ABOUT = 6.0
MOST_DIRECTIONS = 512  # principal directions of the codes along which the decoder is differentiated
KEPT = 0.95  # of the variance of what is drawn about the middle
_AT_ONCE = 64  # derivatives
_ONE_AT_A_TIME = threading.Lock()  # PyTorch counts nested forward derivatives for all threads together


class LesionSpace:
    """Codes (N, K) to points (N, D) whose Euclidean distances compare lesions."""

    def __init__(self, config: Config, axes: np.ndarray | None = None) -> None:
        self.family = config.model.family
        self.inputs: Inputs = replace(inputs_of(config), axes=axes)  # of classifiers

    @classmethod
    def of(cls, run: Run, table: pd.DataFrame, codes: np.ndarray, vae: VAE | None = None) -> LesionSpace:
        """The space of a run, from the codes (N, K) of the slices in `table` that it was trained on.

        `vae` is the run's model, if it was read already. Raises UserError where it is needed, and missing or
        damaged.
        """
        learned = trained_rows(table)
        return cls.learned(run, codes[learned] if learned.any() else codes, vae)

    @classmethod
    def learned(cls, run: Run, codes: np.ndarray, vae: VAE | None = None) -> LesionSpace:
        """The space of a run, from any codes (N, K); otherwise as `of`."""
        if run.config.labels_shape_codes or not len(codes):
            return cls(run.config)
        return cls(run.config, drawn_axes(vae or run.load_model(), codes))

    def points(self, codes: np.ndarray) -> np.ndarray:
        """(N, D) float32 of codes (N, K)."""
        codes, axes = np.asarray(codes, np.float32), self.inputs.axes
        if axes is None and not self.inputs.guided:
            return self.family.features(codes)
        return self.inputs.of(torch.tensor(codes), None if axes is None else torch.tensor(axes)).numpy()


def metric(config: Config) -> str:
    """What a model compares lesions by, as text."""
    if config.objective.guided:
        return f"the guided dimensions, {', '.join(config.objective.guided)} (Euclidean distances)"
    if config.labels_shape_codes:
        return config.model.family.metric
    return "what their codes draw about the middle of the slice (Euclidean distances)"


def drawn_axes(vae: VAE, codes: np.ndarray) -> np.ndarray | None:
    """(1 + D, K) float32: an origin and axes on which distances of codes are distances of what they draw.

    That is to first order about the mean of the codes (N, K), with a pixel's weight falling off from the
    slice's middle; the axes are those along which these codes draw most differently, first to last. None for
    a decoder that draws the same whatever the code.
    """
    origin = codes.mean(0, dtype=np.float64).astype(np.float32)
    spread = (codes - origin).astype(np.float64)
    count = min(MOST_DIRECTIONS, codes.shape[1])
    variances, directions = np.linalg.eigh(spread.T @ spread / len(codes))
    variances, directions = variances[::-1][:count], directions[:, ::-1][:, :count]
    deviations = np.sqrt(np.clip(variances, 0, None))  # (count,)
    drawn = _derivatives(vae, origin, (directions * deviations).T.astype(np.float32))  # (count, pixels)
    if not np.isfinite(drawn).all() or not drawn.any():
        return None
    parts, sizes, _ = np.linalg.svd(drawn, full_matrices=False)
    shares = np.cumsum(sizes**2)
    kept = int(np.searchsorted(shares, KEPT * shares[-1])) + 1
    varies = deviations > 1e-6 * deviations.max()
    scales = np.divide(1, deviations, out=np.zeros_like(deviations), where=varies)
    axes = ((directions * scales) @ (parts * sizes)[:, :kept]).T
    return np.concatenate((origin[None], axes)).astype(np.float32)


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

    with _ONE_AT_A_TIME, torch.no_grad():
        changes = vmap(along, chunk_size=_AT_ONCE)(torch.tensor(directions, device=device))
    return changes.cpu().numpy().astype(np.float64)
