"""Discrimination with its interval: AUC by a bootstrap over patients, per slice and per nodule."""

from __future__ import annotations

import numpy as np
import pandas as pd


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of labels (N,) of 0 and 1, ties counting half; NaN with a single class."""
    return float(weighted_aucs(labels, scores, np.ones((1, len(labels))))[0])


def weighted_aucs(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) AUC under each of the sample weights (B, N), by the Mann-Whitney statistic.

    A bootstrap resample is a vector of how often each sample was drawn, so that one sort serves all.
    """
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
    patient, names = pd.factorize(patients)
    generator = np.random.default_rng(seed)
    values = []
    for start in range(0, resamples, 100):  # blocks bound the memory
        size = min(100, resamples - start)
        drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=size)
        values.append(weighted_aucs(labels, scores, drawn[:, patient]))
    low, high = np.nanpercentile(np.concatenate(values), [2.5, 97.5])
    return {"value": auc(labels, scores), "low": float(low), "high": float(high)}


def by_nodule(table: pd.DataFrame, **columns: tuple[np.ndarray, str]) -> pd.DataFrame:
    """One row a nodule of patient_id and nodule; each column is (values (N,), how to aggregate)."""
    frame = table[["patient_id", "nodule"]].assign(**{name: values for name, (values, _) in columns.items()})
    return frame.groupby(["patient_id", "nodule"], as_index=False).agg(
        {name: how for name, (_, how) in columns.items()}
    )
