"""Compare two models on the same units, and test one model among units of similar size."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from lungvae_core.data.columns import NODULE, spelled_as
from lungvae_core.data.slices import KEY
from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import SIZES
from lungvae_core.statistics.intervals import percentile_interval
from lungvae_core.statistics.patients import bootstrap
from lungvae_core.statistics.rates import share
from lungvae_core.statistics.roc import auc, delong, weighted_aucs

CALIPER = 0.1  # in log mm: diameters at most 10.5 % apart
FEWEST = 3  # benign partners that a malignant unit needs on each side: a single one would weigh too much


def paired(
    frame_a: pd.DataFrame, frame_b: pd.DataFrame, *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """{difference, low, high, p, count, patients}: AUC of frame a minus that of frame b, on shared units.

    Whole patients are resampled, the same for both frames. `low` and `high` are the 95 % percentile interval,
    and p is twice the smaller share of resamples on one side of 0 (at least 2 / (resamples + 1)). NaN with a
    single class. Raises UserError if the frames have no unit in common, contain one twice, or disagree on a
    label.
    """
    key = [column for column in KEY if column in frame_a]
    if key != [column for column in KEY if column in frame_b]:
        raise UserError("The two are judged on different units; compare slices, nodules or patients alone.")
    sides = [frame[[*key, "label", "logit"]].astype({"patient_id": str}) for frame in (frame_a, frame_b)]
    # The two may come from tables that spell patient ids differently.
    sides[1]["patient_id"] = spelled_as(sides[1]["patient_id"], sides[0]["patient_id"].unique())
    if any(side.duplicated(key).any() for side in sides):
        raise UserError("A unit was judged twice, so that the two cannot be compared.")
    both = sides[0].merge(sides[1], on=key, suffixes=("_a", "_b")).sort_values(key)
    if both.empty:
        raise UserError("The two have no unit in common, so that they cannot be compared.")
    if (both["label_a"] != both["label_b"]).any():
        raise UserError("The two disagree about labels; judge both under one task and label rule.")
    if both[["logit_a", "logit_b"]].isna().any(axis=None):
        raise UserError("Some of the units have no score, so that the two cannot be compared.")
    label, a, b = (both[name].to_numpy(float) for name in ("label_a", "logit_a", "logit_b"))
    drawn = bootstrap(
        lambda weights: weighted_aucs(label, a, weights) - weighted_aucs(label, b, weights),
        both["patient_id"].to_numpy(),
        resamples,
        seed=seed,
    )
    finite = drawn[np.isfinite(drawn)]
    interval = percentile_interval(auc(label, a) - auc(label, b), finite)
    fewer = min((finite <= 0).sum(), (finite >= 0).sum())
    return {
        "difference": interval["value"],
        "low": interval["low"],
        "high": interval["high"],
        "p": float(min(1.0, 2 * (1 + fewer) / (1 + len(finite)))) if len(finite) else float("nan"),
        "count": len(both),
        "patients": int(both["patient_id"].nunique()),
    }


def comparisons(
    nodules: pd.DataFrame,
    baselines: dict[str, Any],
    others: dict[str, pd.DataFrame],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The model against every baseline on nodules, and against the best size and the best of all.

    `nodules` is a judged frame. `others` has, by baseline, one row per nodule with label and logit;
    `baselines` has the report's figures of each.
    """
    pairs: dict[str, Any] = {}
    for name, other in others.items():
        both = nodules.merge(other, on=NODULE, suffixes=("", "_other"))
        pairs[name] = {
            "baseline": name,
            "unit": "nodule",
            "paired": paired(nodules, other, resamples=resamples, seed=seed),
            "delong": delong(*(both[column].to_numpy() for column in ("label", "logit", "logit_other"))),
        }
    ranked = sorted(pairs, key=lambda name: -baselines[name]["nodule"]["auc"]["value"])
    best_size = [name for name in ranked if name in SIZES][:1]
    best = {"best_size": best_size, "best": ranked[:1]}
    return pairs | {key: pairs[name] for key, names in best.items() for name in names}


