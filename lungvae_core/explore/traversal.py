"""Walking through the latent space one dimension at a time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lungvae_core.data.slices import malignant
from lungvae_core.vae.latents import DirichletLatent, Latent

ACTIVE = 0.01  # share of the prior's variance


def ranges(codes: np.ndarray, prior: str) -> np.ndarray:
    """(K, 2) float32: what each dimension's slider spans, from the codes (N, K) that were seen.

    The 0.5th to 99.5th percentile, widened by a tenth; on the simplex from 0, at most 1.
    """
    low, high = np.percentile(codes, [0.5, 99.5], axis=0)
    margin = np.maximum(0.1 * (high - low), 1e-3)
    low, high = low - margin, high + margin
    if prior == "dirichlet":
        low, high = np.zeros_like(low), np.minimum(high, 1)
    return np.stack([low, high], axis=1).astype(np.float32)


def order(codes: np.ndarray) -> np.ndarray:
    """(K,) dimensions, those that vary most over the lesions first."""
    return np.argsort(-codes.std(0), kind="stable")


def active(codes: np.ndarray, latent: Latent) -> np.ndarray:
    """(K,) bool: dimensions that the model uses: codes (N, K) vary by over 1 % of what the prior's draws do.

    For the Gaussian this is the criterion of Burda et al. (arXiv 1509.00519, section 5.3).
    """
    return codes.var(0) > ACTIVE * latent.prior().variance.numpy()


def class_means(table: pd.DataFrame, codes: np.ndarray, latent: Latent) -> dict[str, np.ndarray]:
    """Mean code (K,) of the malignant, the benign and the indeterminate slices, where there are any."""
    labels = malignant(table)
    indeterminate = np.zeros(len(table), bool)
    if "malignancy" in table:
        indeterminate = table["malignancy"].to_numpy(dtype=float, na_value=np.nan) == 3
    groups = {"malignant": labels == 1, "benign": labels == 0, "indeterminate": indeterminate}
    return {name: latent.valid(codes[rows].mean(0)) for name, rows in groups.items() if rows.any()}


def strip(
    latent: Latent, code: np.ndarray, dimension: int, span: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(values (steps,), codes (steps, K)): the whole range of one dimension from `code` (K,)."""
    values = np.linspace(span[0], span[1], steps, dtype=np.float32)
    return values, latent.path(code, dimension, values)


def edited(latent: Latent, start: np.ndarray, edits: Mapping[int, float]) -> np.ndarray:
    """(K,) float32: `start` (K,) with some dimensions set to other values; the order of edits is nothing.

    On the simplex the dimensions that are not named share what is left in the start's proportions, so moving
    one after another along `Latent.path` is the same as setting all at once to where they ended.
    """
    code = latent.valid(start).astype(np.float64)
    if not edits:
        return code.astype(np.float32)
    at, values = list(edits), np.array(list(edits.values()), np.float64)
    if isinstance(latent, DirichletLatent):
        values = np.clip(values, 0, 1)
        values /= max(values.sum(), 1)
        others = np.ones(len(code), bool)
        others[at] = False
        share = np.where(others, code, 0)
        if share.sum() == 0:  # the start's whole mass was on the edited ones: the others are equal
            share = others.astype(np.float64)
        if others.any():
            code = share * (1 - values.sum()) / share.sum()
    code[at] = values
    return latent.valid(code)
