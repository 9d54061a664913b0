"""Figures of scores and calls under sample weights, and their intervals by a bootstrap over patients.

Positive is 1, malignant. A bootstrap resample is a vector of how often each sample was drawn, so that every
figure here takes weights (B, N) and gives (B,): one sort serves all resamples.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of labels (N,) of 0 and 1, ties counting half; NaN with a single class."""
    return float(weighted_aucs(labels, scores, np.ones((1, len(labels))))[0])


def weighted_aucs(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) AUC under each of the sample weights (B, N), by the Mann-Whitney statistic; NaN with one class."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    ranked = np.asarray(scores)[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # the first of each group of ties
    positive = np.asarray(labels)[order] == 1
    weights = np.asarray(weights, np.float64)[:, order]
    up = np.add.reduceat(weights * positive, starts, axis=1)  # (B, groups)
    down = np.add.reduceat(weights * ~positive, starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(1) * down.sum(1)
    won = (up * (below + 0.5 * down)).sum(1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> dict[str, float]:
    """{value, low, high}: AUC and its 95 % percentile interval from resampling whole patients.

    Slices and nodules of one patient are alike; resampling them apart would make the interval too narrow.
    """
    drawn = [
        weighted_aucs(labels, scores, weights) for weights in patient_weights(patients, resamples, seed=seed)
    ]
    return percentile_interval(auc(labels, scores), np.concatenate(drawn))


def patient_weights(patients: np.ndarray, resamples: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """Blocks (up to 100, N) of how often each sample counts when whole patients are drawn with replacement.

    `patients` (N,) are names; as many are drawn as there are. Blocks bound the memory.
    """
    patient, names = pd.factorize(patients)
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, 100):
        size = min(100, resamples - start)
        if len(names):
            drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
            yield drawn[:, patient].astype(np.float64)
        else:
            yield np.empty((size, 0))


def percentile_interval(value: float, drawn: np.ndarray) -> dict[str, float]:
    """{value, low, high}: the 95 % percentile interval of resampled figures (B,), those of NaN left out.

    NaN where no resample gave the figure.
    """
    known = drawn[np.isfinite(drawn)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return {"value": float(value), "low": float(low), "high": float(high)}


def wilson(share: float, count: int) -> tuple[float, float]:
    """(low, high): Wilson's 95 % interval of a share of `count` independent cases (Wilson 1927)."""
    if count <= 0 or not np.isfinite(share):
        return float("nan"), float("nan")
    z = 1.959963984540054
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def weighted_average_precisions(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) average precision under each of the weights (B, N): precision times the step in recall, summed.

    A group of ties is one step, as in scikit-learn. NaN without positives.
    """
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked = np.asarray(scores)[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    positive = np.asarray(labels)[order] == 1
    weights = np.asarray(weights, np.float64)[:, order]
    up = np.add.reduceat(weights * positive, starts, axis=1)
    caught = np.cumsum(up, axis=1)
    called = np.cumsum(np.add.reduceat(weights, starts, axis=1), axis=1)
    precision = np.divide(caught, called, out=np.zeros_like(caught), where=called > 0)
    whole = caught[:, -1]
    return np.divide((up * precision).sum(1), whole, out=np.full(len(weights), np.nan), where=whole > 0)


def weighted_counts(labels: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, 4) true positives, false positives, true negatives and false negatives under weights (B, N).

    Labels and calls are (N,) of 0 and 1.
    """
    positive, alarm = np.asarray(labels) == 1, np.asarray(called) == 1
    kinds = np.stack([positive & alarm, ~positive & alarm, ~positive & ~alarm, positive & ~alarm], axis=1)
    return np.asarray(weights, np.float64) @ kinds.astype(np.float64)


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Each rate (B,) from counts (B, 4) as weighted_counts gives them; NaN where it would divide by nothing.

    Sensitivity is the share of the malignant that was called, precision the share of the called that is
    malignant, and specificity the share of the benign that was not called.
    """
    tp, fp, tn, fn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    sensitivity, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
    return {
        "accuracy": _share(tp + tn, tp + fp + tn + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _share(tp, tp + fp),
        "f1": _share(2 * tp, 2 * tp + fp + fn),
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


def by_nodule(table: pd.DataFrame, **columns: tuple[np.ndarray, str]) -> pd.DataFrame:
    """One row a nodule of patient_id and nodule; each column is (values (N,), how to aggregate)."""
    frame = table[["patient_id", "nodule"]].assign(**{name: values for name, (values, _) in columns.items()})
    return frame.groupby(["patient_id", "nodule"], as_index=False).agg(
        {name: how for name, (_, how) in columns.items()}
    )
