"""All figures of judged units, each with a 95 % interval from a bootstrap over patients, and their curves."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from lungvae_core.data.columns import NODULE
from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import FIGURES
from lungvae_core.evaluation.units import by_nodule
from lungvae_core.statistics.calibration import ece_interval, ece_noise, reliability, weighted_eces
from lungvae_core.statistics.intervals import percentile_interval, wilson
from lungvae_core.statistics.patients import bootstrap
from lungvae_core.statistics.rates import rates, share, weighted_counts
from lungvae_core.statistics.roc import auc, auc_interval, weighted_aucs, weighted_average_precisions

POINTS = 200  # at most, on a curve
# Shares of units, and which of tp, fp, tn and fn they are shares of.
SHARES = {"accuracy": [0, 1, 2, 3], "sensitivity": [0, 3], "specificity": [1, 2], "precision": [0, 1]}


def unit_figures(frame: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Every figure of a judged frame (one row per unit; columns in `checked`), its confusion and its curves.

    {count, malignant, patients, <FIGURES>: {value, low, high}, auc_by_fold, confusion: {tp, fp, tn, fn},
    curves: {roc: {fpr, tpr}, pr: {recall, precision}, reliability}}; see docs/evaluation.md. AUC, average
    precision and their curves rank by `logit`; Brier score and ECE judge `probability`; the rest `called`.

    Intervals are 95 % percentile intervals from resampling whole patients. If a share is exactly 0 or 1, all
    resamples agree, so the interval is Wilson's, counting each patient once. The interval of the ECE comes
    from `calibration.ece_interval`, since its resamples are biased. A figure that cannot be computed is NaN.
    Raises UserError for scores that are not numbers, probabilities outside 0..1, and labels and calls other
    than 0 and 1.
    """
    frame = checked(frame)
    columns = [frame[name].to_numpy(float) for name in ("label", "logit", "probability", "called")]
    label, logit, probability, called = columns
    patients = frame["patient_id"].to_numpy()
    once = np.ones((1, len(frame)))
    drawn = bootstrap(partial(_figures, columns), patients, resamples, seed=seed)
    figures = {
        name: percentile_interval(value, draws)
        for name, value, draws in zip(FIGURES, _figures(columns, once)[0], drawn.T, strict=True)
    }
    for name, kinds in SHARES.items():
        if figures[name]["value"] in (0.0, 1.0):
            figures[name] = sure(figures[name]["value"], patients[_among(label, called, kinds)])
    # Slices of a nodule share one label, so chance moves them together.
    nodules = frame.groupby(NODULE).ngroup().to_numpy() if "slice" in frame else None
    noise = ece_noise(label, probability, groups=nodules, resamples=resamples, seed=seed)
    figures["ece"] = ece_interval(figures["ece"]["value"], drawn[:, FIGURES.index("ece")], noise["p"])
    counts = weighted_counts(label, called, once)[0]
    return {
        **counts_of(frame),
        **figures,
        "auc_by_fold": by_fold(frame),
        "confusion": dict(zip(("tp", "fp", "tn", "fn"), map(int, counts), strict=True)),
        "curves": {
            **_curves(label, logit),
            "reliability": reliability(label, probability, patients=patients),
        },
    }


def counts_of(frame: pd.DataFrame) -> dict[str, int]:
    """{count, malignant, patients} of a frame with label and patient_id."""
    return {
        "count": len(frame),
        "malignant": int(frame["label"].sum()),
        "patients": int(frame["patient_id"].nunique()),
    }


