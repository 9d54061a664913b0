"""Where a map, or a cluster on it, is dense: the smallest regions that hold given shares of the points."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.measure import find_contours

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.report import Clusters
from lungvae_core.explore.clusters.words import cluster_name, cluster_words
from lungvae_core.palette import OKABE_ITO

SHARES = (0.25, 0.5, 0.75, 0.95)
CELLS = 160  # along the longer side of the map
OUTLINED = 0.75  # share of a cluster's points within its outline
FEWEST = 8  # points of a cluster that has an outline
MARGIN = 0.12  # of its extent, so that contours close


class Density:
    """Points xy (N, 2) counted in cells and smoothed; Scott's rule (1992) for the width.

    The rule assumes one mode; a map has many, so half of its width is used.
    """

    def __init__(self, xy: np.ndarray, *, frame: Density | None = None) -> None:
        """`frame`: another density whose cells and width are reused, such as the whole map's for a part."""
        xy = np.asarray(xy, np.float64)
        if frame is None:
            low, high = xy.min(0), xy.max(0)
            extent = np.maximum(high - low, 1e-6)
            self.low = low - MARGIN * extent.max()
            self.cell = float((extent.max() * (1 + 2 * MARGIN)) / CELLS)
            self.shape = tuple(int(n) for n in np.ceil((extent + 2 * MARGIN * extent.max()) / self.cell) + 1)
            spread = np.minimum(xy.std(0), np.subtract(*np.percentile(xy, [75, 25], axis=0)) / 1.34 + 1e-9)
            width = 0.5 * float(spread.mean()) * len(xy) ** (-1 / 6)
            self.sigma = float(np.clip(width / self.cell, 1.2, 8))
        else:
            self.low, self.cell, self.shape, self.sigma = frame.low, frame.cell, frame.shape, frame.sigma
        at = np.clip(((xy - self.low) / self.cell).astype(int), 0, np.array(self.shape) - 1)
        counts = np.zeros(self.shape)
        np.add.at(counts, (at[:, 0], at[:, 1]), 1)
        self.grid = gaussian_filter(counts, self.sigma)

    def level(self, share: float) -> float:
        """The density above which the smallest region with that share of the mass lies."""
        ordered = np.sort(self.grid, axis=None)[::-1]
        held = np.cumsum(ordered)
        return float(ordered[min(int(np.searchsorted(held, share * held[-1])), len(ordered) - 1)])

    def lines(self, level: float) -> list[list[list[float]]]:
        """The region's border, as closed lines of [x, y]."""
        borders = (line for line in find_contours(np.pad(self.grid, 1), level) if len(line) >= 8)
        places = ((line - 1 + 0.5) * self.cell + self.low for line in borders)
        return [np.round(_thinned(line), 4).tolist() for line in places]


def contours(xy: np.ndarray) -> list[dict[str, Any]]:
    """[{"share", "lines"}], the widest region first, of points xy (N, 2); empty with under 20 of them."""
    if len(xy) < 20:
        return []
    density = Density(xy)
    return [{"share": share, "lines": density.lines(density.level(share))} for share in sorted(SHARES)[::-1]]


def membership(clusters: Clusters, method: str, nodule_of_row: np.ndarray, unit: str) -> np.ndarray:
    """(N or M,) int: the cluster of each slice or nodule, -1 where it has none or was not clustered.

    `nodule_of_row` (N,) says which nodule a slice belongs to. Clusters of nodules reach their slices; those
    of slices reach the nodules by their most frequent cluster.
    """
    if method not in clusters.members:
        methods = ", ".join(clusters.members)
        raise UserError(f"The model has no clusters by {method[:20]!r}; it has those by {methods}.")
    count = int(nodule_of_row.max()) + 1 if clusters.unit == "nodule" else len(nodule_of_row)
    own = np.full(count, -1)
    own[clusters.at] = clusters.members[method]
    if unit == clusters.unit:
        return own
    if clusters.unit == "nodule":
        return own[nodule_of_row]
    nodules = int(nodule_of_row.max()) + 1
    votes = np.zeros((nodules, int(own.max()) + 2), int)
    np.add.at(votes, (nodule_of_row, own + 1), 1)
    return votes.argmax(1) - 1


def outlines(clusters: Clusters, method: str, members: np.ndarray, xy: np.ndarray) -> list[dict[str, Any]]:
    """[{"cluster", "name", "words", "colour", "count", "centre", "lines"}] on a map xy (N, 2).

    An outline is the smallest region that holds three quarters of a cluster's points on the map. The map
    distorts the latent space, in which clusters are computed, so a cluster need not be one region of it.
    `members` (N,) is what `membership` gives for the map's points.
    """
    whole = Density(xy)
    outlined = []
    for number, cluster in enumerate(clusters.report["methods"][method]["clusters"]):
        own = xy[members == number]
        if len(own) < FEWEST:
            continue
        density = Density(own, frame=whole)
        lines = density.lines(density.level(OUTLINED))
        if not lines:
            continue
        # The label stands where the cluster is densest, which lies in it, unlike a mean.
        peak = np.unravel_index(int(density.grid.argmax()), density.grid.shape)
        centre = (np.array(peak) + 0.5) * density.cell + density.low
        outlined.append(
            {
                "cluster": number,
                "name": f"{number + 1}: {cluster_name(cluster)}",
                "words": cluster_words(cluster),
                "colour": OKABE_ITO[number % len(OKABE_ITO)],
                "count": len(own),
                "centre": np.round(centre, 4).tolist(),
                "lines": lines,
            }
        )
    return outlined


def _thinned(line: np.ndarray, most: int = 160) -> np.ndarray:
    """A line of at most about so many places; both ends stay."""
    if len(line) <= most:
        return line
    step = -(-len(line) // most)
    return np.concatenate([line[:-1:step], line[-1:]])
