"""Edited slices: what a guided slider shall show, made of the training slice itself.

A slice's lesion is made larger or smaller, denser or fainter, sharper or softer at its edge, longer or
rounder, and nothing else in the slice changes. The decoder learns that a step along the guided dimension
changes the picture as the edit does:

    guided_edits * |(decode(z') - decode(z)) - (edited - x)|^2 / (mean of |edited - x|^2 along this guide)

averaged over the edited slices, so that a slider that changes nothing costs guided_edits nats, however many
pixels its edits change. z' is the code z with the guided coordinate moved by as much as the edit moved the
lesion's value, both as normal scores among the training slices. The differences leave out what the model
does not draw anyway. Absolute differences do not teach this: where an edit's place is uncertain their best
answer is no change.

How an edit is made: the readers' outline gives the lesion's radius R on each of 32 rays from the crop's
middle. The slice is resampled along the rays so that the outline comes to lie at R'; within 3 pixels of it
the stretch is that of the edge alone, so that a lesion that grows keeps its edge, and what lies 8 pixels and
more beyond stays where it is. Density is an offset in HU, weighed by how much of a pixel is lesion.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from math import pi
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from scipy import special, stats
from torch import Tensor

from lungvae_core.data.outlines import ANGLES, CENTRE, DISTANCE, RAYS, SIZE, TURN, outlines_of
from lungvae_core.vae.config import Config, Measured

KINDS = get_args(Measured)  # diameter, density, edge, elongation: what can be edited
_MOST = 2.3  # normal scores, about the 1st to the 99th percentile: how far a slider goes
_BAND = 3.0  # pixels either side of the outline that move with it
_BEYOND = 8.0  # pixels beyond the outline from which nothing moves
_SMALLEST, _LARGEST = 1.5, 27.0  # radius in pixels of an edited lesion
_GRID = 101  # normal scores at which the guides' values are kept
_SAMPLE = 512  # edits of each guide, by which its usual size is found


@dataclass(frozen=True)
class Lesions:
    """What edits need to know of N slices; NaN scores where a slice has no such value and is not edited."""

    scores: Tensor  # (N, G) normal scores of the guides' values among the training slices
    values: Tensor  # (G, _GRID) the guides' values at normal scores from -_MOST to _MOST
    radius: Tensor  # (N, RAYS) pixels
    levels: Tensor  # (N, 2) HU of lesion and lung
    sizes: Tensor  # (G,) mean sum of squares, 0..1 a pixel, of what edits along each guide change

    def rows(self, rows: Tensor) -> Lesions:
        """Those of some slices."""
        return replace(self, scores=self.scores[rows], radius=self.radius[rows], levels=self.levels[rows])


@dataclass(frozen=True)
class Steps:
    """An edit for each of N slices: which guide, and from which normal score to which."""

    guide: Tensor  # (N,) int64
    start: Tensor  # (N,) float32; NaN where the slice is not edited
    end: Tensor  # (N,)

    @property
    def size(self) -> Tensor:
        """(N,) how far the guided coordinate moves; 0 where the slice is not edited."""
        return (self.end - self.start).nan_to_num(0.0)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """(N, G) float32: each column's values as quantiles of a standard normal; equal ones share theirs."""
    scores = np.full(values.shape, np.nan, np.float32)
    for at, column in enumerate(values.T):
        has = np.isfinite(column)
        scores[has, at] = special.ndtri((stats.rankdata(column[has]) - 0.5) / max(has.sum(), 1))
    return scores


def lesions_of(
    hu: np.ndarray, masks: np.ndarray, values: np.ndarray, config: Config, device: torch.device
) -> Lesions:
    """What edits need of slices hu (N, 64, 64) in HU with readers' masks and the guides' values (N, G)."""
    names, low, high = config.objective.guided, config.model.hu_low, config.model.hu_high
    has = np.flatnonzero(np.isfinite(values).any(1))
    slices = np.clip(hu[has], low, high)
    radius, levels = np.ones((len(hu), RAYS)), np.zeros((len(hu), 2))
    found = outlines_of(slices, np.asarray(masks[has]))
    radius[has], levels[has] = found.radius, np.stack([found.inside_hu, found.outside_hu], axis=1)
    scores = normal_scores(values)
    scores[has[~found.trusted]] = np.nan
    quantiles = special.ndtr(np.linspace(-_MOST, _MOST, _GRID))
    table = np.stack([np.nanquantile(column, quantiles) for column in values.T])
    lesions = Lesions(
        scores=torch.tensor(scores),
        values=torch.tensor(table, dtype=torch.float32),
        radius=torch.tensor(radius, dtype=torch.float32),
        levels=torch.tensor(levels, dtype=torch.float32),
        sizes=torch.ones(len(names)),
    )
    generator = torch.Generator().manual_seed(config.training.seed)
    sample = torch.randperm(len(has), generator=generator)[:_SAMPLE]
    shown, some = torch.tensor(slices)[sample].float(), lesions.rows(torch.tensor(has)[sample])
    for at, name in enumerate(names):
        if name not in KINDS:
            continue
        steps = draw_steps(some, names, torch.rand(3, len(sample), generator=generator), along=at)
        change = (edit(shown, some, steps, names).clamp(low, high) - shown) / (high - low)
        done = ~torch.isnan(steps.start)
        lesions.sizes[at] = change[done].square().sum((1, 2)).mean() if done.any() else 1.0
    return Lesions(*(getattr(lesions, field.name).to(device) for field in fields(lesions)))


