"""Outlines and descriptions of clusters on a map.

Clusters are computed in the latent space, which a map distorts, so a cluster need not be one region of the
map. Its outline is the smallest region that holds three quarters of its own points.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.report import Clusters
from lungvae_core.explore.clusters.words import cluster_name, cluster_words
from lungvae_core.explore.contours import Density
from lungvae_core.palette import OKABE_ITO

SHARE = 0.75
FEWEST = 8  # points that have an outline


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

    `members` (N,) is what `membership` gives for the map's points.
    """
    whole = Density(xy)
    outlined = []
    for cluster in clusters.report["methods"][method]["clusters"]:
        number = int(cluster["cluster"])
        own = xy[members == number]
        if len(own) < FEWEST:
            continue
        density = Density(own, frame=whole)
        lines = density.lines(density.level(SHARE))
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
