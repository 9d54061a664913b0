"""Ways through a latent space other than one dimension: from A to B, along neighbours, along a drawn line.

Every code on a way is valid: ways are convex combinations of valid codes, or go through `coordinates.Space`,
where every point is valid.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from lungvae_core.errors import UserError
from lungvae_core.explore.coordinates import Space
from lungvae_core.explore.traversal import strip
from lungvae_core.vae.latents import FAMILIES, Latent

STRAIGHT, SIMPLEX, ROUND, NEIGHBOURS = "straight", "simplex", "round", "neighbours"
_ALONG_NEIGHBOURS = "Along neighbours: from lesion to lesion, each among the nearest of the one before."
# The ways from A to B, and what each does: on the simplex, and elsewhere.
_ON_SIMPLEX = {
    STRAIGHT: "Straight: the shares of A fade while those of B grow.",
    SIMPLEX: "Along the simplex: straight in log-ratios: shares change by factors (Aitchison 1982).",
    NEIGHBOURS: _ALONG_NEIGHBOURS,
}
_ELSEWHERE = {
    STRAIGHT: "Straight: every dimension changes evenly from A to B.",
    ROUND: "Round: turns from A's direction to B's and keeps the distance from the prior's mean, where "
    "straight ways cut through codes that are nearer to it than lesions are (White 2016).",
    NEIGHBOURS: _ALONG_NEIGHBOURS,
}
HOPS = 10  # nearest lesions that a lesion is linked with
PULL = 8  # lesions that a place of a drawn line takes its code from


def ways_of(prior: str) -> dict[str, str]:
    """The kinds of ways from A to B under a prior, and what each does."""
    return _ON_SIMPLEX if FAMILIES[prior].simplex else _ELSEWHERE


def straight(latent: Latent, a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """(steps, K) float32: the straight way from a to b, (K,) each."""
    return _ends(latent.interpolate(a, b, steps), a, b)


def along_simplex(space: Space, a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """(steps, K) float32: straight in the coordinates of `space`, which for the simplex are log-ratios."""
    ends = space.to(np.stack([a, b]))
    t = np.linspace(0, 1, steps)[:, None]
    return _ends(space.back((1 - t) * ends[0] + t * ends[1]), a, b)


def round_way(a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """(steps, K) float32: turning about 0, the length changing evenly (White 2016, arXiv 1609.04468)."""
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) < 1e-6:
        return _ends(np.linspace(a, b, steps), a, b)
    unit = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip(unit[0] @ unit[1], -1, 1))
    t = np.linspace(0, 1, steps)[:, None]
    if angle < 1e-4 or angle > np.pi - 1e-4:  # no one arc leads from a direction to itself or its opposite
        return _ends((1 - t) * a + t * b, a, b)
    turned = (np.sin((1 - t) * angle) * unit[0] + np.sin(t * angle) * unit[1]) / np.sin(angle)
    return _ends(turned * ((1 - t) * lengths[0] + t * lengths[1]), a, b)


class Graph:
    """Lesions linked with their nearest; a link costs its squared distance, so that short hops are cheap."""

    def __init__(self, codes: np.ndarray, prior: str, *, hops: int = HOPS) -> None:
        """Of codes (M, K), preferably one per nodule, since slices of one nodule nearly coincide."""
        self.codes, self.hops = np.asarray(codes, np.float32), min(hops, len(codes) - 1)
        self._features = FAMILIES[prior].features
        self._points = self._features(self.codes)
        squares = _squares(self._points, self._points)
        np.fill_diagonal(squares, np.inf)
        self._nearest = np.argsort(squares, axis=1)[:, : self.hops]
        self._costs = np.take_along_axis(squares, self._nearest, axis=1)

    def way(self, a: np.ndarray, b: np.ndarray, *, without: np.ndarray | None = None) -> np.ndarray:
        """Members of `codes` on the cheapest way from a to b, (K,) each, in order.

        `without` (M,) bool leaves lesions out, as A's and B's own. Raises UserError where no way is left.
        """
        count = len(self.codes)
        allowed = np.ones(count, bool) if without is None else ~without
        if not allowed.any():
            raise UserError("There are no other lesions to go along.")
        ends = self._features(np.stack([a, b]).astype(np.float32))
        squares = np.where(allowed, _squares(ends, self._points), np.inf)  # (2, M)
        starts = np.argsort(squares, axis=1)[:, : min(self.hops, int(allowed.sum()))]
        rows = np.repeat(np.arange(count), self.hops)
        columns, costs = self._nearest.ravel(), self._costs.ravel()
        usable = allowed[rows] & allowed[columns]
        parts = [(rows[usable], columns[usable], costs[usable])]
        for end, near in enumerate(starts):
            parts.append((np.full(len(near), count + end), near, squares[end, near]))
        i, j, cost = (np.concatenate(each) for each in zip(*parts, strict=True))
        weights = csr_matrix((np.maximum(cost, 1e-9), (i, j)), shape=(count + 2, count + 2))
        far, before = dijkstra(weights, directed=False, indices=count, return_predecessors=True)
        if not np.isfinite(far[count + 1]):
            raise UserError("No chain of neighbours leads from A to B. Go straight, or choose other lesions.")
        passed, at = [], int(before[count + 1])
        while at != count:
            passed.append(at)
            at = int(before[at])
        return np.array(passed[::-1], int)


def along(a: np.ndarray, b: np.ndarray, through: np.ndarray, steps: int) -> np.ndarray:
    """(steps, K) float32: from a through the codes (P, K) to b, in even steps, with smoothed corners."""
    line = np.concatenate([a[None], through, b[None]]).astype(np.float64)
    fine = _even(line, max(8 * steps, 64))
    width = max(3, len(fine) // max(len(line), 2))
    reach = np.minimum(np.minimum(np.arange(len(fine)), np.arange(len(fine))[::-1]), width)
    # Means over windows that shrink towards the ends: convex, so valid, and the ends stay where they are.
    sums = np.concatenate([np.zeros((1, line.shape[1])), np.cumsum(fine, axis=0)])
    at = np.arange(len(fine))
    smooth = (sums[at + reach + 1] - sums[at - reach]) / (2 * reach + 1)[:, None]
    return _ends(_even(smooth, steps), a, b)


def along_map(
    xy: np.ndarray, codes: np.ndarray, points: np.ndarray, steps: int, latent: Latent
) -> tuple[np.ndarray, np.ndarray]:
    """(codes (steps, K), places (steps, 2)) along a line of points (P, 2) drawn on a map xy (N, 2) of codes.

    A map cannot be run backwards, so each place takes the mean code of the lesions drawn nearest to it,
    weighted by nearness: on a lesion it is that lesion. UserError where the line has fewer than two places.
    """
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise UserError("A line on the map needs two places or more. Draw it again.")
    places = _even(points, steps)
    squares = _squares(places, np.asarray(xy, np.float64))  # (steps, N)
    near = np.argpartition(squares, min(PULL, len(xy) - 1), axis=1)[:, :PULL]
    apart = np.take_along_axis(squares, near, axis=1)
    weights = 1 / (apart + 1e-3 * apart.mean(1, keepdims=True) + 1e-12) ** 1.5
    weights /= weights.sum(1, keepdims=True)
    return latent.valid(np.einsum("sn,snk->sk", weights, codes[near])), places.astype(np.float32)


def grid(
    latent: Latent, code: np.ndarray, first: int, second: int, spans: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(codes (steps, steps, K), values (steps,) of `first`, of `second`): two dimensions over spans (2, 2).

    Rows are `second`, from its greatest value down, columns `first`. On the simplex two shares that add up to
    more than one are scaled down to one.
    """
    if first == second:
        raise UserError("A grid needs two different dimensions.")
    ends = zip((first, second), spans, strict=True)
    across, up = (latent.spaced(at, low, high, steps) for at, (low, high) in ends)
    codes = [[latent.edited(code, {first: float(x), second: float(y)}) for x in across] for y in up[::-1]]
    return np.array(codes, np.float32), across, up[::-1]


def sheet(
    latent: Latent, code: np.ndarray, dimensions: list[int], spans: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(codes (D, steps, K), values (D, steps)): each of D dimensions alone over its span (D, 2)."""
    walks = [strip(latent, code, at, span, steps) for at, span in zip(dimensions, spans, strict=True)]
    return np.stack([codes for _, codes in walks]), np.stack([values for values, _ in walks])


def _ends(codes: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The path with its ends set to exactly a and b."""
    codes = np.asarray(codes, np.float32).copy()
    codes[0], codes[-1] = a, b
    return codes


def _even(line: np.ndarray, steps: int) -> np.ndarray:
    """(steps, D) places on a line of corners (P, D) at even distances along it."""
    lengths = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along_it = np.concatenate([[0], np.cumsum(lengths)])
    if along_it[-1] == 0:
        return np.repeat(line[:1], steps, axis=0)
    at = np.linspace(0, along_it[-1], steps)
    return np.stack([np.interp(at, along_it, line[:, axis]) for axis in range(line.shape[1])], axis=1)


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, B) squared distances of a (A, D) and b (B, D)."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