def frame_auc(frame: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> dict[str, float]:
    """{value, low, high}: the AUC of a frame's `label` by its `logit`, resampling whole patients."""
    columns = (frame[name].to_numpy() for name in ("label", "logit", "patient_id"))
    return auc_interval(*columns, resamples=resamples, seed=seed)


def auc_of(frame: pd.DataFrame) -> float:
    """The AUC of a frame with label and logit; NaN with a single class."""
    return auc(frame["label"].to_numpy(), frame["logit"].to_numpy(float))


def auc_units(table: pd.DataFrame, labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """{slice|nodule: {auc, count, malignant, patients}} of slices with labels and logits (N,).

    A nodule has the mean logit of its slices.
    """
    return {
        unit: {"auc": frame_auc(frame), **counts_of(frame)}
        for unit, frame in slices_and_nodules(table, labels, logits).items()
    }


def slices_and_nodules(
    table: pd.DataFrame, labels: np.ndarray, logits: np.ndarray, how: str = "mean"
) -> dict[str, pd.DataFrame]:
    """{slice|nodule: frame with patient_id, label and logit} of slices with labels and logits (N,).

    `how` aggregates the logits of a nodule's slices.
    """
    return {
        "slice": table[["patient_id"]].assign(label=labels, logit=logits),
        "nodule": by_nodule(table, label=(labels, "first"), logit=(logits, how)),
    }


def checked(frame: pd.DataFrame) -> pd.DataFrame:
    """A judged frame as it is, or UserError.

    It needs the columns patient_id, label and called (0 or 1), logit (finite) and probability (0..1).
    """
    missing = {"patient_id", "label", "logit", "probability", "called"} - set(frame)
    if missing:
        raise UserError(f"The judged units lack the column(s) {', '.join(sorted(missing))}.")
    for name in ("label", "called"):
        if not frame[name].isin((0, 1)).all():
            raise UserError(f"The judged units' column {name} must be 0 or 1 in every row.")
    logit, probability = frame["logit"].to_numpy(float), frame["probability"].to_numpy(float)
    if not np.isfinite(logit).all():
        raise UserError(
            f"{int((~np.isfinite(logit)).sum())} of {len(logit)} tested units have no score that is a "
            "number. The training has failed; train again with a lower learning rate."
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise UserError("The judged units' column probability must lie between 0 and 1 in every row.")
    return frame


def by_fold(frame: pd.DataFrame) -> list[float]:
    """AUC within each fold, in fold order; NaN if a fold lacks a class. Empty without folds."""
    return [auc_of(part) for _, part in frame.groupby("fold", sort=True)] if "fold" in frame else []


def sure(share: float, patients: np.ndarray) -> dict[str, float]:
    """{value, low, high} of a share of exactly 0 or 1 of the units of `patients` (N,), each counted once."""
    low, high = wilson(share, len(pd.unique(patients)))
    return {"value": share, "low": low, "high": high}


def _among(label: np.ndarray, called: np.ndarray, kinds: list[int]) -> np.ndarray:
    """(N,) bool: units of one of the kinds, numbered as tp, fp, tn, fn."""
    kind = np.select([(label == 1) & (called == 1), called == 1, label == 0], [0, 1, 2], default=3)
    return np.isin(kind, kinds)


def _figures(columns: list[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """(B, len(FIGURES)) each figure under weights (B, N)."""
    label, logit, probability, called = columns
    figures = {
        "auc": weighted_aucs(label, logit, weights),
        **rates(weighted_counts(label, called, weights)),
        "average_precision": weighted_average_precisions(label, logit, weights),
        "brier": share(weights @ (probability - label) ** 2, weights.sum(1)),
        "ece": weighted_eces(label, probability, weights),
    }
    return np.stack([figures[name] for name in FIGURES], axis=1)


def _curves(label: np.ndarray, logit: np.ndarray) -> dict[str, Any]:
    """ROC and precision-recall curves, both from the strictest threshold; empty with a single class."""
    if len(set(label)) < 2:
        return {"roc": {"fpr": [], "tpr": []}, "pr": {"recall": [], "precision": []}}
    fpr, tpr, _ = roc_curve(label, logit)
    precision, recall, _ = precision_recall_curve(label, logit)
    fpr, tpr = _thinned(fpr, tpr)
    recall, precision = _thinned(recall[::-1], precision[::-1])
    return {"roc": {"fpr": fpr, "tpr": tpr}, "pr": {"recall": recall, "precision": precision}}


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """At most POINTS of a curve, evenly spaced along it, with both ends, and rounded for the file."""
    if len(x) > POINTS:
        way = np.r_[0.0, np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))]
        kept = np.searchsorted(way, np.linspace(0, way[-1], POINTS))
        kept = np.unique(np.r_[0, kept[1:-1], len(x) - 1])
        x, y = x[kept], y[kept]
    return np.round(x, 5).tolist(), np.round(y, 5).tolist()
