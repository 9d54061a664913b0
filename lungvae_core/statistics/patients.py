"""A bootstrap over patients: slices and nodules of one patient are alike, so they are drawn together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

BLOCK = 100  # resamples whose weights are in memory at once


def draw_counts(count: int, resamples: int, *, seed: int | Sequence[int] = 0) -> np.ndarray:
    """(resamples, count) int: how often each of `count` patients is drawn, with replacement."""
    return _counts(np.random.default_rng(seed), count, resamples)


def draw_numbers(count: int, resamples: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """(count,) int for each resample: the patients, 0 to count - 1, in the order drawn.

    For figures that need the drawn rows. The draws differ from those of `draw_counts`.
    """
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(count, size=count)


def patient_rows(patients: np.ndarray | pd.Series, resamples: int, *, seed: int = 0) -> Iterator[np.ndarray]:
    """The rows of resampled patients (`draw_numbers`), for each resample; `patients` (N,) are names."""
    patient, names = pd.factorize(patients)
    rows_of = np.split(np.argsort(patient, kind="stable"), np.cumsum(np.bincount(patient))[:-1])
    for numbers in draw_numbers(len(names), resamples, seed=seed):
        yield np.concatenate([rows_of[one] for one in numbers])


def patient_weights(
    patients: np.ndarray, resamples: int, *, seed: int = 0, block: int = BLOCK
) -> Iterator[np.ndarray]:
    """Blocks (up to `block`, N) of each row's weight when whole patients are resampled.

    `patients` (N,) are names; as many are drawn as there are. Blocks bound the memory.
    """
    patient, names = pd.factorize(patients)
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, block):
        drawn = _counts(generator, len(names), min(block, resamples - start))
        yield drawn[:, patient].astype(np.float64)


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    patients: np.ndarray,
    resamples: int,
    *,
    seed: int = 0,
    block: int = BLOCK,
) -> np.ndarray:
    """(resamples,) a statistic, from weights (B, N) to figures (B,), under resampled patients (N,)."""
    blocks = [statistic(weights) for weights in patient_weights(patients, resamples, seed=seed, block=block)]
    return np.concatenate(blocks) if blocks else np.empty(0)


def _counts(generator: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    if count == 0:
        return np.zeros((resamples, 0), int)
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples)
