"""Guided dimensions: the first latent dimensions tied to properties and ratings of lesions.

For each guide a value a of every training slice, and the coordinate c of its dimension (`Latent.coordinates`:
a Gaussian's own value, a Dirichlet component's log-ratio to the free ones). The loss is guided_weight * mean
|tanh(guided_slope * (c_i - c_j)) - sign(a_i - a_j)| over all pairs of a batch, summed over the guides: slices
are put in the order of their values, at any distance. Pairs with a missing value count as correct.
`guided_apart` adds the squared correlation, within the batch, of every guide with every free coordinate,
averaged over the free ones, so that these do not carry the same information.

`diameter`, `density`, `edge` and `elongation` are measured in the slice, clipped to the window, within the
readers' mask: diameter, mean HU, steepness of the edge over the contrast (so that a brighter lesion has no
sharper edge) and eccentricity. The others are the mean over the readers of a rating, and for calcification
the share who saw any. Only training patients have values; held-out patients have none.

Source: Pati and Lerch, arXiv 2004.05485 (AR-VAE); for images of lesions, Cetin et al., arXiv 2203.10417.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lungvae_core.data.labels import rating_level
from lungvae_core.data.outlines import Outlines, outlines_of
from lungvae_core.data.properties import PROPERTIES, measure
from lungvae_core.errors import UserError
from lungvae_core.vae.config import Config, ObjectiveConfig

# Guide: the property that it is, and whether more of the guide is more of the property.
MEASURED = {
    "diameter": ("diameter_px", 1),
    "density": ("mean_hu", 1),
    "edge": ("edge_px", -1),
    "elongation": ("eccentricity", 1),
}


def guides(
    config: Config, hu: np.ndarray, masks: np.ndarray, table: pd.DataFrame, rows: np.ndarray
) -> tuple[np.ndarray, Outlines | None]:
    """(N, G) float32 the guides' values of a data set's N slices; NaN where missing and outside `rows`.

    And the outlines of these, if a guide is measured.

    hu and masks (N, 64, 64) are at the model's spacing, and `rows` are those that it trains on. Raises
    UserError naming a guide that the rows lack.
    """
    names = config.objective.guided
    values = np.full((len(table), len(names)), np.nan, np.float32)
    own = table.iloc[rows]
    measured, outlines = {}, None
    if any(name in MEASURED for name in names):
        # Within the window: the order of what lies beyond it cannot be learned.
        slices = np.clip(hu[rows], config.model.hu_low, config.model.hu_high)
        outlines = outlines_of(slices, np.asarray(masks[rows]))
        measured = dict(zip(PROPERTIES, measure(slices, outlines).T, strict=True))
    for name, column in zip(names, values.T, strict=True):
        if name in MEASURED:
            key, sign = MEASURED[name]
            column[rows] = sign * measured[key]
        else:
            column[rows] = rating_level(own, name)
        if len(np.unique(column[np.isfinite(column)])) < 2:  # then there is no order
            source = "masks" if name in MEASURED else f"ratings (column {name}_all)"
            raise UserError(
                f"The training patients have no two slices that differ in {name}, so it cannot guide a "
                f"dimension. Give the data the readers' {source}, or leave {name} out of guided."
            )
    return values, outlines


def guided_loss(coordinates: tuple[Tensor, Tensor], values: Tensor, weights: ObjectiveConfig) -> Tensor:
    """What guidance adds to the loss, in nats: a scalar.

    `coordinates` are those of the guided dimensions (B, G), 0 at the prior's mean, and of the free ones
    (B, K - G), `values` (B, G) the guides', NaN where there is none.
    """
    own, free = coordinates
    has = ~torch.isnan(values)
    filled = torch.where(has, values, torch.zeros_like(values))
    both = has[:, None] & has[None]  # (B, B, G)
    order = torch.sign(filled[:, None] - filled[None])
    apart = torch.tanh(weights.guided_slope * (own[:, None] - own[None]))
    loss = weights.guided_weight * (torch.where(both, (apart - order).abs(), 0.0).mean((0, 1))).sum()
    if weights.guided_anchor:
        off = torch.where(has, own - filled, 0.0)
        loss = loss + weights.guided_anchor * off.square().mean(0).sum()
    if weights.guided_apart:
        loss = loss + weights.guided_apart * _correlation(filled, has, free).square().mean(1).sum()
    return loss


def _correlation(values: Tensor, has: Tensor, free: Tensor) -> Tensor:
    """(G, F) Pearson's correlation of values (B, G), where they are, with free (B, F)."""
    weight = has.float() / has.sum(0).clamp(min=1)  # (B, G), sums to 1
    value = (values - (weight * values).sum(0)) * has
    mean = weight.T @ free  # (G, F)
    covariance = (weight * value).T @ free  # the values' mean is 0, so the free ones' may stay
    spread = (weight * value.square()).sum(0)[:, None] * ((weight.T @ free.square()) - mean.square())
    return covariance / (spread.clamp(min=0) + 1e-6).sqrt()
