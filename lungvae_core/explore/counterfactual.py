"""The smallest change of a code that takes the classifier's score past a threshold.

Of all codes on the other side, the one nearest to the lesion's own (Wachter et al., arXiv 1711.00399), in the
Mahalanobis distance under the lesions' covariance, in standardised coordinates (Gaussian) or standardised
centred log-ratios (Dirichlet), from which every point is a valid code. It stays within the range of the
lesions in every dimension, with a penalty for being farther from the nearest lesion than lesions are from
each other.

The search walks along the score's threshold towards the start: Rackwitz and Fiessler's iteration (1978, doi
10.1016/0045-7949(78)90046-9), from structural reliability, from several starts. It describes the model and
its classifier, not a cause or course of disease.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from lungvae_core.data.outlines import segment
from lungvae_core.data.properties import PROPERTIES, measure
from lungvae_core.errors import UserError
from lungvae_core.explore.coordinates import Space
from lungvae_core.explore.neighbours import FAR
from lungvae_core.training.classifier import Classifier

THRESHOLD = 0.5
RESTARTS, STEPS = 6, 24
PATH = 9  # codes from before to after
LONGEST = 3.0  # of one step; the score is not linear beyond
_PAST = 1e-3  # of a logit, by which the result is past the threshold
SPARSE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


@dataclass(frozen=True)
class Counterfactual:
    """The result. Codes are (K,) float32; scores 0..1; distances in the lesions' standard deviations."""

    before: np.ndarray
    after: np.ndarray
    score_before: float
    score_after: float
    target: float  # the score that is passed
    upwards: bool
    already: bool  # the lesion was on that side, so nothing is changed
    path: np.ndarray  # (PATH, K) valid codes from before to after
    path_scores: np.ndarray  # (PATH,)
    distance: float  # between before and after
    dimensions: tuple[int, ...]  # that were allowed to change, the largest change first
    nearest_before: float  # distance to the nearest lesion of another patient
    nearest_after: float
    nearest_row: int  # that lesion's row, after
    far_before: float  # share of the lesions that are nearer to one of another patient
    far_after: float
    straight: float | None  # the straight way to the nearest lesion that scores on the other side
    seed: int

    @property
    def warning(self) -> str:
        """A sentence where the result is far from all lesions; else empty."""
        if self.already or self.far_after < FAR:
            return ""
        return (
            f"The changed code is farther from every lesion than {min(self.far_after, 0.99):.0%} of the "
            "lesions are from their nearest: neither the image nor the score can be relied on there."
        )

    def in_words(self, measured: list[Change]) -> str:
        """A sentence in Markdown on what changes in the generated lesion, given `changes` along the path."""
        verb = "raises" if self.upwards else "lowers"
        what = ", ".join(in_words(measured)) or "changes by nothing that is measured"
        return (
            f"**What {verb} the score from {self.score_before:.2f} past {self.target:g}:** the generated "
            f"lesion {what}."
        )

    def summary(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        plain = {name: value for name, value in vars(self).items() if not isinstance(value, np.ndarray)}
        plain["wanted"] = plain.pop("target")  # its name in stored and sent JSON
        return plain | {
            "before": self.before.tolist(),
            "after": self.after.tolist(),
            "path_scores": self.path_scores.tolist(),
            "dimensions": list(self.dimensions),
            "warning": self.warning,
        }


class Lesions:
    """The codes (N, K) of lesions, near which a counterfactual stays, and the metric that they define."""

    def __init__(
        self, classifier: Classifier, codes: np.ndarray, patients: Sequence[str] | np.ndarray
    ) -> None:
        """Of a classifier's codes (N, K) of patients (N,)."""
        # With the classifier's own pseudo-count, so that its inputs are these coordinates.
        self.space = Space.fit(codes, simplex=classifier.inputs.simplex, pseudo=1e-5)
        self.codes = np.asarray(codes, np.float32)
        self.names, self.patient = np.unique(np.asarray(patients).astype(str), return_inverse=True)
        self.points = self.space.to(codes)
        covariance, _ = ledoit_wolf(self.points)
        self.precision = np.linalg.inv(covariance)
        self.root = np.linalg.cholesky(self.precision).T  # |root u| is the distance
        self.low, self.high = np.percentile(self.points, [0.5, 99.5], axis=0)
        self.rooted = (self.points @ self.root.T).astype(np.float32)
        self.squares = (self.rooted**2).sum(1)
        self._typical = np.sort(self._sampled())
        # How far a lesion is from the nearest of another patient, at most, but for a few.
        self.usual = float(np.quantile(self._typical, FAR)) if len(self._typical) else float("inf")

    def others(self, patient: str | None) -> np.ndarray:
        """Rows of every lesion but those of a patient; of all where there is no other."""
        at = np.flatnonzero(self.names == patient)
        rows = np.flatnonzero(self.patient != (at[0] if len(at) else -1))
        return rows if len(rows) else np.arange(len(self.patient))

    def nearest(self, points: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, distance) of the lesion among `rows` that is nearest to each of coordinates (M, K)."""
        rooted = points @ self.root.T
        squares = (rooted**2).sum(1)[:, None] + self.squares[rows] - 2 * rooted @ self.rooted[rows].T
        at = squares.argmin(1)
        return rows[at], np.sqrt(np.maximum(squares[np.arange(len(at)), at], 0))

    def far(self, distance: float) -> float:
        """The share of the lesions that are nearer to one of another patient."""
        if not len(self._typical):
            return 0.0
        return float(np.searchsorted(self._typical, distance) / len(self._typical))

    def _sampled(self) -> np.ndarray:
        count = len(self.patient)
        sample = np.random.default_rng(0).choice(count, min(400, count), replace=False)
        squares = self.squares[sample, None] + self.squares - 2 * self.rooted[sample] @ self.rooted.T
        squares[self.patient[sample, None] == self.patient] = np.inf
        nearest = np.sqrt(np.maximum(squares.min(1), 0))
        return nearest[np.isfinite(nearest)]


def counterfactual(
    lesions: Lesions,
    classifier: Classifier | None,
    code: np.ndarray,
    *,
    patient: str | None = None,
    target: float = THRESHOLD,
    towards: str | None = None,
    dimensions: int | None = None,
    seed: int = 0,
) -> Counterfactual:
    """The smallest change of `code` (K,) that takes its score past `target` (0..1).

    `towards` is "malignant" (upwards) or "benign"; by default the side where the code is not. `patient`'s own
    lesions do not count as near. `dimensions`: at most so many may change (0: as few as are enough). Raises
    UserError without a classifier, and where no such code is within the lesions' range.
    """
    if classifier is None:
        raise UserError(
            "This model has no classifier, so that there is no score to change. Make one with "
            "`lungvae classify`, which needs labels of both classes."
        )
    if not 0 < target < 1:
        raise UserError(f"The score to pass is {target:g}; it must be above 0 and below 1.")
    if towards not in (None, "malignant", "benign"):
        raise UserError(f"The score can go towards malignant or benign, not {towards!r}.")
    search = _Search(lesions, classifier, np.asarray(code, np.float32), patient, target, towards)
    end = None if search.already else search.end(dimensions, seed)
    if end is None and not search.already:
        few = "" if not dimensions else f" by {dimensions} dimension(s) alone"
        raise UserError(
            f"No code within the range of the lesions takes the score past {target:g}{few}. Choose a score "
            "nearer to the lesion's own, or more dimensions."
        )
    return search.result(end, seed)


class _Search:
    """The search from one start for the nearest code on the other side of the threshold."""

    def __init__(
        self,
        lesions: Lesions,
        classifier: Classifier,
        code: np.ndarray,
        patient: str | None,
        target: float,
        towards: str | None,
    ) -> None:
        self.lesions, self.classifier, self.code, self.target = lesions, classifier, code, target
        space = lesions.space
        self.start = space.to(code[None])[0]
        self.logit_before = float(classifier.logits(code[None])[0])
        self.threshold = float(logit(target))
        upwards = self.logit_before < self.threshold if towards is None else towards == "malignant"
        self.sign = 1.0 if upwards else -1.0
        self.already = self.sign * (self.logit_before - self.threshold) >= 0
        self.low = np.minimum(lesions.low, self.start)
        self.high = np.maximum(lesions.high, self.start)
        self.rows = lesions.others(patient)
        # A start that is far itself need not come nearer.
        self.usual = max(lesions.usual, self._nearest(self.start)[1])
        # Distances of the start's own line of equal codes count nothing: adding one number to all logarithms.
        self.quadratic = lesions.precision
        if space.pseudo:
            null = np.outer(1 / space.deviation, space.deviation) / space.dimensions
            keep = np.eye(space.dimensions) - null
            self.quadratic = keep.T @ lesions.precision @ keep
        self.nearest_opposite: np.ndarray | None = None
        self.straight: float | None = None
        past = self.past(classifier.logits(lesions.codes[self.rows]))
        if past.any():
            row, distance = lesions.nearest(self.start[None], self.rows[past])
            self.nearest_opposite, self.straight = lesions.points[row[0]], float(distance[0])

    def end(self, dimensions: int | None, seed: int) -> np.ndarray | None:
        """The nearest coordinates (K,) past the threshold, by `dimensions` at most; None without any."""
        generator = np.random.default_rng(seed)
        end = self.solve(np.arange(self.lesions.space.dimensions), generator)
        if end is None or dimensions is None:
            return end
        return self.sparse(end, dimensions, generator)

    def result(self, end: np.ndarray | None, seed: int) -> Counterfactual:
        """The path from the start to coordinates `end` (K,); without these, the lesion as it is."""
        space, score = self.lesions.space, float(expit(self.logit_before))
        path, scores, reached = np.repeat(self.code[None], PATH, axis=0), np.full(PATH, score), self.start
        if end is not None:
            t = np.linspace(0, 1, PATH)[:, None]
            path = space.back(self.start + t * (end - self.start))
            path[0] = self.code
            scores, reached = expit(self.classifier.logits(path).astype(np.float64)), space.to(path[-1:])[0]
        else:
            end = self.start
        change = np.abs(end - self.start)
        order = np.argsort(-change, kind="stable")
        (_, before), (row, after) = (self._nearest(point) for point in (self.start, reached))
        return Counterfactual(
            before=self.code,
            after=path[-1],
            score_before=score,
            score_after=float(scores[-1]),
            target=self.target,
            upwards=self.sign > 0,
            already=self.already,
            path=path,
            path_scores=scores,
            distance=self.length(end),
            dimensions=tuple(int(at) for at in order if change[at] > 1e-9),
            nearest_before=before,
            nearest_after=after,
            nearest_row=row,
            far_before=self.lesions.far(before),
            far_after=self.lesions.far(after),
            straight=self.straight,
            seed=seed,
        )

    def _nearest(self, point: np.ndarray) -> tuple[int, float]:
        """(row, distance) of the nearest lesion of coordinates (K,)."""
        rows, distances = self.lesions.nearest(point[None], self.rows)
        return int(rows[0]), float(distances[0])

    def past(self, logits: np.ndarray) -> np.ndarray:
        """(M,) bool: which logits are past the threshold."""
        return self.sign * (logits - self.threshold) >= _PAST

    def length(self, point: np.ndarray) -> float:
        """The distance of coordinates (K,) from the start."""
        step = point - self.start
        return float(np.sqrt(max(step @ self.quadratic @ step, 0)))

    def solve(self, allowed: np.ndarray, generator: np.random.Generator) -> np.ndarray | None:
        """The nearest point (K,) past the threshold that differs in the allowed dimensions only, or None."""
        space, size = self.lesions.space, len(allowed)
        inner = self.quadratic[np.ix_(allowed, allowed)]
        # The line of equal codes has no length; a little of it keeps the root of the metric invertible.
        values, vectors = np.linalg.eigh(inner)
        basis = vectors / np.sqrt(np.maximum(values, 1e-2 * values.max()))  # |y| is the distance of basis y
        spread = np.zeros((space.dimensions, size))
        spread[allowed] = basis
        back = np.zeros((size, space.dimensions))
        back[:, allowed] = np.linalg.inv(basis)
        y = 0.3 * generator.standard_normal((RESTARTS, size)) / np.sqrt(size)
        y[0] = 0
        if self.nearest_opposite is not None:
            y = np.concatenate([y, (back @ (self.nearest_opposite - self.start))[None]])
        ends = [y]
        for _ in range(STEPS):
            y = self._step(y, spread, back)
            ends.append(y)
        points = self.start + np.concatenate(ends[-3:] + ends[:1]) @ spread.T
        return self._best(self._crossings(self._inside(points)))

    def _step(self, y: np.ndarray, spread: np.ndarray, back: np.ndarray) -> np.ndarray:
        """Closer to the start along the threshold, and onto it, for each of y (R, size).

        `spread` (K, size) makes steps in coordinates of y, `back` (size, K) the other way.
        """
        points = self.start + y @ spread.T
        logits, gradient = self._logits(points)
        gradient = gradient @ spread
        square = np.maximum((gradient**2).sum(1, keepdims=True), 1e-12)
        pull = y + self._strangeness(points) @ spread
        along = pull - (pull * gradient).sum(1, keepdims=True) * gradient / square
        goal = self.threshold + self.sign * 10 * _PAST
        step = (goal - logits)[:, None] * gradient / square - 0.7 * along
        length = np.linalg.norm(step, axis=1, keepdims=True)
        y = y + step * np.minimum(1, LONGEST / np.maximum(length, 1e-12))
        # Back into the lesions' range; what is clipped in one dimension is made up for in the next step.
        inside = self._inside(self.start + y @ spread.T) - self.start
        return inside @ back.T

    def _strangeness(self, points: np.ndarray) -> np.ndarray:
        """(R, K) the gradient of half the square by which the nearest lesion is farther than is usual."""
        row, distance = self.lesions.nearest(points, self.rows)
        excess = np.maximum(distance - self.usual, 0)
        away = (points - self.lesions.points[row]) @ self.lesions.precision
        return (excess / np.maximum(distance, 1e-12))[:, None] * away

    def _excess(self, points: np.ndarray) -> np.ndarray:
        """(R,) by how much the nearest lesion is farther than is usual; 0 where it is not."""
        return np.maximum(self.lesions.nearest(points, self.rows)[1] - self.usual, 0)

    def _logits(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(logits (R,), their gradients (R, K)) at coordinates (R, K)."""
        at = torch.tensor(points, dtype=torch.float32, requires_grad=True)
        with torch.enable_grad():
            logits = self.classifier(_back(self.lesions.space, at))
            (gradient,) = torch.autograd.grad(logits.sum(), at)
        return logits.detach().numpy().astype(np.float64), gradient.numpy().astype(np.float64)

    def _past(self, points: np.ndarray) -> np.ndarray:
        return self.past(self.classifier.logits(self.lesions.space.back(points)))

    def _inside(self, points: np.ndarray) -> np.ndarray:
        return np.clip(points, self.low, self.high)

    def _crossings(self, points: np.ndarray) -> np.ndarray:
        """Where the straight ways from the start to each of points (R, K), or a little on, first cross."""
        t = np.linspace(0, 1.2, 25)
        ways = self.start + t[None, :, None] * (points - self.start)[:, None]
        past = self._past(ways.reshape(-1, points.shape[1])).reshape(len(points), len(t))
        crossing = past.any(1)
        points, first = points[crossing], past[crossing].argmax(1)
        low, high = t[np.maximum(first - 1, 0)], t[first]
        for _ in range(14):
            middle = (low + high) / 2
            over = self._past(self.start + middle[:, None] * (points - self.start))
            low, high = np.where(over, low, middle), np.where(over, middle, high)
        return self.start + high[:, None] * (points - self.start)

    def _best(self, points: np.ndarray) -> np.ndarray | None:
        if not len(points):
            return None
        steps = points - self.start
        cost = np.einsum("ri,ij,rj->r", steps, self.quadratic, steps) + self._excess(points) ** 2
        return points[int(cost.argmin())]

    def sparse(self, end: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray | None:
        """A point past the threshold that differs in at most `most` dimensions (0: as few as are enough)."""
        # What each dimension's own change did to the score, to first order along the way.
        half = np.stack([self.start, (self.start + end) / 2, end])
        effects = np.abs(self._logits(half)[1].mean(0) * (end - self.start))
        order = np.argsort(-effects, kind="stable")
        counts = [most] if most else [count for count in SPARSE if count < len(order)]
        for count in counts:
            point = self.solve(np.sort(order[:count]), generator)
            # As near to a lesion as lesions are, or as the start is.
            if point is not None and (most or self._excess(point[None])[0] <= 0):
                return point
        return None if most and most < len(order) else end


def _back(space: Space, points: Tensor) -> Tensor:
    """`Space.back` with a gradient."""
    deviation, mean = (torch.tensor(each, dtype=points.dtype) for each in (space.deviation, space.mean))
    raw = points * deviation + mean
    if not space.pseudo:
        return raw
    share = torch.softmax(raw, dim=1) * (1 + space.pseudo * space.dimensions) - space.pseudo
    share = share.clamp(min=0)
    return share / share.sum(1, keepdim=True)


@dataclass(frozen=True)
class Change:
    """One measured property of the decoded lesion, before and after."""

    name: str
    title: str
    before: float | None  # None where no lesion was found in the image
    after: float | None
    caption: str  # the change in words; empty where it is too small


@dataclass(frozen=True)
class _Wording:
    """The wording for a property: its title with unit, and the sentences for a rise and a fall."""

    title: str
    rises: str
    falls: str
    least: float  # the smallest change that is mentioned
    digits: int = 0


_WORDINGS = {
    "area_px": _Wording("area, px²", "grows by {} px²", "shrinks by {} px²", 1),
    "diameter_px": _Wording("diameter, px", "gets wider by {} px", "gets narrower by {} px", 0.2, 1),
    "mean_hu": _Wording("mean density, HU", "becomes {} HU denser", "becomes {} HU less dense", 5),
    "eccentricity": _Wording("eccentricity, 0 to 1", "lengthens by {}", "rounds by {}", 0.02, 2),
    "solidity": _Wording("solidity, 0 to 1", "fills its outline by {}", "indents its outline by {}", 0.01, 2),
    "edge_hu_px": _Wording("edge, HU/px", "sharpens by {} HU/px", "blurs by {} HU/px", 3),
    "texture_hu": _Wording("unevenness, HU", "becomes {} HU more uneven", "becomes {} HU more even", 3),
}


def changes(hu: np.ndarray) -> list[Change]:
    """Measurements of two decoded images hu (2, 64, 64), before and after, by property."""
    measured = []
    for name, values in _measured(hu).items():
        wording = _WORDINGS[name]
        before, after = (None if np.isnan(value) else float(value) for value in values)
        caption = ""
        if before is not None and after is not None and abs(after - before) >= wording.least:
            size = f"{abs(after - before):.{wording.digits}f}"
            caption = (wording.rises if after > before else wording.falls).format(size)
        measured.append(Change(name, wording.title, before, after, caption))
    return measured


def in_words(measured: list[Change]) -> list[str]:
    """What changed, as "grows by 14 px²" and "becomes 40 HU denser"."""
    return [change.caption for change in measured if change.caption]


def measured_curves(hu: np.ndarray) -> dict[str, np.ndarray]:
    """Property with its unit -> (N,) what is measured in images hu (N, 64, 64); NaN: no lesion was found."""
    return {_WORDINGS[name].title: values for name, values in _measured(hu).items()}


def _measured(hu: np.ndarray) -> dict[str, np.ndarray]:
    """Property -> (N,) what is measured within the outlines found in images hu (N, 64, 64)."""
    values = measure(hu, segment(hu))
    return {name: values[:, list(PROPERTIES).index(name)] for name in _WORDINGS}
