"""A decoder that draws the lesion separately: background, lesion and the lesion's share of each pixel.

    picture = (1 - share) * background + share * (lesion + offset)

The first four coordinates of the code are diameter, density, edge and elongation, as normal scores among the
training slices. They change these layers only through geometry. The networks draw the layers from the rest of
the code and do not see them. So a step along one of them cannot change what the others mean:

- The outline is decoded as waves around a circle. Whatever its size and shape, it is scaled and stretched to
  the area given by the diameter and the second moments given by the elongation, along a decoded axis.
- The share is a logistic function of the distance from the outline, whose steepness the edge sets: its
  steepest fall over a pixel is 1 / width of the contrast, as `data.properties` measures it.
- The offset sets the mean inside the outline, without its rim, to the density. With `rating_density`, the
  coordinates of ratings that readers see in it, `BRIGHTER`, are added to that of the density.

Layers in images: Wang and Adelson 1994, doi 10.1109/83.334981.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lungvae_core.data.outlines import CENTRE, SIZE
from lungvae_core.vae.config import Measured, ModelConfig
from lungvae_core.vae.latents import Latent

KINDS = get_args(Measured)  # diameter, density, edge, elongation: the inputs of the geometry
# Ratings that add to the density, and by what share of `rating_density`.
BRIGHTER = {"calcification": 0.5, "texture": 1.0}
RAYS = 64  # at which an outline is evaluated
SCORES = 2.3  # the table's ends, about the 1st and the 99th percentile
GRID = 101  # normal scores at which the guides' values are kept
PER_RATING = "per_rating"  # the name of the buffers that hold what ratings add to the density
_DENSITY = KINDS.index("density")
_FAR = 3.5  # scores beyond which nothing changes
_HIDDEN = 128
_WAVES = 10  # around the outline
_LEAST, _MOST = 2.0, 56.0  # pixels of diameter
_SHARPEST = 1.1  # pixels of edge; 1 is a step
_FAINT = 0.3  # mean share inside; below it no offset reaches the density, and it is not raised further


def new_density(config: ModelConfig) -> Tensor | None:
    """(R,) zeros, to be set to `density_of` a training's guides; None where no rating adds to the density."""
    return torch.zeros(config.rating_dimensions) if config.rating_density else None


def density_of(guided: Sequence[str], config: ModelConfig) -> Tensor:
    """(R,) what each of the ratings among the guides adds to the density, a standard deviation of each."""
    return config.rating_density * torch.tensor([BRIGHTER.get(name, 0.0) for name in guided[len(KINDS) :]])


def added_density(scores: Tensor, per_rating: Tensor) -> Tensor:
    """(N, 4) what the ratings among coordinates (N, 4 + R) add to the geometry's."""
    added = scores[:, len(KINDS) :].clamp(-_FAR, _FAR) @ per_rating
    return F.pad(added[:, None], (_DENSITY, len(KINDS) - 1 - _DENSITY))


