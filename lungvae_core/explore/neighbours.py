"""The nearest of codes or points, their votes, and the position on a map that follows from them."""

from __future__ import annotations

import numpy as np

from lungvae_core.statistics.rates import share

# Shares of the lesions that are nearer to another patient's than a new one: from the first on it is unusual,
# from the second far from all training lesions.
UNUSUAL, FAR = 0.8, 0.95
VOTERS = 15  # neighbours whose vote measures how far two classes lie apart


def nearest(
    points: np.ndarray,
    point: np.ndarray,
    count: int,
    *,
    patients: np.ndarray | None = None,
    exclude_patient: str | None = None,
    one_per_patient: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, distances) of the `count` points (N, D) nearest to `point` (D,), nearest first.

    `exclude_patient` leaves out the lesion's own patient, whose other slices would always come first;
    `one_per_patient` keeps only the nearest slice of each patient.
    """
    distance = np.linalg.norm(points - point, axis=1)
    if patients is None and count < len(distance):
        near = np.argpartition(distance, count)[:count]
        order = near[np.lexsort((near, distance[near]))]
    else:
        order = np.argsort(distance, kind="stable")
    if patients is not None:
        order = _of_others(order, patients, exclude_patient, one_per_patient, count)
    rows = order[:count]
    return rows, distance[rows]


def _of_others(
    order: np.ndarray, patients: np.ndarray, exclude: str | None, one_each: bool, count: int
) -> np.ndarray:
    """The first `count` rows of an order that are not of the patient `exclude`, or of one that was before."""
    rows: list[int] = []
    left_out = set() if exclude is None else {exclude}
    for row in order:  # seldom to its end
        if len(rows) == count:
            break
        if patients[row] not in left_out:
            rows.append(int(row))
            if one_each:
                left_out.add(patients[row])
    return np.array(rows, np.int64)


def votes(points: np.ndarray, labels: np.ndarray, patients: np.ndarray, count: int = VOTERS) -> np.ndarray:
    """(N,) share of 1 among the labels (N,) of 0 and 1 of each point's `count` nearest of other patients.

    NaN for a point without any of another patient.
    """
    squares = (points**2).sum(1)
    apart = squares[:, None] + squares - 2 * points @ points.T
    apart[patients[:, None] == patients] = np.inf
    count = min(count, len(points))
    near = np.argpartition(apart, count - 1, axis=1)[:, :count]
    others = np.isfinite(np.take_along_axis(apart, near, 1))
    return share(np.where(others, labels[near], 0).sum(1), others.sum(1))


def place(xy: np.ndarray, rows: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """(2,) a position on the map xy (N, 2): the mean of the neighbours' places, weighted by nearness."""
    weights = 1 / (distances + max(float(distances.mean()) * 0.1, 1e-9))
    return np.average(xy[rows], axis=0, weights=weights).astype(np.float32)
