"""Probabilities from logits, a threshold on them, and how well probabilities are calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import expit, logit

from lungvae_core.errors import UserError
from lungvae_core.statistics.intervals import against_null, percentile_interval, percentiles, wilson
from lungvae_core.statistics.rates import share
from lungvae_core.statistics.roc import ties

BALANCED = "maximises balanced accuracy on the calibration patients"
ONE_CLASS = "0.5: the calibration patients are all of one class, so nothing could be settled"
# Spread of the prior on the logarithm of a temperature below 1: it says that logits seldom need to be made
# more than seven times as extreme, and is outweighed by some tens of units.
SPREAD = 1.0
COLDEST = 1e-3


@dataclass(frozen=True)
class Settled:
    """Fitted on calibration patients: sigmoid(logit / temperature + bias), and a threshold on it."""

    temperature: float  # above 0, so that the order of the logits stays
    bias: float
    threshold: float  # a unit is called malignant at or above this probability
    rule: str  # how the threshold was chosen, in words
    patients: int | None  # None if their names were not given
    units: int


def settle(labels: np.ndarray, logits: np.ndarray, *, patients: np.ndarray | None = None) -> Settled:
    """Fit temperature, bias and threshold to labels (N,) of 0 and 1 and logits (N,) of calibration patients.

    Temperature scaling (Guo et al. 2017) with a bias, by likelihood. Two things keep it finite where the
    classes separate or units are few: Platt's targets (Platt 1999), which are as far from 0 and 1 as one more
    unit of each class would put them, and a weak prior against temperatures below 1. The threshold maximises
    balanced accuracy; it lies half-way between two neighbouring probabilities or at 0.5, and of equally good
    ones it is the nearest to 0.5. With a single class nothing is fitted: temperature 1, bias 0 and threshold
    0.5.

    `patients` (N,) are only counted. Raises UserError without units, or with logits that are not finite.
    """
    labels, logits = np.asarray(labels, np.float64), np.asarray(logits, np.float64)
    people = None if patients is None else len(pd.unique(np.asarray(patients)))
    if len(labels) == 0:
        raise UserError("There are no calibration patients to settle a threshold. Set some aside.")
    if not np.isfinite(logits).all():
        raise UserError(
            f"{int((~np.isfinite(logits)).sum())} of {len(logits)} scores of the calibration patients are "
            "not numbers. The training has failed; train again with a lower learning rate."
        )
    if labels.min() == labels.max():
        return Settled(1.0, 0.0, 0.5, ONE_CLASS, people, len(labels))
    temperature, bias = _likeliest(labels, logits)
    threshold = _threshold(labels, expit(logits / temperature + bias))
    return Settled(temperature, bias, threshold, BALANCED, people, len(labels))


def apply(settled: Settled, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(probability (N,) 0..1, called (N,) int 0 or 1) of logits (N,)."""
    probability = expit(np.asarray(logits, np.float64) / settled.temperature + settled.bias)
    return probability, (probability >= settled.threshold).astype(int)


def _likeliest(labels: np.ndarray, logits: np.ndarray) -> tuple[float, float]:
    """(temperature, bias)."""
    up, down = (labels == 1).sum(), (labels == 0).sum()
    targets = np.where(labels == 1, (up + 1) / (up + 2), 1 / (down + 2))
    middle = logits.mean()
    centred = logits - middle  # so that slope and offset hardly depend on each other

    def loss(at: np.ndarray) -> tuple[float, np.ndarray]:
        slope = np.exp(at[0])
        raised = slope * centred + at[1]
        sharper = max(at[0], 0.0) / SPREAD
        value = (np.logaddexp(0, raised) - targets * raised).sum() + sharper**2 / 2
        error = expit(raised) - targets
        return value, np.array([slope * (error @ centred) + sharper / SPREAD, error.sum()])

    scale = np.log(max(centred.std(), 1e-9))
    limits = [(-max(scale, 0.0) - 7, -np.log(COLDEST)), (None, None)]
    # In the logarithm of the slope the loss may have more than one valley.
    fits = [
        minimize(
            loss,
            [np.clip(start, *limits[0]), logit(up / (up + down))],
            jac=True,
            method="L-BFGS-B",
            bounds=limits,
        )
        for start in (0.0, 1.0 - scale, -2.0 - scale)
    ]
    best = min(fits, key=lambda one: one.fun).x
    slope = np.exp(best[0])
    return float(1 / slope), float(best[1] - slope * middle)