def draw_steps(lesions: Lesions, names: tuple[str, ...], drawn: Tensor, *, along: int | None = None) -> Steps:
    """An edit for each slice along one of the guides `names`, from numbers `drawn` (3, N), uniform in 0..1.

    Or all of them `along` one.

    From where the slice is to anywhere that the slider goes, nearer places more often than far ones.
    """
    ones = [at for at, name in enumerate(names) if name in KINDS] if along is None else [along]
    editable = torch.tensor(ones, device=drawn.device)
    guide = editable[(drawn[0] * len(editable)).long().clamp(max=len(editable) - 1)]
    start = lesions.scores.gather(1, guide[:, None])[:, 0]
    end = start + drawn[1] * ((2 * drawn[2] - 1) * _MOST - start)
    return Steps(guide, start, end.clamp(-_MOST, _MOST))


def edit(hu: Tensor, lesions: Lesions, steps: Steps, names: tuple[str, ...]) -> Tensor:
    """Slices hu (N, 64, 64) in HU, float32, with the lesion changed by `steps` along the guides `names`."""
    kinds = torch.tensor([KINDS.index(name) if name in KINDS else -1 for name in names], device=hu.device)
    kind = kinds[steps.guide]
    still = torch.isnan(steps.start)
    start, end = (
        _value(lesions.values[steps.guide], torch.where(still, 0.0, score))
        for score in (steps.start, steps.end)
    )
    of = {name: ((kind == at) & ~still)[:, None].float() for at, name in enumerate(KINDS)}
    radius = lesions.radius
    size = (radius.square().mean(1, keepdim=True)).sqrt()

    # Diameter: all radii alike. Elongation: those of the ellipse of the new eccentricity over the old one's.
    growth = (end / start.clamp(min=1e-3)).clamp(min=1e-3).log()[:, None] * of["diameter"]
    growth = torch.maximum(
        torch.minimum(growth, (_LARGEST / size).log().clamp(min=0)), (_SMALLEST / size).log().clamp(max=0)
    )
    stretch = (_log_ratio(end) - _log_ratio(start))[:, None] * of["elongation"]
    old = _log_ratio(start)[:, None] * of["elongation"]
    angle = torch.tensor(ANGLES, dtype=torch.float32, device=hu.device) - _axis(radius)[:, None]
    target = radius * growth.exp() * _ellipse(angle, old + stretch) / _ellipse(angle, old)
    # Guides rise with sharpness, so the edge's values are widths with a minus.
    sharper = ((-start).clamp(min=0.2) / (-end).clamp(min=0.2)).log()[:, None] * of["edge"]

    lesion, lung = lesions.levels[:, 0, None, None], lesions.levels[:, 1, None, None]
    distance = _distance(hu.device)
    apart = _on_pixels(radius) - distance  # (N, 64, 64) pixels inside the outline
    share = ((hu - lung) / (lesion - lung).clamp(min=50)).clamp(0, 1) * (apart + _BAND).clamp(0, 1)
    core = torch.maximum(hu, lesion)
    # Where the lesion is or was, lung is what it gives way to.
    behind = torch.lerp(hu, lung.expand_as(hu), (apart + _BAND + 1).clamp(0, 2) / 2)
    moved_share, moved_core = _resample(
        torch.stack((share, core), 1), radius, target, sharper.clamp(-1.5, 1.5).exp()
    )
    # A lesion that is no denser than lung is none.
    offset = torch.maximum(
        ((end - start)[:, None] * of["density"])[:, :, None], (lung + 100 - lesion).clamp(max=0)
    )
    before = torch.lerp(behind, core, share)
    return hu + torch.lerp(behind, moved_core + offset, moved_share.clamp(0, 1)) - before


