"""Slices resampled to one pixel spacing, for models that see lesions in millimetres rather than in pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.slices import KEY, SIZE
from lungvae_core.data.volumes.grid import LEAST_MM, MOST_MM
from lungvae_core.errors import UserError

CENTRE = (SIZE - 1) / 2  # the crop's middle lies between its two middle pixels
_BLOCK = 512  # slices in float32 at a time: 8 MB


def at_spacing(slices: np.ndarray, table: pd.DataFrame, target_mm: float) -> np.ndarray:
    """Slices (N, 64, 64) int16 HU as seen by a model whose `ModelConfig.spacing_mm` is `target_mm`.

    `table` has their N rows, with `pixel_spacing_mm`. A target of 0 means native pixels: `slices` itself
    comes back, memory-mapped or not. All slices reach a model through this function. Raises UserError naming
    the first slice of unknown spacing.
    """
    if not target_mm:
        return slices
    spacing = numbers(table, "pixel_spacing_mm")
    _check(
        spacing,
        target_mm,
        lambda row: "Slice " + "/".join(str(table.iloc[row][column]) for column in KEY),
        "Fill the table's column pixel_spacing_mm",
    )
    return to_spacing(slices, spacing, target_mm)


def masks_at_spacing(masks: np.ndarray, table: pd.DataFrame, target_mm: float) -> np.ndarray:
    """Masks (N, 64, 64) uint8 of the table's N rows on the grid that `at_spacing` gives their slices.

    Each pixel has the mask of the nearest of the crop's, and none beyond the crop: a lesion that is mirrored
    at the border counts once.
    """
    if not target_mm:
        return np.asarray(masks)
    resampled = np.zeros_like(masks)
    steps, group = np.unique(target_mm / numbers(table, "pixel_spacing_mm"), return_inverse=True)
    for number, step in enumerate(steps):
        at = np.rint(CENTRE + (np.arange(SIZE) - CENTRE) * step).astype(int)
        into = np.flatnonzero((at >= 0) & (at < SIZE))
        rows = np.flatnonzero(group == number)
        resampled[np.ix_(rows, into, into)] = masks[np.ix_(rows, at[into], at[into])]
    return resampled


def to_spacing(
    hu: np.ndarray, pixel_spacing_mm: np.ndarray, target_mm: float, *, names: Sequence[str] | None = None
) -> np.ndarray:
    """Slices (N, 64, 64) int16 HU of `pixel_spacing_mm` (N,), at `target_mm` a pixel on the same 64x64 grid.

    The crop's middle stays where it is. Interpolation is linear, by a kernel that widens with the step where
    pixels grow coarser, so that nothing aliases; its weights are never negative, so that no value leaves the
    slice's range. Below the target's spacing the crop ends before the grid does, and the rest is the crop
    mirrored at its border: no invented air or edge, but no new anatomy either, and a lesion that reaches the
    border appears twice (at 0.7 mm from 0.46 mm, the outer 11 pixels a side are mirrored). A slice that has
    the target's spacing is not changed at all.

    Raises UserError naming the slice (`names` (N,), or its number) where a spacing is not from 0.05 to 10 mm.
    """
    spacing = np.asarray(pixel_spacing_mm, float)
    _check(spacing, target_mm, lambda row: names[row] if names else f"Slice {row}", "State it in mm")
    resampled = np.empty(hu.shape, np.int16)
    steps, group = np.unique(target_mm / spacing, return_inverse=True)
    for number, step in enumerate(steps):  # slices of one spacing share their weights
        rows, weights = np.flatnonzero(group == number), _weights(float(step))
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            resampled[part] = np.rint(weights @ hu[part].astype(np.float32) @ weights.T)
    return resampled


def _check(spacing: np.ndarray, target_mm: float, name: Callable[[int], str], remedy: str) -> None:
    """UserError naming the first slice whose spacing (N,) in mm cannot be a CT's; NaN cannot."""
    bad = np.flatnonzero(~((spacing >= LEAST_MM) & (spacing <= MOST_MM)))
    if not len(bad):
        return
    value = spacing[bad[0]]
    why = f"is {value:g} mm, which is not from {LEAST_MM:g} to {MOST_MM:g}" if value > 0 else "is not known"
    more = f" (so it is with {len(bad) - 1:,} more)" if len(bad) > 1 else ""
    raise UserError(
        f"{name(int(bad[0]))} cannot be brought to {target_mm:g} mm a pixel: its own pixel spacing {why}"
        f"{more}. {remedy}, or choose a model of native pixels (spacing_mm=0)."
    )


def _weights(step: float) -> np.ndarray:
    """(64, 64) float32: what each pixel of the crop gives to each of the new grid's, along one axis.

    `step` is how many of the crop's pixels the new grid's are apart.
    """
    wide = max(1.0, step)  # half the triangle's base
    at = CENTRE + (np.arange(SIZE) - CENTRE) * step
    reach = int(np.ceil(wide))
    # (64, taps), beyond the crop too
    pixels = np.floor(at).astype(int)[:, None] + np.arange(-reach, reach + 2)
    shares = np.clip(1 - np.abs(at[:, None] - pixels) / wide, 0, None)
    shares /= shares.sum(1, keepdims=True)
    folded = pixels % (2 * SIZE)
    folded = np.minimum(folded, 2 * SIZE - 1 - folded)  # mirrored at the outer edge of the border pixels
    weights = np.zeros((SIZE, SIZE))
    np.add.at(weights, (np.arange(SIZE)[:, None], folded), shares)
    return weights.astype(np.float32)