class LesionDecoder(nn.Module):
    """Networks that draw the layers from the free part of the code, and the geometry that combines them."""

    table: Tensor
    per_rating: Tensor | None

    def __init__(self, network: nn.Module, path: nn.Module, config: ModelConfig, latent: Latent) -> None:
        """From free codes (N, K - 4), `network` gives logits (N, 2, 64, 64) and `path` (N, 2 * 4096)."""
        super().__init__()
        self.network, self.path, self._latent = network, path, latent
        free = config.dimensions - len(KINDS)
        self._ratings, self._gain = config.rating_dimensions, config.rating_gain
        # Both start at 0, a circle.
        self.straight = nn.Linear(free, 2 * _WAVES + 2)
        last = nn.Linear(_HIDDEN, 2 * _WAVES + 2)
        self.bent = nn.Sequential(nn.Linear(free, _HIDDEN), nn.SiLU(), last)
        for layer in (self.straight, last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.low, self.high = config.hu_low, config.hu_high
        # The guides' values at normal scores from -SCORES to SCORES: pixels, HU, -pixels, eccentricity.
        middle = torch.tensor([12.0, (config.hu_low + config.hu_high) / 2, -2.5, 0.6])
        self.register_buffer("table", middle[:, None].repeat(1, GRID))
        self.register_buffer(PER_RATING, new_density(config))

    def forward(self, z: Tensor) -> Tensor:
        """(N, 4, 64, 64) in 0..1, picture and the three layers, from z (N, K) as the decoder takes it."""
        scores, free = self._latent.parted(z, len(KINDS))
        if self.per_rating is not None:
            ratings, _ = self._latent.parted(z, len(KINDS) + self._ratings)
            scores = scores + added_density(ratings, self.per_rating)
        if self._gain != 1:
            free = torch.cat((self._gain * free[:, : self._ratings], free[:, self._ratings :]), 1)
        maps = self.network(free)
        maps = maps + self.path(free).view_as(maps)
        shape = self.straight(free) + self.bent(free)
        with torch.autocast(z.device.type, enabled=False):
            return self._compose(scores.float(), maps.float(), shape.float())

    def _compose(self, scores: Tensor, maps: Tensor, shape: Tensor) -> Tensor:
        background, lesion = torch.sigmoid(maps).unbind(1)
        diameter, density, edge, eccentricity = self.values(scores).unbind(1)
        radius = diameter.clamp(_LEAST, _MOST) / 2
        outline = torch.exp(_wave(shape[:, : 2 * _WAVES]).clamp(-1, 1))
        distance = _fitted(outline, radius, eccentricity.clamp(0, 0.97), shape[:, 2 * _WAVES :])
        radius = radius[:, None, None]
        # Without the rim, which is most of a small lesion and partly lung; the mean HU is measured this way.
        inner = (distance - torch.minimum(radius / 2, torch.ones_like(radius)) + 0.5).clamp(0, 1).detach()
        inner = inner / inner.sum((1, 2), keepdim=True).clamp(min=1e-3)
        # A small lesion with a wide edge has no pixel that is all lesion. The edge's steepness is measured
        # against its contrast, which is this share of the contrast between the layers.
        width = (-edge)[:, None, None]
        share = torch.sigmoid(slope_of(width) * distance)
        for _ in range(2):
            share = torch.sigmoid(slope_of(width / (inner * share).sum((1, 2), keepdim=True)) * distance)
        picture = torch.lerp(background, lesion, share)
        mean = ((density - self.low) / (self.high - self.low)).clamp(0, 1)[:, None, None]
        lack = mean - (inner * picture).sum((1, 2), keepdim=True)
        offset = lack / (inner * share).sum((1, 2), keepdim=True).clamp(min=_FAINT)
        picture = (picture + offset * share).clamp(0, 1)
        return torch.stack((picture, background, lesion, share), dim=1)

    @torch.no_grad()
    def regain(self, before: float) -> None:
        """Have weights that were learned with the ratings' gain `before` draw the same with this one's."""
        for module in (self.network, self.path, self.straight, self.bent):
            first = next(each for each in module.modules() if isinstance(each, nn.Linear))
            first.weight[:, : self._ratings] *= before / self._gain

    def values(self, scores: Tensor) -> Tensor:
        """(N, 4) the guides' values at normal scores (N, 4), by linear interpolation in the table."""
        at = (scores.clamp(-_FAR, _FAR) + SCORES) * ((GRID - 1) / (2 * SCORES))
        low = at.detach().long().clamp(0, GRID - 2)
        table = self.table.float().T  # (GRID, 4)
        first, second = table.gather(0, low), table.gather(0, low + 1)
        return first + (at - low) * (second - first)


def _wave(shape: Tensor) -> Tensor:
    """(N, RAYS) around 0: the sum of waves with amplitudes (N, 2 * _WAVES), shorter waves scaled lower."""
    angle = torch.arange(RAYS, dtype=torch.float32, device=shape.device) * (2 * pi / RAYS)
    times = torch.arange(1, _WAVES + 1, dtype=torch.float32, device=shape.device)[:, None]
    waves = torch.cat(((times * angle).cos(), (times * angle).sin()))
    return shape @ (waves * torch.cat((times, times)).pow(-1.5) / 2)


def slope_of(width: Tensor) -> Tensor:
    """Slope per pixel of a logistic edge whose steepest fall over a pixel is 1 / width of its height."""
    return 4 * torch.atanh(1 / width.clamp(min=_SHARPEST))


def _fitted(outline: Tensor, radius: Tensor, eccentricity: Tensor, axis: Tensor) -> Tensor:
    """(N, 64, 64) pixels inside outlines (N, RAYS), scaled to a size and elongation along `axis` (N, 2)."""
    turn = 2 * pi / RAYS
    angle = torch.arange(RAYS, dtype=torch.float32, device=outline.device) * turn
    cosine, sine = angle.cos(), angle.sin()
    area = 0.5 * turn * outline.square().sum(1)  # (N,), as are all of these
    right, down = (turn / 3 * (outline.pow(3) * part).sum(1) / area for part in (cosine, sine))
    fourth = turn / 4 * outline.pow(4) / area[:, None]
    a = (fourth * cosine.square()).sum(1) - right.square()
    d = (fourth * sine.square()).sum(1) - down.square()
    b = (fourth * cosine * sine).sum(1) - right * down
    ratio = (1 - eccentricity.square()).rsqrt()  # of the long to the short axis
    along = axis / (axis.square().sum(1, keepdim=True) + 1e-3).sqrt()  # cosine and sine of twice the angle
    middle, apart = (ratio + 1 / ratio) / 2, (ratio - 1 / ratio) / 2
    quarter = radius.square() / 4
    # A point p of the picture is G p in the outline's frame: G = sqrt(second moments) / sqrt(new ones).
    a, d, b = _root(a, d, b)
    e, h, f = _root(
        quarter * (middle + apart * along[:, 0]),
        quarter * (middle - apart * along[:, 0]),
        quarter * apart * along[:, 1],
    )
    g = torch.stack((a * h - b * f, b * e - a * f, b * h - d * f, d * e - b * f)) / (e * h - f * f)
    # An outline that is not an ellipse has less area than its moments imply.
    det = (g[0] * g[3] - g[1] * g[2]).clamp(min=1e-6)
    g = (g * (area / (pi * radius.square()) / det).sqrt())[:, :, None, None]
    index = torch.arange(SIZE, dtype=torch.float32, device=outline.device) - CENTRE
    x, y = index[None, None], index[None, :, None]
    right, down = g[0] * x + g[1] * y, g[2] * x + g[3] * y  # (N, 64, 64)
    place = torch.atan2(down, right).remainder(2 * pi) / turn
    before = place.detach().long().clamp(max=RAYS - 1)
    part = place - before
    reach = torch.cat((outline, outline[:, :1]), 1)
    first, second = (reach.gather(1, (before + step).flatten(1)).view_as(part) for step in (0, 1))
    inside = first + part * (second - first) - torch.hypot(right, down)
    # In pixels: divided by how much it falls per pixel.
    wider = F.pad(inside[:, None], (1, 1, 1, 1), "replicate")[:, 0]
    across, along = (
        (wider[:, 1:-1, 2:] - wider[:, 1:-1, :-2]) / 2,
        (wider[:, 2:, 1:-1] - wider[:, :-2, 1:-1]) / 2,
    )
    slope = (across.square() + along.square() + 1e-6).sqrt()
    scale = det.sqrt()[:, None, None]
    return inside / torch.maximum(slope, scale / 2)


def _root(a: Tensor, d: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The square root of symmetric matrices [[a, b], [b, d]], given and returned as (a, d, b)."""
    det = (a * d - b * b).clamp(min=1e-6).sqrt()
    whole = (a + d + 2 * det).sqrt()
    return (a + det) / whole, (d + det) / whole, b / whole
