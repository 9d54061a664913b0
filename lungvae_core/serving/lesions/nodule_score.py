"""The score of a nodule from several of its slices, and which of them drive it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from lungvae_core.serving.models.registry import LoadedModel

NOTE = (
    "The mean of the slices' scores, as in the evaluation's nodule figures. A slice drives the score by how "
    "much the mean would change without it."
)


@dataclass(frozen=True)
class NoduleScore:
    """A nodule's score from those of its slices; a model score, never a probability of cancer."""

    score: float  # 0..1
    band: tuple[float, float] | None  # 90 % of the classifiers fitted on resampled patients; None without
    slices: np.ndarray  # (M,) each slice's score
    drives: np.ndarray  # (M,) the score minus the score without the slice; 0 if it is the only one
    attended: float | None = None  # 0..1, by attention over the slices; None for runs without it
    weights: np.ndarray | None = None  # (M,) each slice's weight in `attended`; they add up to 1


def judge(model: LoadedModel, codes: np.ndarray, *, patient: str | None) -> NoduleScore | None:
    """Score a nodule from the codes (M, K) of its slices, M at least 1; None without a classifier.

    `patient`, of the data set, is scored by classifiers that did not learn from them.
    """
    slices = model.score(codes, patient=patient)
    if slices is None:
        return None
    return combine(model, slices, codes, patient=patient)


def combine(model: LoadedModel, slices: np.ndarray, codes: np.ndarray, *, patient: str | None) -> NoduleScore:
    """The nodule's score from its slices' scores (M,), as stored ones; `codes` (M, K) give the band."""
    slices = np.asarray(slices, np.float64)
    count, score = len(slices), float(slices.mean())
    without = (slices.sum() - slices) / max(count - 1, 1)
    band = None
    if model.ensemble is not None:
        means = model.ensemble.scores(codes).mean(1, keepdims=True)  # (members, 1)
        band = model.ensemble.band_of(means, patient=patient)
    attended, weights = _attended(model, codes, patient)
    return NoduleScore(
        attended=attended,
        weights=weights,
        score=score,
        band=None if band is None else (float(band[0, 0]), float(band[0, 1])),
        slices=slices,
        drives=score - without if count > 1 else np.zeros(count),
    )


def _attended(
    model: LoadedModel, codes: np.ndarray, patient: str | None
) -> tuple[float | None, np.ndarray | None]:
    """(score, weights (M,)) by an attention that has not seen the patient; None without attention."""
    if model.attentions is None:
        return None, None
    logit, weights = model.attentions.of(patient).of_nodule(codes)
    return float(expit(logit)), weights


def attended_words(nodule: NoduleScore) -> str:
    """The nodule's score by attention in a sentence; empty for one slice, and for runs without attention."""
    if nodule.attended is None or nodule.weights is None or len(nodule.slices) < 2:
        return ""
    most = int(nodule.weights.argmax())
    return (
        f"By attention over the slices, learned of other patients: **{nodule.attended:.2f}**. It "
        f"listens most to the {_ordinal(most + 1)} of the {len(nodule.slices)} slices "
        f"({nodule.weights[most]:.0%})."
    )


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
