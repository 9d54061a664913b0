"""Certainty of a direction: intervals over patients, AUCs among similar sizes, and stability."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.splits import share_of_patients
from lungvae_core.explore.colours import BANDS_MM
from lungvae_core.statistics.intervals import against_null, nan_as_none, percentile_interval
from lungvae_core.statistics.patients import bootstrap
from lungvae_core.statistics.rates import share

CALIPER = 0.1  # diameters that differ by less than this share are alike

Folds = list[tuple[np.ndarray, np.ndarray]]  # (training rows, test rows) of each
Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (rows (n,), values (M,)) to a filter (K,)
Statistic = Callable[[np.ndarray], np.ndarray]  # weights (B, M) to figures (B,)


def interval(
    statistic: Statistic, patients: np.ndarray, *, resamples: int, seed: int
) -> dict[str, float | None]:
    """{value, low, high}: a statistic of weights (B, M) and its 95 % interval, resampling whole patients."""
    drawn = bootstrap(statistic, patients, resamples, seed=seed, block=20)  # of pairs, which are many
    return nan_as_none(percentile_interval(statistic(np.ones((1, len(patients))))[0], drawn))


def weighted_r2s(truth: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) R2 of predictions of values (M,) under weights (B, M)."""
    centre = share(weights @ truth, weights.sum(1))
    total = (weights * (truth - centre[:, None]) ** 2).sum(1)
    return 1 - share(weights @ (truth - predictions) ** 2, total)


class Pairs:
    """Pairs of malignant and benign nodules of similar size: the share that scores put in order."""

    def __init__(self, truth: np.ndarray, like: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        up, down = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
        first, second = np.nonzero(like(up[:, None], down[None]))
        self.up, self.down = up[first], down[second]

    def __len__(self) -> int:
        return len(self.up)

    def auc(self, scores: np.ndarray) -> Statistic:
        """The AUC within the pairs, as a function of weights (B, M)."""
        difference = scores[self.up] - scores[self.down]
        won = (difference > 0) + 0.5 * (difference == 0)

        def statistic(weights: np.ndarray) -> np.ndarray:
            pairs = weights[:, self.up] * weights[:, self.down]
            return share(pairs @ won, pairs.sum(1))

        return statistic


def same_band(truth: np.ndarray, size: np.ndarray) -> Pairs:
    """Pairs within one size band: under 6, 6 to under 8, 8 to under 15, 15 mm and over."""
    band = np.digitize(np.exp(size), BANDS_MM)
    return Pairs(truth, lambda one, other: band[one] == band[other])


def same_size(truth: np.ndarray, size: np.ndarray) -> Pairs:
    """Pairs whose diameters differ by less than a tenth."""
    return Pairs(truth, lambda one, other: np.abs(size[one] - size[other]) < np.log1p(CALIPER))


def stability(
    fit: Fit,
    points: np.ndarray,
    values: np.ndarray,
    frame: pd.DataFrame,
    folds: Folds,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Similarity of a direction for other patients: cosines, and those with shuffled values.

    `halves`: from two halves that share no patient; `bootstrap`: from two draws of patients with replacement;
    `folds`: from the folds' training parts, of which any two share most patients, so that the cosine is high
    for shuffled values too. Each for `pattern` and `filter`: {value (mean cosine), low, high (95 % of the
    cosines), null (mean cosine with shuffled values), null_high (its 95th percentile), p (one-sided, of the
    mean against single shuffled draws, which is conservative)}. Values are shuffled as runs of nodules laid
    out over the patients, so that one patient's stay together.
    """
    generator = np.random.default_rng(seed)
    patient, names = pd.factorize(frame["patient_id"].astype(str))
    rows_of = [np.flatnonzero(patient == number) for number in range(len(names))]

    def vectors(rows: np.ndarray, used: np.ndarray) -> np.ndarray:
        filter_ = fit(rows, used)
        return np.stack([covaries(points[rows], filter_), filter_])

    def halves() -> list[np.ndarray]:
        one = share_of_patients(frame, share=0.5, seed=int(generator.integers(2**31)))
        return [one, np.setdiff1d(np.arange(len(frame)), one)]

    def redrawn() -> list[np.ndarray]:
        draws = generator.integers(len(names), size=(2, len(names)))
        return [np.concatenate([rows_of[number] for number in draw]) for draw in draws]

    def alike(pair: Callable[[], list[np.ndarray]], used: np.ndarray) -> np.ndarray:
        return _cosines(*(vectors(rows, used) for rows in pair()))

    def over_folds(used: np.ndarray) -> np.ndarray:
        each = [vectors(train, used) for train, _ in folds]
        return np.array([_cosines(a, b) for a, b in itertools.combinations(each, 2)])

    pairs = {"halves": halves, "bootstrap": redrawn}
    observed = {
        name: np.array([alike(pair, values) for _ in range(resamples)]) for name, pair in pairs.items()
    }
    observed["folds"] = over_folds(values)
    null: dict[str, list[np.ndarray]] = {name: [] for name in observed}
    for _ in range(resamples):
        shuffled = _shuffled(values, rows_of, generator)
        for name, pair in pairs.items():
            null[name].append(alike(pair, shuffled))
        null["folds"].append(np.nanmean(over_folds(shuffled), axis=0))
    of_vectors = {
        vector: {name: _against_null(observed[name][:, at], np.array(null[name])[:, at]) for name in observed}
        for at, vector in enumerate(("pattern", "filter"))
    }
    return {"resamples": resamples, "seed": seed, "permutations": resamples, **of_vectors}


def _shuffled(values: np.ndarray, rows_of: list[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Values (M,) of the patients in another order, laid out over the nodules patient by patient."""
    order = generator.permutation(len(rows_of))
    shuffled = np.empty_like(values)
    shuffled[np.concatenate(rows_of)] = values[np.concatenate([rows_of[number] for number in order])]
    return shuffled


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-30)


def _against_null(observed: np.ndarray, null: np.ndarray) -> dict[str, float | None]:
    observed, null = observed[~np.isnan(observed)], null[~np.isnan(null)]
    if not len(observed) or not len(null):
        return dict.fromkeys(("value", "low", "high", "null", "null_high", "p"))
    value = float(observed.mean())
    return nan_as_none(percentile_interval(value, observed) | against_null(value, null))


def covaries(points: np.ndarray, filter_: np.ndarray) -> np.ndarray:
    """(K,) the covariance of each coordinate of points (M, K) with a filter's score."""
    centred = points - points.mean(0)
    return centred.T @ (centred @ filter_) / max(len(points) - 1, 1)
