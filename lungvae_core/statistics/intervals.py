"""Intervals: percentiles of resampled figures, and Wilson's of a share."""

from __future__ import annotations

import math

import numpy as np

LEVELS = (2.5, 97.5)  # percentiles of a 95 % interval


def percentiles(drawn: np.ndarray) -> np.ndarray:
    """(2, ...) the ends of the 95 % percentile interval of resampled figures (B, ...).

    Resamples without a figure, NaN or infinite, are left out; NaN where no resample gave the figure.
    """
    drawn = np.where(np.isfinite(drawn), drawn, np.nan)
    flat = drawn.reshape(len(drawn), math.prod(drawn.shape[1:]))
    ends = np.full((2, flat.shape[1]), np.nan)
    given = ~np.isnan(flat).all(axis=0)
    if given.any():
        ends[:, given] = np.nanpercentile(flat[:, given], LEVELS, axis=0)
    return ends.reshape(2, *drawn.shape[1:])


def percentile_interval(value: float, drawn: np.ndarray) -> dict[str, float]:
    """{value, low, high}: a figure and the 95 % percentile interval of its resamples (B,)."""
    low, high = percentiles(drawn)
    return {"value": float(value), "low": float(low), "high": float(high)}


def against_null(value: float, null: np.ndarray) -> dict[str, float]:
    """{null, null_high, p} of a figure beside those (B,), B > 0, of data in which there is nothing to find.

    Their mean, their 95th percentile, and the one-sided p: how often they are as large.
    """
    as_large = null >= value - 1e-12  # a tie, but for rounding
    return {
        "null": float(null.mean()),
        "null_high": float(np.percentile(null, 95)),
        "p": float((1 + as_large.sum()) / (1 + len(null))),
    }


def nan_as_none(figure: dict[str, float]) -> dict[str, float | None]:
    """A figure with its interval for JSON, which has no NaN: None for what could not be computed."""
    return {name: None if np.isnan(value) else value for name, value in figure.items()}


def wilson(share: float, count: int) -> tuple[float, float]:
    """(low, high): Wilson's 95 % interval of a share of `count` independent cases (Wilson 1927)."""
    if count <= 0 or not np.isfinite(share):
        return float("nan"), float("nan")
    z = 1.959963984540054
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))
