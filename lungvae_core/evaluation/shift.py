"""How far another data set is from a model's own: its codes per dimension and as a whole.

A shift means that the slices differ from those the model was trained on (another scanner, another mix of
lesions, an error in the Hounsfield units). It does not mean that the model's answers are wrong.
"""

from __future__ import annotations

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
    train, held_out = own[trained], own[~trained]
    train_table, held_table = own_table[trained], own_table[~trained]
    difference = _standardised(train, new)
    statistic = np.array([ks_2samp(a, b).statistic for a, b in zip(train.T, new.T, strict=True)])
    inner, outer, kept = (_features(codes, simplex) for codes in (train, new, held_out))
    ids, new_ids, held_ids = (
        table["patient_id"].astype(str).to_numpy() for table in (train_table, new_table, held_table)
    )
    new_ids = np.array(spelled_as(new_ids, own_table["patient_id"].unique()), dtype=object)
    generator = np.random.default_rng(seed)
    sample = generator.choice(len(inner), min(2000, len(inner)), replace=False)
    usual = _nearest(inner[sample], ids[sample], inner, ids)
    usual = usual[np.isfinite(usual)]
    limit = float(np.percentile(usual, FAR)) if len(usual) else float("nan")
    order = np.argsort(-np.abs(difference))[:_LARGEST]
    return {
        "slices": len(new),
        "compared_with": f"{len(train):,} training slices of {len(set(ids)):,} patients",
        "seed": seed,
        "auc_of_origin": _origin(inner, ids, outer, new_ids, resamples, seed),
        "auc_of_origin_of_own_held_out": _origin(inner, ids, kept, held_ids, resamples, seed),
        "far": float(np.mean(_nearest(outer, new_ids, inner, ids) > limit)),
        "far_of_own_held_out": float(np.mean(_nearest(kept, held_ids, inner, ids) > limit))
        if len(kept)
        else None,
        "far_means": f"farther than {limit:.4g}, the {FAR}th percentile of training slices' distances to the "
        "nearest training slice of another patient",
        "mean_difference": float(np.abs(difference).mean()),
        "largest_differences": {f"dimension {number}": float(difference[number]) for number in order},
        "mean_ks": float(statistic.mean()),
        "largest_ks": float(statistic.max()),
        "reconstruction": {
            name: _quality(name, train_table, new_table)
            for name in ("ssim", "mse")
            if name in train_table and name in new_table
        },
        "difference_by_dimension": difference.tolist(),
        "ks_by_dimension": statistic.tolist(),
    }


def _features(codes: np.ndarray, simplex: bool) -> np.ndarray:
    codes = np.asarray(codes, np.float32)
    return np.sqrt(np.clip(codes, 0, None)) if simplex else codes


def _standardised(own: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(K,) mean of new minus mean of own, in pooled standard deviations; 0 if neither varies."""
    pooled = np.sqrt((own.var(0, dtype=np.float64) + new.var(0, dtype=np.float64)) / 2)
    apart = new.mean(0, dtype=np.float64) - own.mean(0, dtype=np.float64)
    return np.divide(apart, pooled, out=np.zeros(len(apart)), where=pooled > 1e-6)


def _nearest(
    queries: np.ndarray, patients: np.ndarray, reference: np.ndarray, owners: np.ndarray
) -> np.ndarray:
    """(M,) distance of each row of asked (M, K) to the nearest of known (N, K) of another patient."""
    names = pd.Index(np.unique(owners))
    owner, patient = names.get_indexer(owners), names.get_indexer(patients)
    squares = (reference.astype(np.float64) ** 2).sum(1)
    distances = np.empty(len(queries))
    for start in range(0, len(queries), 512):  # blocks bound the memory
        part = slice(start, start + 512)
        block = queries[part].astype(np.float64)
        apart = (block**2).sum(1)[:, None] + squares - 2 * block @ reference.T
        apart[patient[part, None] == owner] = np.inf
        distances[part] = np.sqrt(np.maximum(apart.min(1), 0))
    return distances


def _origin(
    own: np.ndarray,
    own_patients: np.ndarray,
    new: np.ndarray,
    new_patients: np.ndarray,
    resamples: int,
    seed: int,
) -> dict[str, float] | None:
    """AUC of classifying own against new codes, in folds by patient; None with under two patients a side."""
    fewest = min(len(set(own_patients)), len(set(new_patients)))
    if fewest < 2:
        return None
    generator = np.random.default_rng(seed)
    parts = [np.sort(generator.permutation(len(codes))[:MOST]) for codes in (own, new)]
    codes = np.concatenate([own[parts[0]], new[parts[1]]])
    origin = np.repeat([0, 1], [len(part) for part in parts])
    # A patient in both data sets stays one group, so that the classifier cannot memorise patients.
    table = pd.DataFrame({"patient_id": np.concatenate([own_patients[parts[0]], new_patients[parts[1]]])})
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
    return auc_interval(origin, scores, table["patient_id"].to_numpy(), resamples=resamples, seed=seed)


def _quality(name: str, own: pd.DataFrame, new: pd.DataFrame) -> dict[str, float]:
    """The reconstruction of new slices compared with the range of 99 % of the training slices."""
    trained_on, measured = own[name].to_numpy(float), new[name].to_numpy(float)
    if name == "ssim":
        limit = float(np.percentile(trained_on, 1))
        worse = float(np.mean(measured < limit))
    else:
        limit = float(np.percentile(trained_on, 99))
        worse = float(np.mean(measured > limit))
    return {
        "median": float(np.median(measured)),
        "training_median": float(np.median(trained_on)),
        "limit_of_99_percent_of_training": limit,
        "worse_than_limit": worse,
    }
