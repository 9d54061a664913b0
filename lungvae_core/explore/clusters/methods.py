"""The ways to group M points (M, D), and how the settings of each are chosen: never by a label.

k-means: Lloyd 1982, k by the silhouette (Rousseeuw 1987). CLASSIX: Chen & Güttel 2022 (arXiv 2202.01456),
radius by the silhouette. HDBSCAN: Campello, Moulavi & Sander 2013 (doi 10.1007/978-3-642-37456-2_14), with
the smallest group fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import pairwise_distances, silhouette_score

from lungvae_core.errors import UserError

TITLES = {"kmeans": "k-means", "classix": "CLASSIX", "hdbscan": "HDBSCAN"}
METHODS = tuple(TITLES)
MOST_K = 15
RADII = tuple(np.round(np.arange(0.1, 1.0, 0.1), 2))  # of CLASSIX, in median distances from the mean
FINER = 0.025  # how far apart the radii lie that are tried around the best
LEAST_SHARE, LEAST = 0.01, 5  # the smallest group that CLASSIX and HDBSCAN may find: a share, and a number
MIN_SAMPLES = 5  # of HDBSCAN: the neighbours within which density is measured
NOISE = -1

Fit = Callable[[np.ndarray], np.ndarray]  # points (M, D) to the cluster of each (M,), NOISE for none


@dataclass(frozen=True)
class Method:
    """A method with the settings that were chosen for some points."""

    name: str
    settings: dict[str, Any]
    chosen_by: str
    curve: list[dict[str, Any]]  # what was tried
    fit: Fit


def choose(name: str, points: np.ndarray, *, seed: int = 0, distances: np.ndarray | None = None) -> Method:
    """One of METHODS with its settings chosen on points (M, D); `distances` (M, M) spares their computing."""
    if distances is None:
        distances = pairwise_distances(points)
    return {"kmeans": _kmeans, "classix": _classix, "hdbscan": _hdbscan}[name](points, distances, seed)


def silhouette(distances: np.ndarray, members: np.ndarray) -> float:
    """The mean silhouette, -1 to 1, of clustered points; NaN with fewer than two clusters."""
    clustered = members != NOISE
    if not 2 <= len(np.unique(members[clustered])) < clustered.sum():
        return np.nan
    within = distances if clustered.all() else distances[np.ix_(clustered, clustered)]
    return float(silhouette_score(within, members[clustered], metric="precomputed"))


def knee(numbers: list[int], falling: list[float]) -> int:
    """The elbow: where a falling curve lies furthest below the line between its ends (Satopää 2011)."""
    x, y = np.array(numbers, float), np.array(falling, float)
    across = (x - x[0]) / max(x[-1] - x[0], 1e-12)
    down = (y[0] - y) / max(y[0] - y[-1], 1e-12)
    return numbers[int(np.argmax(down - across))]


def ordered(members: np.ndarray) -> np.ndarray:
    """Clusters renumbered 0, 1, ... from the largest to the smallest; noise stays NOISE."""
    names, inverse, counts = np.unique(members, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), int)
    by_size = [at for at in np.argsort(-counts, kind="stable") if names[at] != NOISE]
    rank[by_size] = np.arange(len(by_size))
    rank[names == NOISE] = NOISE
    return rank[inverse]


def least(points: np.ndarray) -> int:
    """The smallest size of a cluster."""
    return max(LEAST, round(LEAST_SHARE * len(points)))


def fit_kmeans(points: np.ndarray, k: int, *, seed: int = 0) -> tuple[np.ndarray, float]:
    """(clusters (M,), inertia) of k-means, the best of ten starts."""
    model = KMeans(min(k, len(points)), n_init=10, random_state=seed).fit(points)
    return ordered(model.labels_), float(model.inertia_)


def _kmeans(points: np.ndarray, distances: np.ndarray, seed: int) -> Method:
    curve: list[dict[str, Any]] = []
    for k in range(2, max(2, min(MOST_K, len(points) // 3)) + 1):
        members, inertia = fit_kmeans(points, k, seed=seed)
        curve.append({"k": k, "silhouette": silhouette(distances, members), "inertia": inertia})
    best = _best(curve)
    k = best["k"] if best else 2
    elbow = knee([one["k"] for one in curve], [one["inertia"] for one in curve])
    return Method(
        "kmeans",
        {"k": k, "starts": 10, "elbow": elbow},
        f"the largest silhouette of k from 2 to {curve[-1]['k']}; the elbow of the inertia is at {elbow}",
        curve,
        lambda other: fit_kmeans(other, k, seed=seed)[0],
    )


def fit_classix(points: np.ndarray, radius: float) -> np.ndarray:
    """(M,) clusters of CLASSIX; all in one if it finds fewer than two of the least size.

    Deterministic. Small groups go to the nearest large one, so that there is no noise.
    """
    # Imported here, since it loads for a second.
    try:
        from classix import CLASSIX
    except ImportError as error:
        raise UserError(
            "CLASSIX is not installed: it has no ready package for this machine. With a compiler at hand, "
            "`pip install classixclustering` builds it."
        ) from error

    smallest = least(points)
    members = np.asarray(CLASSIX(radius=radius, minPts=smallest, verbose=0).fit(points).labels_)
    # Without any group of the least size every crumb is left as a cluster of its own.
    if np.unique(members, return_counts=True)[1].min() < smallest:
        return np.zeros(len(points), int)
    return ordered(members)


def _classix(points: np.ndarray, distances: np.ndarray, seed: int) -> Method:
    tried: dict[float, dict[str, Any]] = {}

    def attempt(radius: float) -> None:
        if radius not in tried and radius > 0:
            members = fit_classix(points, radius)
            tried[radius] = {
                "radius": radius,
                "clusters": int(members.max()) + 1,
                "silhouette": silhouette(distances, members),
            }

    # A radius groups anything only within a narrow range, which the dimensions move.
    for radius in RADII:
        attempt(float(radius))
    for step in (0.05, FINER):
        best = _best(list(tried.values()))
        centre = best["radius"] if best else _edge(tried)
        for way in (-1, 1):
            attempt(round(centre + way * step, 3))
    curve = [tried[radius] for radius in sorted(tried)]
    best = _best(curve)
    radius = best["radius"] if best else _edge(tried)
    radii = f"{len(curve)} radii"
    chosen_by = f"the largest silhouette of {radii}" if best else f"none of {radii} gives two groups"
    settings = {"radius": radius, "least": least(points)}
    return Method("classix", settings, chosen_by, curve, lambda other: fit_classix(other, radius))


def _edge(tried: dict[float, dict[str, Any]]) -> float:
    """Where no radius gave two groups: the middle of those tried."""
    return sorted(tried)[len(tried) // 2]


def fit_hdbscan(points: np.ndarray) -> np.ndarray:
    """(M,) clusters of HDBSCAN, NOISE where the density is too low for any."""
    smallest = least(points)
    model = HDBSCAN(min_cluster_size=smallest, min_samples=min(MIN_SAMPLES, len(points)), copy=True)
    return ordered(model.fit_predict(points))


def _hdbscan(points: np.ndarray, distances: np.ndarray, seed: int) -> Method:
    return Method(
        "hdbscan",
        {"least": least(points), "min_samples": MIN_SAMPLES},
        f"fixed: a cluster has at least {LEAST_SHARE:.0%} of the lesions; the number of clusters follows",
        [],
        fit_hdbscan,
    )


def _best(curve: list[dict[str, Any]]) -> dict[str, Any] | None:
    grouped = [one for one in curve if not np.isnan(one["silhouette"])]
    return max(grouped, key=lambda one: one["silhouette"], default=None)