def size_matched(
    frame: pd.DataFrame, size: np.ndarray, *, seed: int = 0, caliper: float = CALIPER, resamples: int = 1000
) -> dict[str, Any]:
    """{auc: {value, low, high}, pairs, caliper, what, patients}: AUC among units of similar size.

    Each malignant unit of the judged frame is paired with the benign units whose size (N,), in mm, differs by
    at most `caliper` in its logarithm. A malignant unit without FEWEST smaller and FEWEST larger partners, or
    as many of exactly its size, is left out. The AUC is the share of pairs that `logit` ranks correctly, ties
    counting half. Every malignant unit counts the same, and its smaller partners together as much as its
    larger ones, so that size alone gives 0.5. (A covariate-adjusted AUC, Janes and Pepe 2009.)

    The interval is a 95 % percentile interval from resampling whole patients. Units of unknown size are left
    out; NaN without pairs. Raises UserError if frame and size differ in length.
    """
    size = np.asarray(size, np.float64)
    if len(size) != len(frame):
        raise UserError(f"There are {len(size)} sizes for {len(frame)} units; a size a unit is needed.")
    label, logit = frame["label"].to_numpy(int), frame["logit"].to_numpy(float)
    people = frame["patient_id"].astype(str).to_numpy()
    sized = np.isfinite(size) & (size > 0)
    up, down = np.flatnonzero(sized & (label == 1)), np.flatnonzero(sized & (label == 0))
    case, other, side = _pairs(np.log(size[up]), np.log(size[down]), caliper)
    won = np.sign(logit[up[case]] - logit[down[other]]) / 2 + 0.5
    shape = (len(up), len(down))
    sums = [
        tuple(
            csr_array((values[side == which], (case[side == which], other[side == which])), shape=shape)
            for values in (won, np.ones(len(won)))
        )
        for which in (-1, 0, 1)
    ]

    matched = partial(_matched, sums, up, down)
    value = matched(np.ones((1, len(frame))))[0]
    return {
        "auc": percentile_interval(value, bootstrap(matched, people, resamples, seed=seed)),
        "pairs": len(case),
        "caliper": caliper,
        "what": f"{len(np.unique(case)):,} of {len(up):,} malignant with benign of a diameter at most "
        f"{100 * np.expm1(caliper):.0f} % apart, smaller and larger ones weighing the same",
        "patients": len(set(people[up[case]]) | set(people[down[other]])),
    }


def _matched(
    sums: list[tuple[csr_array, csr_array]], up: np.ndarray, down: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(B,) AUC under weights (B, N), leaving out malignant units whose partners were not drawn.

    `sums` has, for smaller, equal and larger partners, (won pairs, pairs) of malignant by benign units, which
    are the rows `up` and `down`.
    """
    drawn = weights[:, down].T
    wins, mass = (np.stack([part[at] @ drawn for part in sums]) for at in (0, 1))  # (3, cases, B)
    won = np.divide(wins, mass, out=np.zeros_like(wins), where=mass > 0)
    both = (mass[0] > 0) & (mass[2] > 0)
    flanks = np.where(both, mass[0] + mass[2], 0.0)
    whole = flanks + mass[1]
    gained = flanks * (won[0] + won[2]) / 2 + mass[1] * won[1]
    of_case = np.divide(gained, whole, out=np.zeros_like(whole), where=whole > 0)
    counted = np.where(whole > 0, weights[:, up].T, 0.0)
    return share((counted * of_case).sum(0), counted.sum(0))


def _pairs(log_up: np.ndarray, log_down: np.ndarray, caliper: float) -> tuple[np.ndarray, ...]:
    """(malignant (P,), benign (P,), side (P,)) of the pairs; side -1: the benign one is smaller; 0; 1."""
    order = np.argsort(log_down, kind="stable")
    ranked = log_down[order]
    hair = 1e-9  # so that rounding does not separate sizes exactly one caliper apart
    first = np.searchsorted(ranked, log_up - caliper - hair)
    partners = np.searchsorted(ranked, log_up + caliper + hair) - first
    case = np.repeat(np.arange(len(log_up)), partners)
    other = order[np.arange(partners.sum()) - np.repeat(np.cumsum(partners) - partners - first, partners)]
    side = np.sign(log_down[other] - log_up[case]).astype(int)
    counts = {which: np.bincount(case[side == which], minlength=len(log_up)) for which in (-1, 0, 1)}
    flanked = (counts[-1] >= FEWEST) & (counts[1] >= FEWEST)
    level = flanked | (counts[0] >= FEWEST)
    kept = np.where(side == 0, level[case], flanked[case])
    return case[kept], other[kept], side[kept]
