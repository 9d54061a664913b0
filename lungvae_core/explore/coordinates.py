"""Coordinates of codes in which straight lines make sense: every point of them is a valid code.

Codes are standardised. Those on the simplex become centred log-ratios first (Aitchison 1982); the way back is
a softmax, so that no step can leave the simplex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.data.columns import NODULE

# Added to coordinates of the simplex before their logarithm, in units of their mean 1/K. Half of it smooths
# away ratios of coordinates that are both next to nothing, to which the decoder is blind.
SMOOTHING = 0.5


@dataclass(frozen=True)
class Space:
    """Coordinates without borders for codes (N, K): 0 at the lesions' mean, 1 a standard deviation above."""

    mean: np.ndarray  # (K,)
    deviation: np.ndarray  # (K,)
    pseudo: float  # added before the logarithm; 0: codes that are no shares, without one

    @classmethod
    def fit(cls, codes: np.ndarray, *, simplex: bool, pseudo: float | None = None) -> Space:
        """The space of codes (N, K), which lie on the simplex or not."""
        if not simplex:
            pseudo = 0.0
        elif pseudo is None:
            pseudo = SMOOTHING / codes.shape[1]
        raw = _raw(codes, pseudo)
        # A dimension that hardly varies is unused; stretched to unit variance it would be all noise.
        return cls(raw.mean(0), np.maximum(raw.std(0), 0.05), pseudo)

    @property
    def dimensions(self) -> int:
        return len(self.mean)

    def to(self, codes: np.ndarray) -> np.ndarray:
        """(N, K) float64 coordinates of codes (N, K)."""
        return (_raw(codes, self.pseudo) - self.mean) / self.deviation

    def back(self, points: np.ndarray) -> np.ndarray:
        """(N, K) float32 valid codes of any coordinates (N, K); `back(to(codes))` is `codes`."""
        raw = np.asarray(points) * self.deviation + self.mean
        if not self.pseudo:
            return raw.astype(np.float32)
        share = np.exp(raw - raw.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        # The pseudo-count taken out again; what it would make negative lies on the simplex's border.
        share = np.clip(share * (1 + self.pseudo * self.dimensions) - self.pseudo, 0, None)
        return (share / share.sum(1, keepdims=True)).astype(np.float32)


def _raw(codes: np.ndarray, pseudo: float) -> np.ndarray:
    codes = np.asarray(codes, np.float64)
    if not pseudo:
        return codes
    logs = np.log(np.clip(codes, 0, None) + pseudo)
    return logs - logs.mean(1, keepdims=True)


def nodules(table: pd.DataFrame, points: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """(M rows of the table, the first slice's of each nodule; its slices' mean coordinates (M, K))."""
    number, _ = pd.factorize(pd.MultiIndex.from_frame(table[NODULE]))
    _, first = np.unique(number, return_index=True)
    sums = np.zeros((number.max() + 1, points.shape[1]))
    np.add.at(sums, number, points)
    return table.iloc[first].reset_index(drop=True), sums / np.bincount(number)[:, None]
