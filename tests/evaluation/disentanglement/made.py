"""Codes and factors whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.fft import dct

from lungvae_core.evaluation.disentanglement.factors import Factor, Factors


def made(count: int = 900, factors: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, factors))


def as_factors(values: np.ndarray, *, patients: int = 300, size: np.ndarray | None = None) -> Factors:
    nodules = pd.DataFrame(
        {"patient_id": [f"P{row % patients:04d}" for row in range(len(values))], "nodule": 0}
    )
    nodules["nodule"] = nodules.groupby("patient_id").cumcount()
    return Factors([Factor(f"f{i}", "") for i in range(values.shape[1])], values, nodules, size, 0)


def rotation(size: int) -> np.ndarray:
    """(size, size) orthogonal, with something of every factor in nearly every code."""
    return dct(np.eye(size), norm="ortho")
