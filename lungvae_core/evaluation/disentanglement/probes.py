"""Probes: how well a linear model and boosted trees predict a factor from codes.

Folds are grouped by patient, so that a probe is judged on patients it has not seen. Numeric factors have R2,
against the mean of the tested nodules, and binary factors AUC. Below 0, or 0.5, a probe is worse than
guessing.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import RidgeCV

from lungvae_core.data.splits import grouped_folds
from lungvae_core.statistics.intervals import percentiles
from lungvae_core.statistics.patients import bootstrap
from lungvae_core.statistics.roc import weighted_aucs

FOLDS = 5
ALPHAS = np.logspace(-1, 5, 13)  # of ridge regression on standardised codes


def standardised(codes: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Codes (M, K) with mean 0 and deviation 1 in each dimension over the rows `fitted`."""
    mean, deviation = codes[fitted].mean(0), codes[fitted].std(0)
    return (codes - mean) / np.where(deviation > 1e-12, deviation, 1)


class Probe:
    """Folds and standardised codes, prepared once for the factors and all null draws."""

    def __init__(self, codes: np.ndarray, nodules: pd.DataFrame, *, seed: int) -> None:
        self.seed = seed
        self.parts = []
        for train, test in grouped_folds(nodules, FOLDS, seed=seed):
            scaled = standardised(codes, train)
            self.parts.append((scaled[train], scaled[test], train, test))

    def predict(self, kind: str, factors: np.ndarray) -> np.ndarray:
        """(M, L): factors (M, L) as predicted for each nodule by a model that has not seen its patient.

        Binary factors are regressed as 0 and 1, since an AUC needs only the ranking.
        """
        predicted = np.empty_like(factors)
        for seen, unseen, train, test in self.parts:
            if kind == "linear":
                ridge = RidgeCV(ALPHAS, alpha_per_target=factors.shape[1] > 1)
                predicted[test] = ridge.fit(seen, factors[train]).predict(unseen).reshape(len(test), -1)
                continue
            for index in range(factors.shape[1]):
                trees = HistGradientBoostingRegressor(
                    max_iter=30,
                    learning_rate=0.2,
                    max_leaf_nodes=8,
                    max_bins=32,
                    min_samples_leaf=min(20, max(2, len(train) // 20)),
                    early_stopping=False,
                    random_state=self.seed,
                )
                predicted[test, index] = trees.fit(seen, factors[train, index]).predict(unseen)
        return predicted


def score(factors: np.ndarray, predicted: np.ndarray, binary: list[bool]) -> np.ndarray:
    """(L,) R2, or AUC for `binary` factors, of predictions (M, L) for factors (M, L)."""
    return _weighted(factors, predicted, binary, np.ones((1, len(factors))))[0]


def intervals(
    factors: np.ndarray,
    predicted: np.ndarray,
    binary: list[bool],
    patients: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """(2, L) 95 % percentile interval of `score` from resampling whole patients (M,)."""
    drawn = bootstrap(
        partial(_weighted, factors, predicted, binary), patients, resamples, seed=seed, block=resamples
    )
    return percentiles(drawn)


def _weighted(factors: np.ndarray, predicted: np.ndarray, binary: list[bool], weights: np.ndarray) -> Any:
    """(B, L) scores under each of the weights (B, M)."""
    weights = np.asarray(weights, float)
    missed = weights @ (factors - predicted) ** 2
    total = weights.sum(1, keepdims=True)
    spread = weights @ factors**2 - (weights @ factors) ** 2 / total
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(spread > 1e-12 * total, 1 - missed / spread, np.nan)
    for index in np.flatnonzero(binary):
        scores[:, index] = weighted_aucs(factors[:, index], predicted[:, index], weights)
    return scores
