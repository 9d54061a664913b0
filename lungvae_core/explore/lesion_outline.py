"""An uploaded lesion's outline from a click, followed from slice to slice: a proposal to be checked.

In a slice the outline is that of data/outlines.py, made for lesions in the middle of a crop. A click is
seldom in the middle, so it is tried from seven places around the click; pixels that most of them include are
kept, and the same is repeated around their middle. It is followed through the slices while the next one has
an object of the same brightness and similar size at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungvae_core.data.masks import middle
from lungvae_core.data.outlines import CENTRE, CONTRAST, segment
from lungvae_core.data.slices import SIZE
from lungvae_core.errors import UserError

_RING = 2.0  # pixels from the click to the other places that are tried
_PLACES = 6  # around it
_MOST_MM = 60.0  # from the clicked slice, either way; LIDC's largest nodules are some 60 mm across
_MOST_SLICES = 80  # either way, where distances are unknown
_GAP = 1.5  # usual distances between slices, beyond which nothing is followed
_SHARED = 0.3  # of the smaller of two neighbouring outlines, that both must hold
_STEP = 3.0  # times the area of the slice before, or the same part of it: more is another thing
_RISE = 1.4  # times the smallest area since the largest: what grows again is the next thing, as a vessel
_SMALL = 0.5  # of the largest area, below which growing again is not believed
_LEAST_SHARE = 0.1  # of the largest area; below that a vessel goes on
_KEPT_CONTRAST = 0.45  # of the clicked slice's contrast
_LEAST_PIXELS = 9  # as in the paper's cohort


@dataclass(frozen=True)
class Outline:
    """A lesion outlined in one slice."""

    mask: np.ndarray  # (rows, columns) bool
    inside_hu: float  # the lesion's level; above -100 HU all counts as -100
    outside_hu: float  # the lung's level around it
    trusted: bool  # enough contrast, and neither tiny nor as large as the box
    agreement: float  # 0..1, how alike the outlines from the seven places are; below 0.7 look twice


@dataclass(frozen=True)
class NoduleOutline:
    """A lesion outlined in all slices that it was followed through."""

    mask: np.ndarray  # (slices, rows, columns) bool
    slices: tuple[int, ...]  # that have an outline, rising
    agreement: float  # of the clicked slice
    caption: str  # the result in words, with its certainty


def outline_slice(hu: np.ndarray, row: float, column: float) -> Outline:
    """Outline the lesion at (row, column) of a slice hu (rows, columns) int16.

    Always gives an outline; `trusted` says whether there is a lesion.
    """
    mask, agreement = np.zeros(hu.shape, bool), 0.0
    inside = outside = 0.0
    trusted = False
    for _ in range(2):
        turns = 2 * np.pi * np.arange(_PLACES) / _PLACES
        starts = [(row, column)]
        starts += [(row + _RING * np.sin(turn), column + _RING * np.cos(turn)) for turn in turns]
        crops = [_crop(hu, *start) for start in starts]
        outlines = segment(np.stack([crop for crop, _, _ in crops]))
        placed = zip(outlines.masks(), crops, strict=True)
        masks = np.stack([_placed(mask, top, left, hu.shape) for mask, (_, top, left) in placed])
        kept = masks.mean(axis=0) >= 0.5
        if not kept.any():
            break
        mask = kept
        agreement = float(np.mean([_dice(each, kept) for each in masks]))
        inside, outside = float(np.median(outlines.inside_hu)), float(np.median(outlines.outside_hu))
        trusted = bool(outlines.trusted.mean() > 0.5)
        row, column = middle(kept)
    return Outline(mask, inside, outside, trusted, agreement)


def outline_nodule(
    hu: np.ndarray, at: int, row: float, column: float, places_mm: np.ndarray | None = None
) -> NoduleOutline:
    """Outline the lesion at slice `at`, (row, column) of hu (slices, rows, columns), and follow it both ways.

    `places_mm` (slices,) are the slices' places; nothing is followed across a gap in them. Raises UserError
    where the clicked slice has nothing that could be outlined.
    """
    first = outline_slice(hu[at], row, column)
    if not first.trusted or first.mask.sum() < _LEAST_PIXELS:
        raise UserError(
            "No outline was found here: too little stands out from the lung around, or it fills the box. "
            "Click the middle of the lesion, choose a range of slices instead, or bring a mask."
        )
    usual = None if places_mm is None or len(places_mm) < 2 else float(np.median(np.diff(places_mm)))
    outlines = {at: first}
    for step in (1, -1):
        last, number = first, at + step
        areas = [int(first.mask.sum())]
        while 0 <= number < len(hu) and abs(number - at) <= _MOST_SLICES:
            if places_mm is not None and usual is not None:
                apart = abs(places_mm[number] - places_mm[number - step])
                if apart > _GAP * usual or abs(places_mm[number] - places_mm[at]) > _MOST_MM:
                    break
            following = outline_slice(hu[number], *middle(last.mask))
            if not _goes_on(first, last, following, areas):
                break
            outlines[number] = last = following
            areas.append(int(following.mask.sum()))
            number += step
    mask = np.zeros(hu.shape, bool)
    for number, outline in outlines.items():
        mask[number] = outline.mask
    numbers = tuple(sorted(outlines))
    return NoduleOutline(mask, numbers, first.agreement, _caption(numbers, first))


def _goes_on(first: Outline, last: Outline, following: Outline, areas: list[int]) -> bool:
    """Whether the next slice's outline is of the same lesion; `areas` are those from the clicked slice on."""
    area, before, largest = int(following.mask.sum()), areas[-1], max(areas)
    lowest = min(areas[areas.index(largest) :])
    contrast = first.inside_hu - first.outside_hu
    return (
        following.trusted
        and area >= max(_LEAST_PIXELS, _LEAST_SHARE * largest)
        and before / _STEP <= area <= _STEP * before
        and not (lowest < _SMALL * largest and area > _RISE * lowest)
        and following.inside_hu - following.outside_hu >= max(_KEPT_CONTRAST * contrast, CONTRAST)
        and int((following.mask & last.mask).sum()) >= _SHARED * min(area, before)
    )


def _caption(slices: tuple[int, ...], first: Outline) -> str:
    count = len(slices)
    where = f"in slice {slices[0] + 1}" if count == 1 else f"in slices {slices[0] + 1} to {slices[-1] + 1}"
    how = "differs much: it is likely to be wrong"
    if first.agreement >= 0.7:
        how = "differs somewhat: look whether it is right"
    if first.agreement >= 0.85:
        how = "is nearly the same"
    return f"Outlined {where}. From places around the click the outline {how}."


def _crop(hu: np.ndarray, row: float, column: float) -> tuple[np.ndarray, int, int]:
    """((64, 64) with (row, column) where `segment` looks for the middle, its first row and column)."""
    top, left = round(row - CENTRE), round(column - CENTRE)
    rows = np.clip(np.arange(top, top + SIZE), 0, hu.shape[0] - 1)
    columns = np.clip(np.arange(left, left + SIZE), 0, hu.shape[1] - 1)
    return hu[np.ix_(rows, columns)], top, left


def _placed(mask: np.ndarray, top: int, left: int, shape: tuple[int, ...]) -> np.ndarray:
    """A crop's mask (64, 64) in the whole slice."""
    whole = np.zeros(shape, bool)
    rows, columns = (slice(max(first, 0), max(first + SIZE, 0)) for first in (top, left))
    part = mask[max(-top, 0) : shape[0] - top, max(-left, 0) : shape[1] - left]
    whole[rows, columns] = part
    return whole


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    whole = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / whole if whole else 1.0