def _threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    distinct = np.unique(probabilities)
    # Half-way between two that differ by the last digit is the lower one itself, which is not to be called.
    between = np.maximum((distinct[:-1] + distinct[1:]) / 2, np.nextafter(distinct[:-1], 1))
    candidates = np.r_[0.5, between]
    missed, spared = (  # the share of each class below a candidate
        np.searchsorted(np.sort(of_class), candidates) / len(of_class)
        for of_class in (probabilities[labels == 1], probabilities[labels == 0])
    )
    value = (1 - missed + spared) / 2
    best = candidates[value >= value.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def ece(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of mean probability and share malignant, 0..1.

    Bins hold equal numbers of units; equal probabilities stay in one bin. It is biased upward when units are
    few: even perfect probabilities have an ECE above 0. `ece_noise` says how much. NaN without units.
    """
    return float(weighted_eces(labels, probabilities, np.ones((1, len(labels))), bins)[0])


def weighted_eces(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int = 10
) -> np.ndarray:
    """(B,) ECE under each of the sample weights (B, N), with bins of equal weight in each."""
    if len(labels) == 0:
        return np.full(len(weights), np.nan)
    order, starts = ties(probabilities)
    weights = np.asarray(weights, np.float64)[:, order]
    error = (np.asarray(labels, np.float64) - np.asarray(probabilities, np.float64))[order]
    mass = np.add.reduceat(weights, starts, axis=1)
    off = np.add.reduceat(weights * error, starts, axis=1)
    place = _bins(mass, bins) + bins * np.arange(len(weights))[:, None]
    by_bin = np.bincount(place.ravel(), off.ravel(), minlength=bins * len(weights)).reshape(-1, bins)
    return share(np.abs(by_bin).sum(1), mass.sum(1))


def ece_noise(
    labels: np.ndarray,
    probabilities: np.ndarray,
    bins: int = 10,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """{value, mean, low, high, p}: the ECE, and that of perfect calibration with these units.

    Labels are drawn from the probabilities themselves, so that they are true: `mean`, `low` and `high` (95 %)
    are the ECE of such draws, and `p` is the share of them at or above the measured `value`. Units of one
    group (N,), such as the slices of a nodule, share a label and are drawn together; without groups the noise
    of slices would be underestimated. NaN without units.
    """
    probabilities = np.asarray(probabilities, np.float64)
    value = ece(labels, probabilities, bins)
    if len(probabilities) == 0:
        return dict.fromkeys(("value", "mean", "low", "high", "p"), float("nan"))
    order, place = _ranked_bins(probabilities, bins)
    member = np.empty((len(order), bins))
    member[order] = np.eye(bins)[place]
    group = np.arange(len(order)) if groups is None else pd.factorize(np.asarray(groups))[0]
    generator = np.random.default_rng(seed)
    drawn = []
    for start in range(0, resamples, 100):
        luck = generator.random((min(100, resamples - start), group.max() + 1))[:, group]
        drawn.append(np.abs(((luck < probabilities) - probabilities) @ member).sum(1) / len(order))
    draws = np.concatenate(drawn)
    beside = against_null(value, draws)
    return {**percentile_interval(value, draws), "mean": beside["null"], "p": beside["p"]}


def ece_interval(value: float, drawn: np.ndarray, p: float) -> dict[str, float]:
    """{value, low, high} of an ECE from its resamples (B,) and from the p that `ece_noise` gives.

    An ECE is biased upward, and that of a resample even more, so the percentile interval may lie above the
    value itself. So only `high` is the 97.5th percentile; `low` is as far below the value as that is above it
    (the basic bootstrap's), and 0 where perfect calibration could give as large a value (p above 0.025). On
    simulated data of known calibration it covers the truth 91 to 97 times in 100, the percentile interval 0
    to 94 times.
    """
    upper = float(percentiles(drawn)[1])
    if np.isnan(upper):
        return {"value": value, "low": upper, "high": upper}
    high = max(upper, value)
    return {"value": value, "low": 0.0 if p > 0.025 else max(0.0, 2 * value - high), "high": high}


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = 10, *, patients: np.ndarray | None = None
) -> list[dict[str, float]]:
    """The bins of `ece`, from low to high: mean_probability, share malignant, count, and low and high of it.

    The interval is Wilson's at 95 %; it counts each patient of the bin once if `patients` (N,) are given,
    since units of one patient are alike, and otherwise each unit. Bins that ties leave empty are left out.
    """
    labels, probabilities = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    if len(labels) == 0:
        return []
    order, place = _ranked_bins(probabilities, bins)
    entries = []
    for number in np.unique(place):
        rows = order[place == number]
        mean, malignant = float(probabilities[rows].mean()), float(labels[rows].mean())
        cases = len(rows) if patients is None else len(pd.unique(np.asarray(patients)[rows]))
        low, high = wilson(malignant, cases)
        entry = {"mean_probability": mean, "share": malignant, "count": len(rows), "low": low, "high": high}
        entries.append(entry)
    return entries


def slope_intercept(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    """(slope, intercept) of a logistic regression of the labels (N,) on the logit of the probabilities.

    1 and 0 are perfect (Cox 1958); a slope below 1 means that probabilities are too extreme. Both are NaN
    where the regression has no finite answer: a single class, a single probability, or classes that separate.
    """
    labels = np.asarray(labels, np.float64)
    raw = logit(np.clip(np.asarray(probabilities, np.float64), 1e-12, 1 - 1e-12))
    positive, negative = raw[labels == 1], raw[labels == 0]
    if not len(positive) or not len(negative):
        return float("nan"), float("nan")
    if positive.min() >= negative.max() or negative.min() >= positive.max():
        return float("nan"), float("nan")
    middle, spread = raw.mean(), raw.std()
    design = np.stack([(raw - middle) / spread, np.ones(len(raw))], axis=1)
    at = np.array([0.0, logit(labels.mean())])

    def loss(where: np.ndarray) -> float:
        raised = design @ where
        return float(np.logaddexp(0, raised).sum() - labels @ raised)

    now = loss(at)
    for _ in range(100):  # Newton's steps, halved where one overshoots
        chance = expit(design @ at)
        gradient = design.T @ (chance - labels)
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.lstsq(curvature, gradient, rcond=None)[0]
        while (ahead := loss(at - step)) > now + 1e-12 and np.abs(step).max() > 1e-12:
            step /= 2
        at, now = at - step, ahead
        if np.abs(step).max() < 1e-9:
            break
    slope = at[0] / spread
    return float(slope), float(at[1] - slope * middle)


def _ranked_bins(probabilities: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """(order (N,) by rising probability, the bin (N,) of each in this order)."""
    order, starts = ties(probabilities)
    count = np.diff(np.r_[starts, len(order)])
    return order, np.repeat(_bins(count[None].astype(np.float64), bins)[0], count)


def _bins(mass: np.ndarray, bins: int) -> np.ndarray:
    """(B, G) int: the bin of each group, by where the middle of its mass (B, G) lies in the whole."""
    whole = mass.sum(1, keepdims=True)
    middle = (np.cumsum(mass, axis=1) - mass / 2) / np.where(whole > 0, whole, 1)
    # A hair above, so that rounding of a middle that lies on an edge does not choose its side.
    return np.minimum((middle * bins + 1e-9).astype(int), bins - 1)
