"""The loss by which a decoder with a lesion layer (`vae.lesion`) learns from the readers' outlines.

    guided_layers * 4096 * (mean |share - outline| + mean of near * |background - lung|
                            + 0.1 * mean of (1 - inner) * |lesion - level|)

averaged over pixels and over the slices that have an outline. `near` is 1 inside it and just beyond, where
the slice hides the background; `inner` is 1 inside it; outside it the slice carries no information about the
lesion. There the layers should be flat: the lung's level, and the lesion's. The outline is a pixel's share of
lesion: a logistic function of its distance from the readers' outline, as steep as the slice's own edge.
"""

from __future__ import annotations

from math import pi
from typing import NamedTuple

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from lungvae_core.data.outlines import DISTANCE, RAYS, SIZE, TURN, Outlines
from lungvae_core.vae.config import ModelConfig
from lungvae_core.vae.lesion import GRID, KINDS, SCORES, slope_of
from lungvae_core.vae.networks import normalise

_FLAT = 0.1  # nothing else acts on the lesion beyond its outline, and it is most of the slice
_BAND = 1.5  # pixels beyond the outline up to which the slice is no background


class Lesions(NamedTuple):
    """The outlines of N slices; those without one have the width NaN."""

    radius: Tensor  # (N, RAYS) pixels
    width: Tensor  # (N,) pixels, of the edge
    levels: Tensor  # (N, 2) HU of lesion and lung, clipped to the window

    def rows(self, rows: Tensor) -> Lesions:
        """Those of some slices."""
        return Lesions(*(each[rows] for each in self))

    def to(self, device: torch.device) -> Lesions:
        """The same on a device."""
        return Lesions(*(each.to(device) for each in self))

    def inside(self) -> Tensor:
        """(N, 64, 64) pixels from the outline, above 0 inside."""
        device = self.radius.device
        turn = torch.tensor(TURN / (2 * pi / RAYS), dtype=torch.float32, device=device).flatten()
        before = turn.long().clamp(max=RAYS - 1)
        part = turn - before
        after = (before + 1) % RAYS
        reach = self.radius[:, before] * (1 - part) + self.radius[:, after] * part
        return reach.view(-1, SIZE, SIZE) - torch.tensor(DISTANCE, dtype=torch.float32, device=device)

    def layers(self, hu: Tensor) -> tuple[Tensor, Tensor]:
        """Background and lesion of slices hu (N, 64, 64); hidden pixels get the level of lung and lesion."""
        has = ~torch.isnan(self.width)[:, None, None]
        lesion, lung = (self.levels[:, at, None, None].expand_as(hu) for at in (0, 1))
        inside = self.inside()
        return (
            torch.where(has, torch.lerp(hu, lung, _near(inside)), hu),
            torch.where(has, torch.lerp(lesion, hu, _inner(inside)), hu),
        )


def _near(inside: Tensor) -> Tensor:
    """How little of each pixel of the slice is background."""
    return (inside + _BAND).clamp(0, 1)


def _inner(inside: Tensor) -> Tensor:
    """How much of each pixel of the slice is lesion."""
    return (inside + 0.5).clamp(0, 1)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """(N, G) float32: each column's values as quantiles of a standard normal; ties share one."""
    scores = np.full(values.shape, np.nan, np.float32)
    for at, column in enumerate(values.T):
        has = np.isfinite(column)
        scores[has, at] = special.ndtri((stats.rankdata(column[has]) - 0.5) / max(has.sum(), 1))
    return scores


def table_of(values: np.ndarray) -> Tensor:
    """(4, GRID) float32: the measured guides of values (N, G), G at least 4, at normal scores."""
    quantiles = special.ndtr(np.linspace(-SCORES, SCORES, GRID))
    columns = values[:, : len(KINDS)].T
    return torch.tensor(
        np.stack([np.nanquantile(column, quantiles) for column in columns]), dtype=torch.float32
    )


def lesions_of(outlines: Outlines, values: np.ndarray, rows: np.ndarray, model: ModelConfig) -> Lesions:
    """The outlines of slices `rows` (M,) and the guides' values (N, G) of all N, as a training takes them."""
    count = len(values)
    radius = torch.ones(count, RAYS)
    width, levels = torch.full((count,), torch.nan), torch.zeros(count, 2)
    radius[rows] = torch.tensor(outlines.radius, dtype=torch.float32)
    own = -values[rows, KINDS.index("edge")]
    width[rows] = torch.tensor(np.where(outlines.trusted, own, np.nan), dtype=torch.float32)
    both = np.stack([outlines.inside_hu, outlines.outside_hu], axis=1)
    levels[rows] = torch.tensor(both, dtype=torch.float32).clamp(model.hu_low, model.hu_high)
    return Lesions(radius, width, levels)


def layer_loss(layers: Tensor, inside: Tensor, lesions: Lesions, model: ModelConfig, weight: float) -> Tensor:
    """How far background, lesion and share, layers (N, 3, 64, 64), are from the outlines, in nats: a scalar.

    `inside` (N, 64, 64) is that of the lesions, moved as the slices were.
    """
    background, lesion, share = layers.unbind(1)
    has = ~torch.isnan(lesions.width)
    width = torch.where(has, lesions.width, 2.0)
    outline = torch.sigmoid(slope_of(width)[:, None, None] * inside)
    level, lung = normalise(lesions.levels, model)[:, :, None, None].unbind(1)
    lack = (
        (share - outline).abs()
        + _near(inside) * (background - lung).abs()
        + _FLAT * (1 - _inner(inside)) * (lesion - level).abs()
    )
    return weight * SIZE * SIZE * (lack.mean((1, 2)) * has).mean()