def edit_loss(drawn: Tensor, wanted: Tensor, lesions: Lesions, steps: Steps, weight: float) -> Tensor:
    """How much of the edits' changes (N, 1, 64, 64) the decoded ones lack, in nats, summed over slices."""
    lack = (drawn - wanted).square().sum((1, 2, 3)) / lesions.sizes[steps.guide].clamp(min=1e-6)
    return weight * torch.where(torch.isnan(steps.start), 0.0, lack).sum()


def _value(table: Tensor, score: Tensor) -> Tensor:
    """(N,) the values (N, _GRID) at normal scores (N,), between two of them in a straight line."""
    at = ((score + _MOST) / (2 * _MOST) * (_GRID - 1)).clamp(0, _GRID - 1 - 1e-3)
    low = at.long()
    first, second = (table.gather(1, (low + step)[:, None])[:, 0] for step in (0, 1))
    return first + (at - low) * (second - first)


def _log_ratio(eccentricity: Tensor) -> Tensor:
    """(N,) the logarithm of long over short axis of ellipses of that eccentricity."""
    return -0.5 * torch.log1p(-eccentricity.clamp(0, 0.99).square())


def _ellipse(angle: Tensor, ratio: Tensor) -> Tensor:
    """(N, RAYS) radii of the ellipse of area pi whose axes have the log ratio (N, 1), along `angle`."""
    return 1 / (angle.cos().square() * (-ratio).exp() + angle.sin().square() * ratio.exp()).sqrt()


def _axis(radius: Tensor) -> Tensor:
    """(N,) radians: the direction in which the outlines radius (N, RAYS) are longest."""
    angle = torch.tensor(2 * ANGLES, dtype=torch.float32, device=radius.device)
    fourth = radius.pow(4)
    return 0.5 * torch.atan2((fourth * angle.sin()).sum(1), (fourth * angle.cos()).sum(1))


def _distance(device: torch.device) -> Tensor:
    return torch.tensor(DISTANCE, dtype=torch.float32, device=device)


def _on_pixels(rays: Tensor) -> Tensor:
    """(N, 64, 64) what the rays (N, RAYS) hold in the direction of each pixel."""
    turn = torch.tensor(TURN / (2 * pi / RAYS), dtype=torch.float32, device=rays.device).flatten()
    before = turn.long().clamp(max=RAYS - 1)
    part = turn - before
    after = (before + 1) % RAYS
    return (rays[:, before] * (1 - part) + rays[:, after] * part).reshape(-1, SIZE, SIZE)


def _resample(maps: Tensor, radius: Tensor, target: Tensor, sharper: Tensor) -> tuple[Tensor, ...]:
    """C maps (N, 64, 64) of maps (N, C, 64, 64) with the outline `radius` (N, RAYS) brought to `target`.

    Along each ray distances are mapped piece by piece in straight lines: the middle, the edge, which becomes
    steeper by `sharper` (N, 1), beyond it, and what stays.
    """
    old, new = _on_pixels(radius), _on_pixels(target)
    band, factor = (
        torch.minimum(torch.minimum(old, new) * 0.6, torch.full_like(old, _BAND)),
        sharper[:, :, None],
    )
    # Of the edge's band in the slice and in the edit the wider one has the full width.
    source, drawn = band * factor.clamp(max=1), band / factor.clamp(min=1)
    still = torch.maximum(old, new) + band + _BEYOND
    distance = _distance(maps.device)
    knots = (torch.zeros_like(old), new - drawn, new + drawn, still)
    places = (torch.zeros_like(old), old - source, old + source, still)
    at = distance.expand_as(old)
    origin = at
    for low, high, begin, end in zip(knots[:-1], knots[1:], places[:-1], places[1:], strict=True):
        on_line = begin + (at - low) * (end - begin) / (high - low).clamp(min=1e-3)
        origin = torch.where((at >= low) & (at < high), on_line, origin)
    scale = origin / distance.clamp(min=1e-3)
    index = torch.arange(SIZE, dtype=torch.float32, device=maps.device) - CENTRE
    columns, rows = CENTRE + scale * index, CENTRE + scale * index[:, None]
    grid = torch.stack((columns, rows), dim=3) * (2 / (SIZE - 1)) - 1
    moved = F.grid_sample(maps, grid, mode="bicubic", padding_mode="border", align_corners=True)
    least, most = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return torch.maximum(torch.minimum(moved, most), least).unbind(1)
