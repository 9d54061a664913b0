"""All figures of judged units, each with a 95 % interval from a bootstrap over patients, and their curves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import FIGURES
from lungvae_core.evaluation.units import by_nodule
from lungvae_core.statistics.calibration import ece_interval, ece_noise, reliability, weighted_eces
from lungvae_core.statistics.intervals import percentile_interval, wilson
from lungvae_core.statistics.patients import patient_weights
from lungvae_core.statistics.rates import rates, weighted_counts
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
    values = {
        name: float(figures[0]) for name, figures in _figures(columns, np.ones((1, len(frame)))).items()
    }
    blocks = [_figures(columns, weights) for weights in patient_weights(patients, resamples, seed=seed)]
    counts = weighted_counts(label, called, np.ones((1, len(frame))))[0]
    figures: dict[str, Any] = {
        "count": len(frame),
        "malignant": int(label.sum()),
        "patients": int(frame["patient_id"].nunique()),
    }
    for name in FIGURES:
        drawn = np.concatenate([block[name] for block in blocks]) if blocks else np.empty(0)
        figures[name] = percentile_interval(values[name], drawn)
        if name in SHARES and values[name] in (0.0, 1.0):
            figures[name] = sure(values[name], patients[_among(label, called, SHARES[name])])
        if name == "ece":
            # Slices of a nodule share one label, so chance moves them together.
            nodules = (
                frame.groupby(["patient_id", "nodule"]).ngroup().to_numpy() if "slice" in frame else None
            )
            noise = ece_noise(label, probability, groups=nodules, resamples=resamples, seed=seed)
            figures[name] = ece_interval(values[name], drawn, noise["p"])
    figures["auc_by_fold"] = by_fold(frame)
    figures["confusion"] = dict(zip(("tp", "fp", "tn", "fn"), (int(count) for count in counts), strict=True))
    figures["curves"] = {
        **_curves(label, logit),
        "reliability": reliability(label, probability, patients=patients),
    }
    return figures


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
    slices = table[["patient_id"]].assign(label=labels, logit=logits)
    nodules = by_nodule(table, label=(labels, "first"), logit=(logits, "mean"))
    return {
        unit: {
            "auc": frame_auc(frame),
            "count": len(frame),
            "malignant": int(frame["label"].sum()),
            "patients": int(frame["patient_id"].nunique()),
        }
        for unit, frame in (("slice", slices), ("nodule", nodules))
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


def _figures(columns: list[np.ndarray], weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each figure (B,) under weights (B, N)."""
    label, logit, probability, called = columns
    whole = weights.sum(1)
    error = weights @ (probability - label) ** 2
    return {
        "auc": weighted_aucs(label, logit, weights),
        **rates(weighted_counts(label, called, weights)),
        "average_precision": weighted_average_precisions(label, logit, weights),
        "brier": np.divide(error, whole, out=np.full(len(weights), np.nan), where=whole > 0),
        "ece": weighted_eces(label, probability, weights),
    }


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
