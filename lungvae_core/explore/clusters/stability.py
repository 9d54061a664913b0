"""Stability of clusters over patients, and clusters of codes without groups.

Patients are drawn with replacement and each is taken once (about 63 % of them): a duplicate lesion would be a
peak of density. Adjusted Rand index: Hubert & Arabie 1985. Jaccard per cluster: Hennig 2007 (doi
10.1016/j.csda.2006.11.025), which calls a cluster of 0.75 and more valid, and one below 0.6 not to be
trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from lungvae_core.explore.clusters.methods import NOISE, Fit, silhouette
from lungvae_core.statistics.intervals import nan_as_none, percentile_interval
from lungvae_core.statistics.patients import draw_numbers

DISSOLVED = 0.5  # Hennig: a cluster that no new one is more alike than this is gone


def stability(
    fit: Fit,
    points: np.ndarray,
    members: np.ndarray,
    patients: np.ndarray,
    *,
    resamples: int,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """How similar clusters of points (M, D) are for other patients.

    `rand`: adjusted Rand indices of every two draws in a row, on the lesions that are in both; `jaccard`: for
    each of the clusters `members` (M,), similarity to the nearest cluster of a draw, on the draw's lesions.
    Both as {value (mean), low, high (the middle 95 % of draws)}.
    """
    rows = draws(patients, resamples, seed)
    redrawn = []
    for part in rows:
        redrawn.append(fit(points[part]))
        on_step()
    count = int(members.max()) + 1
    alike = [_jaccard(members[part], other, count) for part, other in zip(rows, redrawn, strict=True)]
    clusters = [int(each.max()) + 1 for each in redrawn]
    return {
        "rand": _spread(np.array(_in_a_row(rows, redrawn))),
        "clusters": {"low": min(clusters), "high": max(clusters)},
        "jaccard": [
            {**_spread(column), "dissolved": _spread((column <= DISSOLVED) + 0 * column)["value"]}
            for column in np.array(alike).reshape(len(rows), count).T
        ],
    }


def featureless(points: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` sets like points (M, D) but without groups: normal, with the same mean and covariance."""
    generator = np.random.default_rng(seed)
    centred = points - points.mean(0)
    # Through the singular values, which a covariance of fewer points than dimensions has too.
    _, scale, axes = np.linalg.svd(centred, full_matrices=False)
    scale = scale / np.sqrt(max(len(points) - 1, 1))
    return [
        points.mean(0) + (generator.normal(size=(len(points), len(scale))) * scale) @ axes
        for _ in range(count)
    ]


def without_groups(
    fit: Fit,
    sets: list[np.ndarray],
    patients: np.ndarray,
    *,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """The method's results on sets without groups: clusters, noise, silhouette and adjusted Rand index."""
    clusters, noise, widths, alike = [], [], [], []
    for number, points in enumerate(sets):
        members = fit(points)
        clusters.append(int(members.max()) + 1)
        noise.append(float(np.mean(members == NOISE)))
        widths.append(silhouette(pairwise_distances(points), members))
        rows = draws(patients, 2, seed + number)
        alike += _in_a_row(rows, [fit(points[part]) for part in rows])[:1]
        on_step()
    return {
        "sets": len(sets),
        "clusters": {"low": min(clusters), "high": max(clusters)},
        "noise": float(np.mean(noise)),
        "silhouette": _spread(np.array(widths)),
        "rand": _spread(np.array(alike)),
    }


def draws(patients: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """`count` times the rows of patients drawn with replacement, each patient once."""
    names, patient = np.unique(patients, return_inverse=True)
    drawn = draw_numbers(len(names), count, seed=seed)
    return [np.flatnonzero(np.isin(patient, numbers)) for numbers in drawn]


def _in_a_row(rows: list[np.ndarray], members: list[np.ndarray]) -> list[float]:
    """Adjusted Rand indices of each draw and the next, the last and the first, on the lesions in both.

    Two draws that both come out as one group agree on nothing, and do not count.
    """
    alike = []
    for at in range(len(rows)):
        other = (at + 1) % len(rows)
        _, here, there = np.intersect1d(rows[at], rows[other], return_indices=True)
        one, two = members[at][here], members[other][there]
        if other != at and len(here) and max(len(np.unique(one)), len(np.unique(two))) > 1:
            alike.append(float(adjusted_rand_score(one, two)))
    return alike


def _jaccard(members: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """(count,) of each cluster the largest Jaccard index with one of `other`; NaN where it was not drawn."""
    clustered, drawn = other != NOISE, members != NOISE
    sizes = np.bincount(other[clustered], minlength=1)
    own = np.bincount(members[drawn], minlength=count)
    both = np.zeros((count, len(sizes)))
    np.add.at(both, (members[clustered & drawn], other[clustered & drawn]), 1)
    return np.where(own > 0, (both / np.maximum(own[:, None] + sizes - both, 1)).max(1), np.nan)


def _spread(values: np.ndarray) -> dict[str, float | None]:
    """Mean and middle 95 % of the values that are known."""
    values = values[~np.isnan(values)]
    return nan_as_none(percentile_interval(values.mean() if len(values) else np.nan, values))
