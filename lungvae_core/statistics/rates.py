"""Sensitivity, specificity and the other rates of calls under sample weights. Positive is 1, malignant."""

from __future__ import annotations

import numpy as np


def weighted_counts(labels: np.ndarray, called: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B, 4) true positives, false positives, true negatives and false negatives under weights (B, N).

    Labels and calls are (N,) of 0 and 1.
    """
    positive, alarm = np.asarray(labels) == 1, np.asarray(called) == 1
    kinds = np.stack([positive & alarm, ~positive & alarm, ~positive & ~alarm, positive & ~alarm], axis=1)
    return np.asarray(weights, np.float64) @ kinds.astype(np.float64)


def rates(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Each rate (B,) from counts (B, 4) of weighted_counts; NaN where the denominator is 0.

    Sensitivity is the share of the malignant that was called, precision the share of the called that is
    malignant, and specificity the share of the benign that was not called.
    """
    tp, fp, tn, fn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    sensitivity, specificity = share(tp, tp + fn), share(tn, tn + fp)
    return {
        "accuracy": share(tp + tn, tp + fp + tn + fn),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": share(tp, tp + fp),
        "f1": share(2 * tp, 2 * tp + fp + fn),
    }


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """`part` over `whole`, of one shape; NaN where `whole` is not above 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
