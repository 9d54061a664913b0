"""Patient-grouped, stratified folds: all splits are made here.

No patient is ever on both sides of a split, whatever the unit of the rows (slices or nodules).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from lungvae_core.data.columns import numbers, one_spelling
from lungvae_core.errors import UserError
from lungvae_core.quiet import silence


def strata(table: pd.DataFrame) -> np.ndarray:
    """(N,) int: the row's malignancy class: 0 benign, 1 indeterminate, 2 malignant, 3 unknown."""
    rating = numbers(table, "malignancy")
    return np.select([rating < 3, rating == 3, rating > 3], [0, 1, 2], default=3)


def grouped_folds(
    table: pd.DataFrame, folds: int = 5, *, seed: int = 0, classes: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (training rows, test rows) for each fold; every patient is in exactly one test part.

    Stratified by `classes` (N,), by default the malignancy class. Raises UserError with fewer patients
    than folds.
    """
    patients = one_spelling(table["patient_id"]).to_numpy()
    count = len(np.unique(patients))
    if folds < 2:
        raise UserError(f"{folds} fold(s) cannot be split; choose at least 2.")
    if count < folds:
        raise UserError(f"{count} patient(s) cannot be split into {folds} folds; choose fewer folds.")
    classes = strata(table) if classes is None else np.asarray(classes)
    if np.unique(classes, return_counts=True)[1].max() < folds:
        classes = np.zeros(len(table), int)  # so few rows that no class could be in every fold
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    # A class with fewer rows than folds cannot be in every fold; the folds are still patient-grouped.
    silence(message="The least populated class")
    yield from splitter.split(np.zeros(len(table)), classes, groups=patients)


def holdout(table: pd.DataFrame, *, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return (training rows, held-out rows); about `fraction` of the patients are held out.

    Raises UserError when there are fewer than two patients or `fraction` is not in (0, 0.5].
    """
    if not 0 < fraction <= 0.5:
        raise UserError(f"The held-out fraction is {fraction}; it must be above 0 and at most 0.5.")
    count = one_spelling(table["patient_id"]).nunique()
    if count < 2:
        raise UserError("Data of a single patient cannot be split; at least two patients are needed.")
    folds = min(max(round(1 / fraction), 2), count)
    return next(grouped_folds(table, folds, seed=seed))


def share_of_patients(table: pd.DataFrame, *, share: float, seed: int = 0) -> np.ndarray:
    """Rows of a random `share` (0 to 1) of the patients, in the table's order; for protocols that leak."""
    patients = np.unique(table["patient_id"].to_numpy().astype(str))
    chosen = np.random.default_rng(seed).permutation(patients)[: round(share * len(patients))]
    return np.flatnonzero(table["patient_id"].astype(str).isin(set(chosen)))


def check_apart(table: pd.DataFrame, **parts: np.ndarray) -> None:
    """Raise UserError if a patient has rows in two of the named parts, which would be a leak."""
    patients = one_spelling(table["patient_id"].astype(str)).to_numpy()
    seen: dict[str, str] = {}
    for name, rows in parts.items():
        for patient in np.unique(patients[rows]):
            if patient in seen:
                raise UserError(
                    f"Patient {patient} is in both {seen[patient]} and {name}: figures of this split would "
                    "leak. Split by patient."
                )
            seen[patient] = name
