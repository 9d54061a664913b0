"""Walking through the latent space one dimension at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.slices import malignant
from lungvae_core.vae.latents import Latent

ACTIVE = 0.01  # least variance of a dimension that is used, as a share


def ranges(codes: np.ndarray, latent: Latent) -> np.ndarray:
    """(K, 2) float32: the range of each dimension's slider, from the codes (N, K) of the data."""
    return np.array([latent.span(at, values) for at, values in enumerate(codes.T)], np.float32)


def order(codes: np.ndarray) -> np.ndarray:
    """(K,) dimensions, those that vary most over the lesions first."""
    return np.argsort(-codes.std(0), kind="stable")


def active(codes: np.ndarray, latent: Latent) -> np.ndarray:
    """(K,) bool: dimensions that the model uses, in which codes (N, K) vary.

    A Gaussian's by over 1 % of the prior's variance (Burda et al., arXiv 1509.00519, section 5.3). A share of
    a simplex by over 1 % of its squared mean: the prior's draws vary far more than shares that a sure encoder
    gives, and these carry no less.
    """
    least = np.square(codes.mean(0)) if latent.simplex else latent.prior().variance.numpy()
    return codes.var(0) > ACTIVE * least


def class_means(table: pd.DataFrame, codes: np.ndarray, latent: Latent) -> dict[str, np.ndarray]:
    """Mean code (K,) of the malignant, the benign and the indeterminate slices, where there are any."""
    labels, indeterminate = malignant(table), numbers(table, "malignancy") == 3
    groups = {"malignant": labels == 1, "benign": labels == 0, "indeterminate": indeterminate}
    return {name: latent.valid(codes[rows].mean(0)) for name, rows in groups.items() if rows.any()}


def strip(
    latent: Latent, code: np.ndarray, dimension: int, span: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(values (steps,), codes (steps, K)): the whole range of one dimension from `code` (K,)."""
    values = latent.spaced(dimension, span[0], span[1], steps)
    return values, latent.path(code, dimension, values)
