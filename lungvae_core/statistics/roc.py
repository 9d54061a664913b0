"""AUC and average precision under sample weights, their bootstrap over patients, and DeLong's test.

Positive is 1, malignant. A bootstrap resample is a vector of how often each sample was drawn, so every figure
here takes weights (B, N) and returns (B,): one sort serves all resamples.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

from lungvae_core.statistics.intervals import percentile_interval
from lungvae_core.statistics.patients import bootstrap
from lungvae_core.statistics.rates import share


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of labels (N,) of 0 and 1, ties counting half; NaN with a single class."""
    return float(weighted_aucs(labels, scores, np.ones((1, len(labels))))[0])


def weighted_aucs(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) AUC under each of the sample weights (B, N), by the Mann-Whitney statistic; NaN with one class."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order, starts = ties(scores)
    positive = np.asarray(labels)[order] == 1
    weights = np.asarray(weights, np.float64)[:, order]
    up = np.add.reduceat(weights * positive, starts, axis=1)  # (B, groups)
    down = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    return share((up * (below + 0.5 * down)).sum(1), up.sum(1) * down.sum(1))


def ties(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(order (N,) of rising scores, where each group of equal ones starts in it); N is above 0."""
    order = np.argsort(scores, kind="stable")
    ranked = np.asarray(scores)[order]
    return order, np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> dict[str, float]:
    """{value, low, high}: AUC and its 95 % percentile interval from resampling whole patients.

    Slices and nodules of one patient are alike; resampling them separately would make the interval too
    narrow.
    """
    drawn = bootstrap(lambda weights: weighted_aucs(labels, scores, weights), patients, resamples, seed=seed)
    return percentile_interval(auc(labels, scores), drawn)


def weighted_average_precisions(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) average precision under each of the weights (B, N): precision times the step in recall, summed.

    A group of ties is one step, as in scikit-learn. NaN without positives.
    """
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order, starts = ties(-np.asarray(scores))
    positive = np.asarray(labels)[order] == 1
    weights = np.asarray(weights, np.float64)[:, order]
    up = np.add.reduceat(weights * positive, starts, axis=1)
    caught = np.cumsum(up, axis=1)
    called = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
    precision = np.divide(caught, called, out=np.zeros_like(caught), where=called > 0)
    return share((up * precision).sum(1), caught[:, -1])


def delong(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """{difference, low, high, p}: AUC of scores a (N,) less that of b (N,), by DeLong's test.

    DeLong et al. 1988 with the midranks of Sun and Xu 2014. The interval is 95 %, p two-sided. It treats
    units as independent, which nodules of one patient and slices of one nodule are not, so that its interval
    is too narrow there: rely on `evaluation.compare.paired`, which draws patients. NaN with fewer than two
    units of a class.
    """
    positive = np.asarray(labels) == 1
    up, down = int(positive.sum()), int((~positive).sum())
    if min(up, down) < 2:
        return dict.fromkeys(("difference", "low", "high", "p"), float("nan"))
    won, lost = [], []
    for scores in (np.asarray(a, np.float64), np.asarray(b, np.float64)):
        everyone = rankdata(scores)
        won.append((everyone[positive] - rankdata(scores[positive])) / down)  # share of benign below each
        lost.append(1 - (everyone[~positive] - rankdata(scores[~positive])) / up)
    difference = float(won[0].mean() - won[1].mean())
    variance = np.var(won[0] - won[1], ddof=1) / up + np.var(lost[0] - lost[1], ddof=1) / down
    error = float(np.sqrt(variance))
    if error < 1e-12:  # every unit is ranked alike, but for rounding
        same = abs(difference) < 1e-12
        return {"difference": difference, "low": difference, "high": difference, "p": 1.0 if same else 0.0}
    half = float(norm.ppf(0.975)) * error
    return {
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "p": float(2 * norm.sf(abs(difference) / error)),
    }
