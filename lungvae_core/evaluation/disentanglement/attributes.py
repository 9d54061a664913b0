"""Predict each of the readers' ratings from the code, per nodule, for patients not fitted on.

The figures are those that models explaining malignancy by attributes report: the share of nodules predicted
within one step of the readers' mean (X-Caps, arXiv 1909.05926; Proto-Caps, arXiv 2310.15741; cRedAnno+, arXiv
2210.16097), and the mean absolute error. There are two baselines: a constant, the median of the fitted
nodules, and one reader against the mean of the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from lungvae_core.data.columns import NODULE, RATING_RANGES
from lungvae_core.data.splits import grouped_folds
from lungvae_core.evaluation.disentanglement.factors import LEAST_PATIENTS, nodule_means
from lungvae_core.evaluation.disentanglement.probes import ALPHAS, standardised
from lungvae_core.statistics.intervals import nan_as_none, percentile_interval
from lungvae_core.statistics.patients import patient_weights
from lungvae_core.training.encode import trained_rows

FOLDS = 5
STEP = 1.0  # on the scale, by which a prediction may be off
PREDICTORS = {
    "model": "ridge regression of the code",
    "constant": "the median of the fitted nodules",
    "reader": "one reader against the mean of the others",
}
NOTE = (
    "Within one: the prediction is at most one step from the readers' mean. That is easy where ratings pile "
    "up: compare the constant, which knows nothing of the lesion. Published, on other splits and choices of "
    "nodules: X-Caps, Proto-Caps and cRedAnno+ report 0.84 to 0.97 by attribute."
)


def attributes(
    table: pd.DataFrame, codes: np.ndarray, *, labels_shape_codes: bool, resamples: int, seed: int
) -> dict[str, Any] | None:
    """The report of each rating: nodules, patients, and within_one and mae of each of PREDICTORS.

    `codes` (N, K) belong to the slices in `table`, in coordinates that a linear model can use. Each figure
    has a 95 % interval from resampling patients. If labels shaped the codes, only patients that the encoder
    did not train on are tested. None without ratings or with fewer than ten patients.
    """
    nodules = table.drop_duplicates(NODULE).reset_index(drop=True)
    names = [name for name in RATING_RANGES if f"{name}_all" in table and name != "internalStructure"]
    if not names or nodules["patient_id"].nunique() < LEAST_PATIENTS:
        return None
    means = nodule_means(table, codes, nodules)
    results: dict[str, Any] = {}
    for name in names:
        ratings = nodules[f"{name}_all"].map(_ratings)
        rated = np.flatnonzero(ratings.map(len).to_numpy() > 0)
        part, of_readers = nodules.iloc[rated].reset_index(drop=True), ratings.iloc[rated].tolist()
        splits = _splits(part, labels_shape_codes, seed)
        values = np.array([np.mean(each) for each in of_readers])
        if splits and len(np.unique(values)) > 1:
            errors = _errors(means[rated], values, splits, RATING_RANGES[name])
            errors["reader"] = np.array([_apart(each) for each in of_readers])
            tested = np.concatenate([test for _, test in splits])
            patients = part["patient_id"].astype(str).to_numpy()[tested]
            results[name] = _figures(
                {key: each[tested] for key, each in errors.items()}, patients, resamples, seed
            )
    if not results:
        return None
    return {
        "tested": "patients that the encoder did not train on"
        if labels_shape_codes
        else "all patients, in folds",
        "folds": 1 if labels_shape_codes else FOLDS,
        "note": NOTE,
        "predictors": PREDICTORS,
        "ratings": results,
    }


def _ratings(text: Any) -> list[float]:
    return [] if pd.isna(text) else [float(part) for part in str(text).split("|") if part.strip()]


def _apart(ratings: list[float]) -> np.ndarray:
    """(2,) share within one and absolute error of a reader against the mean of the others; NaN if alone."""
    if len(ratings) < 2:
        return np.full(2, np.nan)
    others = (sum(ratings) - np.array(ratings)) / (len(ratings) - 1)
    off = np.abs(np.array(ratings) - others)
    return np.array([(off <= STEP).mean(), off.mean()])


def _splits(nodules: pd.DataFrame, shaped: bool, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(fitted, tested) nodules; empty if there are no patients to test."""
    if not shaped:
        return list(grouped_folds(nodules, FOLDS, seed=seed))
    trained = trained_rows(nodules)
    both = np.flatnonzero(trained), np.flatnonzero(~trained)
    return [both] if all(len(rows) >= LEAST_PATIENTS for rows in both) else []


def _errors(
    codes: np.ndarray, values: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]], scale: tuple[int, int]
) -> dict[str, np.ndarray]:
    """{predictor: (M, 2) within one (0 or 1) and absolute error of every tested nodule}."""
    predicted = {name: np.full(len(values), np.nan) for name in ("model", "constant")}
    for fitted, tested in splits:
        scaled = standardised(codes, fitted)
        ridge = RidgeCV(ALPHAS).fit(scaled[fitted], values[fitted])
        predicted["model"][tested] = np.clip(ridge.predict(scaled[tested]), *scale)
        predicted["constant"][tested] = np.median(values[fitted])
    off = {name: np.abs(each - values) for name, each in predicted.items()}
    return {name: np.stack([each <= STEP, each], axis=1).astype(float) for name, each in off.items()}


def _figures(
    errors: dict[str, np.ndarray], patients: np.ndarray, resamples: int, seed: int
) -> dict[str, Any]:
    """Mean errors over nodules with their intervals; for readers, over nodules that have several."""
    weights = np.concatenate(list(patient_weights(patients, resamples, seed=seed)))  # (B, M)
    entry: dict[str, Any] = {"nodules": len(patients), "patients": len(np.unique(patients))}
    for name, each in errors.items():
        rows = np.isfinite(each[:, 0])
        if not rows.any():
            entry[name] = None
            continue
        total = weights[:, rows].sum(1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = weights[:, rows] @ each[rows] / total
        value = each[rows].mean(0)
        entry[name] = {
            figure: nan_as_none(
                {key: round(end, 4) for key, end in percentile_interval(value[at], drawn[:, at]).items()}
            )
            for at, figure in enumerate(("within_one", "mae"))
        } | {"nodules": int(rows.sum())}
    return entry
