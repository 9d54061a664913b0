"""Typical figures of a group of slices, compared with all others, and its middle.

A group is drawn on a map because its points look similar, so a difference describes the group; it is not a
hypothesis test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.explore.neighbours import nearest
from lungvae_core.statistics.intervals import percentiles
from lungvae_core.statistics.patients import draw_numbers
from lungvae_core.statistics.rates import share
from lungvae_core.vae.latents import FAMILIES

RESAMPLES = 1000
FEWEST_PATIENTS = 5  # in the group and beside it, for an interval; fewer do not represent other patients


@dataclass(frozen=True)
class Contrast:
    """One figure of a group's nodules and that of all other nodules, in the figure's own unit."""

    name: str
    group: float  # means over nodules; NaN where no nodule has the figure
    rest: float
    difference: float  # group - rest
    low: float  # 95 % percentile interval of the difference over patients drawn again; NaN with too few
    high: float
    spread: float  # standard deviation over all nodules
    nodules: int  # of the group that have the figure

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.low > 0 or self.high < 0)


def contrasts(
    values: pd.DataFrame,
    nodules: np.ndarray,
    patients: np.ndarray,
    rows: np.ndarray,
) -> list[Contrast]:
    """Each column of `values` (N slices, NaN where not known) in the group `rows` against the rest.

    `nodules` and `patients` (N,) number each slice's nodule and patient from 0. A nodule counts once: in the
    group by the mean of its slices in `rows`, in the rest by all its slices if none of them is in the group.
    Intervals come from drawing whole patients, whose nodules and slices are alike.
    """
    table = values.to_numpy(np.float64)
    count = int(nodules.max()) + 1 if len(nodules) else 0
    chosen = np.zeros(len(table), bool)
    chosen[rows] = True
    inside = np.zeros(count, bool)
    inside[nodules[chosen]] = True
    counted = chosen | ~inside[nodules]
    by_nodule = share(*_sums(np.where(counted[:, None], table, np.nan), nodules, count))  # (nodules, F)
    patient_of = np.zeros(count, int)
    patient_of[nodules] = patients
    people = int(patients.max()) + 1 if len(patients) else 0
    parts = [
        _sums(np.where(side[:, None], by_nodule, np.nan), patient_of, people) for side in (inside, ~inside)
    ]
    numbers = draw_numbers(people, RESAMPLES)
    drawn = np.array([np.bincount(each, minlength=people) for each in numbers])  # (B, people)
    group, rest = (share(sums.sum(0), counts.sum(0)) for sums, counts in parts)
    apart = np.subtract(*(share(drawn @ sums, drawn @ counts) for sums, counts in parts))  # (B, F)
    enough = np.min([(counts > 0).sum(0) for _, counts in parts], axis=0) >= FEWEST_PATIENTS
    low, high = np.where(enough, percentiles(apart), np.nan)
    measured = [of_all[np.isfinite(of_all)] for of_all in by_nodule.T]
    return [
        Contrast(
            name=str(name),
            group=float(group[at]),
            rest=float(rest[at]),
            difference=float(group[at] - rest[at]),
            low=float(low[at]),
            high=float(high[at]),
            spread=float(measured[at].std()) if len(measured[at]) else float("nan"),
            nodules=int(parts[0][1][:, at].sum()),
        )
        for at, name in enumerate(values.columns)
    ]


def by_nearness(codes: np.ndarray, rows: np.ndarray, code: np.ndarray, *, prior: str) -> np.ndarray:
    """`rows` (M,) of codes (N, K), those nearest to `code` (K,) first."""
    features = FAMILIES[prior].features
    order, _ = nearest(features(codes[rows]), features(code[None])[0], len(rows))
    return np.asarray(rows)[order]


def _sums(table: np.ndarray, of: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums and counts (count, F) of the known values of table (N, F) by the number `of` (N,) of each row."""
    measured = np.isfinite(table)
    sums = [np.bincount(of, values, count) for values in np.where(measured, table, 0).T]
    counts = [np.bincount(of, each, count) for each in measured.T]
    return np.stack(sums, axis=1), np.stack(counts, axis=1)
