"""Discrimination with its interval: AUC by a bootstrap over patients, per slice and per nodule."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve; NaN when only one class is there."""
    return float(roc_auc_score(labels, scores)) if 0 < labels.mean() < 1 else float("nan")


def auc_interval(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> dict[str, float]:
    """{value, low, high}: AUC and its 95 % percentile interval from resampling whole patients.

    Slices and nodules of one patient are alike; resampling them apart would make the interval too narrow.
    """
    groups = pd.Series(np.arange(len(labels))).groupby(pd.factorize(patients)[0]).apply(np.asarray)
    rows_of = list(groups)
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        chosen = np.concatenate([rows_of[i] for i in generator.integers(0, len(rows_of), len(rows_of))])
        values.append(auc(labels[chosen], scores[chosen]))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return {"value": auc(labels, scores), "low": float(low), "high": float(high)}


def by_nodule(table: pd.DataFrame, **columns: tuple[np.ndarray, str]) -> pd.DataFrame:
    """One row a nodule of patient_id and nodule; each column is (values (N,), how to aggregate)."""
    frame = table[["patient_id", "nodule"]].assign(**{name: values for name, (values, _) in columns.items()})
    return frame.groupby(["patient_id", "nodule"], as_index=False).agg(
        {name: how for name, (_, how) in columns.items()}
    )
