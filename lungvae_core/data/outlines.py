"""A lesion's outline as radii around its middle: found by dynamic programming, or taken from a mask.

A crop has its lesion in the middle. From there 32 rays go out, and the outline is the closed set of radii at
which the image falls most steeply from the inside out, that changes little from one ray to the next and stays
near the middle one of all radii; that is what cuts off vessels and the chest wall, which no threshold does.
Then each radius moves, by a pixel at most, to where the image crosses halfway between lesion and lung. Values
above -100 HU count as -100, so that calcium in a lesion and ribs beside it have no edge of their own. It
works on many images at once and is deterministic.

Source: optimal radial contours by dynamic programming, Wang et al. 2007, doi 10.1118/1.2799885 (nodules on
CT); the half-way level follows Kuhnigk et al. 2006, doi 10.1109/TMI.2006.871547.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

SIZE = 64
CENTRE = 31.75  # LIDC's crop rule puts a mask's bounding box at 31.5 or 32 pixels
RAYS = 32
STEP = 0.5  # pixels between two samples of a ray
SAMPLES = 62  # radii 0.5 to 31 pixels
RADII = (STEP * np.arange(1, SAMPLES + 1)).astype(np.float32)  # (SAMPLES,) pixels
ANGLES = 2 * np.pi * np.arange(RAYS) / RAYS  # (RAYS,), clockwise on the screen from left to right
SMALLEST, LARGEST = 1.2, 29.0  # equivalent radius in pixels, beyond which an outline is not trusted
CONTRAST = 50.0  # HU between lesion and lung, below which there is nothing to outline
_WHOLE = 2 * np.pi / RAYS  # radians between two rays
_REACH = 3  # samples by which the radius may change between two rays
_RIM = np.array([4, 6, 8, 10])  # samples beyond the outline, 2 to 5 pixels, where the lung is looked for
_CHUNK = 128
# Costs of an outline, relative to a gain of 1 per full contrast per pixel of the image's fall, tuned on half
# of LIDC's patients; docs/measured.md evaluates the other half.
_CAP = -100.0  # HU above which all is alike: calcium and bone have edges of their own
_BLUR = 0.87  # pixels, sigma of the smoothing before the search
_BEND = 0.0087  # of a change by a pixel between two rays, squared
_SPREAD = 0.058  # of being away from the middle one of the radii, relative to it and squared


@dataclass(frozen=True)
class Outlines:
    """The outlines of N images."""

    radius: np.ndarray  # (N, RAYS) pixels from the middle
    inside_hu: np.ndarray  # (N,) the lesion's level, the mean of its inner part; HU above -100 count as that
    outside_hu: np.ndarray  # (N,) the lung's level, from the darker part of a rim around the lesion
    trusted: np.ndarray  # (N,) bool: enough contrast, not tiny, not as large as the crop, not at its border

    def masks(self) -> np.ndarray:
        """(N, 64, 64) bool: the pixels whose centres lie inside."""
        return self.reach() >= DISTANCE

    def reach(self) -> np.ndarray:
        """(N, 64, 64) float32: how far the outline is from the middle in the direction of each pixel."""
        first, second = self.radius[:, _BEFORE], self.radius[:, _AFTER]
        # The polygon's side between two rays, where the pixel's direction crosses it.
        whole = first * np.sin(_PART) + second * np.sin(_WHOLE - _PART)
        return (first * second * np.sin(_WHOLE) / whole).astype(np.float32)

    def area(self) -> np.ndarray:
        """(N,) square pixels inside."""
        return polygon_area(self.radius)

    def __getitem__(self, rows: np.ndarray | slice) -> Outlines:
        return Outlines(self.radius[rows], self.inside_hu[rows], self.outside_hu[rows], self.trusted[rows])


_DOWN, _RIGHT = np.mgrid[:SIZE, :SIZE] - CENTRE
DISTANCE = np.hypot(_DOWN, _RIGHT).astype(np.float32)  # (64, 64) pixels from the middle
TURN = np.arctan2(_DOWN, _RIGHT) % (2 * np.pi)  # (64, 64) each pixel's angle from the middle, 0 to 2 pi
_BEFORE = np.minimum((TURN / _WHOLE).astype(int), RAYS - 1)
_AFTER = (_BEFORE + 1) % RAYS
_PART = TURN - _BEFORE * _WHOLE


def segment(hu: np.ndarray) -> Outlines:
    """Outline the lesion in the middle of each slice hu (N, 64, 64) in HU.

    Always returns one for each; `trusted` says where there was a lesion to outline.
    """
    return _in_parts(len(hu), lambda part: _segment(hu[part]))


def outlines_of(hu: np.ndarray, masks: np.ndarray) -> Outlines:
    """The outlines of given masks (N, 64, 64) of 0 and 1 on their slices hu (N, 64, 64) in HU.

    On each ray the farthest point of the mask, with sub-pixel precision; bays that a ray crosses are filled.
    `trusted`: the size is as for `segment`, and the areas of outline and mask differ by less than half.
    """
    return _in_parts(len(hu), lambda part: _of_masks(hu[part], np.asarray(masks[part]) > 0))


def _in_parts(count: int, outline: Callable[[slice], tuple[np.ndarray, ...]]) -> Outlines:
    """The outlines of `count` slices, made a few at a time."""
    if not count:
        return Outlines(np.zeros((0, RAYS)), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    parts = [outline(slice(at, at + _CHUNK)) for at in range(0, count, _CHUNK)]
    return Outlines(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _of_masks(hu: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, ...]:
    share = rays(masks, RADII)
    inside = share >= 0.5
    last = np.where(inside.any(2), SAMPLES - 1 - inside[:, :, ::-1].argmax(2), 0)[:, :, None]
    here = np.take_along_axis(share, last, 2)[:, :, 0]
    beyond = np.take_along_axis(share, np.minimum(last + 1, SAMPLES - 1), 2)[:, :, 0]
    part = np.clip((here - 0.5) / np.maximum(here - beyond, 1e-6), 0, 1)
    radius = np.where(inside.any(2), RADII[last[:, :, 0]] + STEP * part, STEP).astype(float)
    core, lung = _levels(rays(np.minimum(np.asarray(hu, np.float32), _CAP), RADII), radius)
    area, pixels = polygon_area(radius), masks.sum((1, 2))
    size = np.sqrt(area / np.pi)
    alike = np.abs(area - pixels) < 0.5 * np.maximum(pixels, 1)
    return radius, core, lung, alike & (size >= SMALLEST) & (size <= LARGEST)


def polygon_area(radius: np.ndarray) -> np.ndarray:
    """(...,) square pixels inside the polygon of the radii (..., RAYS)."""
    return 0.5 * np.sin(_WHOLE) * (radius * np.roll(radius, -1, axis=-1)).sum(-1)


def rays(hu: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """(N, RAYS, R) float32: images hu (N, 64, 64) along the rays at radii (R,) or (N, RAYS, R) pixels.

    Linear between pixels; the crop's last pixel is repeated beyond its border.
    """
    far = np.broadcast_to(radii, (len(hu), RAYS, np.shape(radii)[-1])).astype(np.float32)
    sine, cosine = (part.astype(np.float32)[:, None] for part in (np.sin(ANGLES), np.cos(ANGLES)))
    place = np.stack([CENTRE + cosine * far, CENTRE + sine * far], axis=-1, dtype=np.float32)
    images = torch.from_numpy(np.ascontiguousarray(hu, np.float32))[:, None]
    grid = torch.from_numpy(place) * (2 / (SIZE - 1)) - 1
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)[:, 0].numpy()


def _segment(hu: np.ndarray) -> tuple[np.ndarray, ...]:
    capped = np.minimum(np.asarray(hu, np.float32), np.float32(_CAP))
    sampled = rays(ndimage.gaussian_filter(capped, (0, _BLUR, _BLUR), mode="nearest"), RADII)
    # At first: the middle is lesion, and the darker part of all else is lung.
    inside = np.percentile(sampled[:, :, RADII <= 3], 70, axis=(1, 2))
    outside = np.percentile(sampled[:, :, RADII <= 24], 15, axis=(1, 2))
    radius = _outline(sampled, inside - outside, None)
    for _ in range(2):
        inside, outside = _levels(sampled, radius)
        radius = _outline(sampled, inside - outside, np.median(radius, axis=1))
    inside, outside = _levels(sampled, radius)
    radius = _refined(sampled, radius, (inside + outside) / 2)
    size = np.sqrt(polygon_area(radius) / np.pi)
    border = (radius > _ROOM - 0.5).mean(1)
    trusted = (inside - outside >= CONTRAST) & (size >= SMALLEST) & (size <= LARGEST) & (border < 0.25)
    return radius, inside, outside, trusted


def _outline(sampled: np.ndarray, contrast: np.ndarray, middle: np.ndarray | None) -> np.ndarray:
    """The best closed outlines (N, RAYS) pixels of the rays `sampled` (N, RAYS, SAMPLES)."""
    scale = (1 / (2 * STEP * np.maximum(contrast, CONTRAST))).astype(np.float32)[:, None, None]
    gain = np.zeros_like(sampled)
    gain[:, :, 1:-1] = np.clip((sampled[:, :, :-2] - sampled[:, :, 2:]) * scale, 0, 0.5)
    if middle is not None:
        away = (RADII - middle[:, None]) / np.maximum(middle[:, None], 3)
        gain -= (_SPREAD * away**2).astype(np.float32)[:, None, :]
    return RADII[_best_path(gain, _BEND * STEP**2)].astype(float)


def _best_path(gain: np.ndarray, bend: float) -> np.ndarray:
    """(N, RAYS) int: on each ray a sample, such that gain (N, RAYS, SAMPLES) less the bends' cost is most.

    The circle is gone round one and a half times, of which the middle is kept: that closes it.
    """
    count, lap, samples = gain.shape
    order = np.arange(-lap // 4, lap + lap // 4) % lap
    padded = np.full((count, samples + 2 * _REACH), -np.inf, np.float32)
    total = gain[:, order[0]]
    came = np.zeros((len(order), count, samples), np.int8)
    for at, ray in enumerate(order[1:], 1):
        padded[:, _REACH : _REACH + samples] = total
        best = total.copy()
        for shift in (each for each in range(-_REACH, _REACH + 1) if each):
            start = _REACH + shift
            other = padded[:, start : start + samples] - np.float32(bend * shift**2)
            better = other > best
            np.copyto(best, other, where=better)
            came[at][better] = shift
        total = best + gain[:, ray]
    place = total.argmax(1)
    path = np.zeros((count, lap), int)
    rows = np.arange(count)
    for at in range(len(order) - 1, 0, -1):
        if lap // 4 <= at < lap // 4 + lap:
            path[:, order[at]] = place
        place = place + came[at, rows, place]
    return path


def _levels(sampled: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """HU levels (N,), (N,) of the lesions' inner parts and of the lung in a rim around them."""
    inner = (np.maximum(0.8 * radius, STEP)[:, :, None] >= RADII) * RADII
    core = (inner * sampled).sum((1, 2)) / inner.sum((1, 2))
    last = np.round(radius / STEP).astype(int) - 1
    beyond = np.minimum(last[:, :, None] + _RIM, SAMPLES - 1)
    rim = np.take_along_axis(sampled, beyond, axis=2).reshape(len(sampled), RAYS * len(_RIM))
    # Vessels and the chest wall are the brighter part of the rim.
    at = int(0.3 * rim.shape[1])
    return core.astype(float), np.partition(rim, at, axis=1)[:, at].astype(float)


def _refined(sampled: np.ndarray, radius: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Radii (N, RAYS) moved, by a pixel at most, to where the image falls below the level (N,)."""
    over = sampled >= level[:, None, None]
    crossing = over[:, :, :-1] & ~over[:, :, 1:]
    drop = np.where(crossing, sampled[:, :, :-1] - sampled[:, :, 1:], 1)
    place = RADII[:-1] + STEP * np.where(crossing, (sampled[:, :, :-1] - level[:, None, None]) / drop, 0)
    away = np.where(crossing, np.abs(place - radius[:, :, None]), np.inf)
    best = away.argmin(2)[:, :, None]
    near = np.take_along_axis(away, best, 2)[:, :, 0] <= 1
    return np.where(near, np.take_along_axis(place, best, 2)[:, :, 0], radius)


# (RAYS,) pixels from the middle to the crop's border along each ray.
_ROOM = np.minimum(
    *(
        np.where(part > 0, SIZE - 1 - CENTRE, CENTRE) / np.maximum(np.abs(part), 1e-9)
        for part in (np.sin(ANGLES), np.cos(ANGLES))
    )
)
