"""The score of a nodule from several of its slices, and which of them drive it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from lungvae_core.serving.registry import LoadedModel

NOTE = (
    "The mean of the slices' scores, as in the evaluation's nodule figures. A slice drives the score by how "
    "much the mean would change without it."
)


@dataclass(frozen=True)
class NoduleScore:
    """A nodule as its slices are scored; a model score, never a probability of cancer."""

    score: float  # 0..1
    low: float | None  # 90 % of the classifiers fitted on patients drawn again; None without them
    high: float | None
    slices: np.ndarray  # (M,) each slice's score
    drives: np.ndarray  # (M,) the score less that without the slice; 0 where it is the only one
    note: str = NOTE


def judge(model: LoadedModel, codes: np.ndarray, *, patient: str | None = None) -> NoduleScore | None:
    """Judge a nodule by the codes (M, K) of its slices, M of 1 or more; None without a classifier.

    `patient`, of the set, is judged in the band by classifiers that did not learn from it.
    """
    if model.classifier is None:
        return None
    slices = expit(model.classifier.logits(codes).astype(np.float64))
    return combine(model, slices, codes, patient=patient)


def combine(
    model: LoadedModel, slices: np.ndarray, codes: np.ndarray, *, patient: str | None = None
) -> NoduleScore:
    """The nodule's score from its slices' scores (M,), as stored ones; `codes` (M, K) give the band."""
    slices = np.asarray(slices, np.float64)
    count, score = len(slices), float(slices.mean())
    without = (slices.sum() - slices) / max(count - 1, 1)
    band = None
    if model.ensemble is not None:
        means = model.ensemble.scores(codes).mean(1, keepdims=True)  # (members, 1)
        band = model.ensemble.band_of(means, patient=patient)
    return NoduleScore(
        score=score,
        low=None if band is None else float(band[0, 0]),
        high=None if band is None else float(band[0, 1]),
        slices=slices,
        drives=score - without if count > 1 else np.zeros(count),
    )
