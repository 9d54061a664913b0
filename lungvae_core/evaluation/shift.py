"""How far another data set is from a model's own: its codes per dimension and as a whole.

A shift means that the slices differ from those the model was trained on (another scanner, another mix of
lesions, an error in the Hounsfield units). It does not mean that the model's answers are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lungvae_core.data.columns import spelled_as
from lungvae_core.data.splits import grouped_folds
from lungvae_core.statistics.roc import auc_interval

FAR = 99  # percentile of the training slices' distances beyond which a slice counts as far
MOST = 3000  # slices per side for the classifier that distinguishes the two
_LARGEST = 5


def code_shift(
    own: np.ndarray,
    own_table: pd.DataFrame,
    new: np.ndarray,
    new_table: pd.DataFrame,
    *,
    simplex: bool,
    trained: np.ndarray,
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """How codes `new` (M, K) differ from a model's own (N, K); `trained` (N,) bool marks those it trained on.

    Both tables have patient_id, and ssim and mse of the reconstruction. Dimensions are compared by their
    standardised mean difference (new minus own, in pooled standard deviations) and the Kolmogorov-Smirnov
    statistic (0 to 1). Two figures compare the codes as a whole. `auc_of_origin` is the AUC of a logistic
    classifier on the codes and their squares, in folds by patient, that distinguishes the two data sets (0.5:
    it cannot). `far` is the share of slices that are farther from every training slice of other patients than
    all but 1 % of the training slices are. The model's own patients that it did not train on, if any, take
    the same tests for reference. Codes on the simplex enter distances and the classifier as square roots
    (Hellinger).
    """
    train, train_table = own[trained], own_table[trained]
    difference = _standardised(train, new)
    statistic = np.array([ks_2samp(a, b).statistic for a, b in zip(train.T, new.T, strict=True)])
    inner = _Codes.of(train, train_table["patient_id"].astype(str), simplex)
    kept = _Codes.of(own[~trained], own_table["patient_id"][~trained].astype(str), simplex)
    new_ids = spelled_as(new_table["patient_id"].astype(str), own_table["patient_id"].unique())
    outer = _Codes.of(new, new_ids, simplex)
    sample = np.random.default_rng(seed).choice(len(train), min(2000, len(train)), replace=False)
    usual = _nearest(inner.part(sample), inner)
    usual = usual[np.isfinite(usual)]
    limit = float(np.percentile(usual, FAR)) if len(usual) else float("nan")
    order = np.argsort(-np.abs(difference))[:_LARGEST]
    return {
        "slices": len(new),
        "compared_with": f"{len(train):,} training slices of {inner.count:,} patients",
        "seed": seed,
        "auc_of_origin": _origin(inner, outer, resamples, seed),
        "auc_of_origin_of_own_held_out": _origin(inner, kept, resamples, seed),
        "far": float(np.mean(_nearest(outer, inner) > limit)),
        "far_of_own_held_out": float(np.mean(_nearest(kept, inner) > limit)) if kept.count else None,
        "far_means": f"farther than {limit:.4g}, the {FAR}th percentile of training slices' distances to the "
        "nearest training slice of another patient",
        "mean_difference": float(np.abs(difference).mean()),
        "largest_differences": {f"dimension {number}": float(difference[number]) for number in order},
        "mean_ks": float(statistic.mean()),
        "largest_ks": float(statistic.max()),
        "reconstruction": {
            name: _quality(train_table[name], new_table[name], worst)
            for name, worst in (("ssim", 1), ("mse", 99))
            if name in train_table and name in new_table
        },
        "difference_by_dimension": difference.tolist(),
        "ks_by_dimension": statistic.tolist(),
    }


@dataclass(frozen=True)
class _Codes:
    """Codes as distances and classifiers take them, with their patients."""

    features: np.ndarray  # (N, K) float32
    patients: np.ndarray  # (N,)

    @classmethod
    def of(cls, codes: np.ndarray, patients: Iterable[str], simplex: bool) -> _Codes:
        codes = np.asarray(codes, np.float32)
        patients = np.array(list(patients), dtype=object)
        return cls(np.sqrt(np.clip(codes, 0, None)) if simplex else codes, patients)

    def part(self, rows: np.ndarray) -> _Codes:
        return _Codes(self.features[rows], self.patients[rows])

    @property
    def count(self) -> int:
        """How many patients."""
        return len(set(self.patients))


def _standardised(own: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(K,) mean of new minus mean of own, in pooled standard deviations; 0 if neither varies."""
    pooled = np.sqrt((own.var(0, dtype=np.float64) + new.var(0, dtype=np.float64)) / 2)
    apart = new.mean(0, dtype=np.float64) - own.mean(0, dtype=np.float64)
    return np.divide(apart, pooled, out=np.zeros(len(apart)), where=pooled > 1e-6)


def _nearest(codes: _Codes, reference: _Codes) -> np.ndarray:
    """(M,) distance of each of M codes to the nearest reference code of another patient."""
    names = pd.Index(np.unique(reference.patients))
    owner, patient = names.get_indexer(reference.patients), names.get_indexer(codes.patients)
    squares = (reference.features.astype(np.float64) ** 2).sum(1)
    distances = np.empty(len(codes.features))
    for start in range(0, len(distances), 512):  # blocks bound the memory
        part = slice(start, start + 512)
        block = codes.features[part].astype(np.float64)
        apart = (block**2).sum(1)[:, None] + squares - 2 * block @ reference.features.T
        apart[patient[part, None] == owner] = np.inf
        distances[part] = np.sqrt(np.maximum(apart.min(1), 0))
    return distances


def _origin(own: _Codes, new: _Codes, resamples: int, seed: int) -> dict[str, float] | None:
    """AUC of classifying own against new codes, in folds by patient; None with under two patients a side."""
    fewest = min(own.count, new.count)
    if fewest < 2:
        return None
    generator = np.random.default_rng(seed)
    sides = [side.part(np.sort(generator.permutation(len(side.features))[:MOST])) for side in (own, new)]
    codes, patients = (
        np.concatenate([getattr(side, name) for side in sides]) for name in ("features", "patients")
    )
    origin = np.repeat([0, 1], [len(side.features) for side in sides])
    # A patient in both data sets stays one group, so that the classifier cannot memorise patients.
    table = pd.DataFrame({"patient_id": patients})
    scores = np.empty(len(codes))
    for train, test in grouped_folds(table, min(5, fewest), seed=seed, classes=origin):
        if origin[train].min() == origin[train].max():
            return None
        # Only squares reveal codes with the same mean but a larger spread.
        model = make_pipeline(
            StandardScaler(),
            FunctionTransformer(lambda x: np.hstack([x, x**2])),
            LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced"),
        )
        scores[test] = model.fit(codes[train], origin[train]).decision_function(codes[test])
    return auc_interval(origin, scores, patients, resamples=resamples, seed=seed)


def _quality(own: pd.Series, new: pd.Series, worst: int) -> dict[str, float]:
    """The reconstruction of new slices compared with the training slices'.

    `worst` is the percentile, 1 or 99, beyond which the worst 1 % of the training slices lie.
    """
    trained, tested = own.to_numpy(float), new.to_numpy(float)
    limit = float(np.percentile(trained, worst))
    return {
        "median": float(np.median(tested)),
        "training_median": float(np.median(trained)),
        "limit_of_99_percent_of_training": limit,
        "worse_than_limit": float(np.mean(tested < limit if worst == 1 else tested > limit)),
    }
