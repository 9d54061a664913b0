"""How near codes are to the lesions that a model has encoded: a code's neighbours, familiarity and place."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungvae_core.data.columns import patient_key
from lungvae_core.explore.neighbours import nearest, place
from lungvae_core.lazy import lazy
from lungvae_core.training.lesion_space import LesionSpace


class Nearness:
    """Nearness to codes (N, K), one row per slice or nodule, each of a patient; thread-safe."""

    def __init__(self, codes: np.ndarray, patients: pd.Series, space: LesionSpace) -> None:
        self.codes, self.patients, self._space = codes, patients, space

    def familiarity(self, codes: np.ndarray, *, exclude_patient: str | None = None) -> np.ndarray:
        """(M,) 0..1: the share of the model's own slices that are nearer to another patient's than each code.

        0.5 is as near to a lesion as lesions of different patients usually are; near 1, far from all of them.
        """
        nearest_of = self._nearest_other
        if not len(nearest_of):
            return np.ones(len(codes))
        own = self._space.family.features(codes)
        squares = (own**2).sum(1)[:, None] + self._squares - 2 * own @ self._features.T  # (M, N)
        if exclude_patient is not None:
            squares[:, self._keys == patient_key(exclude_patient)] = np.inf
        distance = np.sqrt(np.maximum(squares.min(1), 0))
        return np.searchsorted(nearest_of, distance, side="left") / len(nearest_of)

    def neighbours(
        self, code: np.ndarray, count: int = 8, *, exclude_patient: str | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows, distances) of the slices whose lesions are most alike, at most one a patient."""
        return nearest(
            self.lesions,
            self._space.points(code[None])[0],
            count,
            patients=self._keys,
            exclude_patient=None if exclude_patient is None else patient_key(exclude_patient),
            one_per_patient=True,
        )

    def place(self, code: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """(2,) where a code lies on a map xy (N, 2) of these lesions, among its ten nearest."""
        return place(xy, *nearest(self.lesions, self._space.points(code[None])[0], 10))

    @lazy
    def lesions(self) -> np.ndarray:
        """(N, D) the points by which lesions are compared."""
        return self._space.points(self.codes)

    @lazy
    def _keys(self) -> np.ndarray:
        return self.patients.map(patient_key).to_numpy()

    @lazy
    def _features(self) -> np.ndarray:
        return self._space.family.features(self.codes)

    @lazy
    def _squares(self) -> np.ndarray:
        return (self._features**2).sum(1)

    @lazy
    def _nearest_other(self) -> np.ndarray:
        """Distances of a fixed sample of slices to the nearest slice of another patient, in order."""
        inputs, squares = self._features, self._squares
        sample = np.random.default_rng(0).choice(len(inputs), min(300, len(inputs)), replace=False)
        apart = squares[sample, None] + squares - 2 * inputs[sample] @ inputs.T  # (300, N), squared
        patient = pd.factorize(self._keys)[0]
        apart[patient[sample, None] == patient] = np.inf
        nearest_of = np.sqrt(np.maximum(apart.min(1), 0))
        return np.sort(nearest_of[np.isfinite(nearest_of)])
