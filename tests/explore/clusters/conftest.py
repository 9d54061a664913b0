"""Lesions in planted groups."""

from __future__ import annotations

import numpy as np
import pandas as pd

GROUPS = 3


def planted(count: int = 300, dimensions: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(points (M, D) of three groups of 50, 30 and 20 % far apart, the group of each)."""
    generator = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], [count // 2, count * 3 // 10, count // 5])
    centres = 9 * np.eye(dimensions)[:GROUPS]
    return centres[truth] + generator.normal(size=(count, dimensions)), truth


def lesions(truth: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Nodules whose group 0 is malignant, large and spiculated; three nodules a patient, of any group."""
    generator = np.random.default_rng(seed)
    high = truth == 0
    return pd.DataFrame(
        {
            "patient_id": [f"P{number // 3:03d}" for number in generator.permutation(len(truth))],
            "nodule": np.arange(len(truth)),
            "malignancy": np.where(high, 5, 1),
            "malignancy_all": np.where(high, "5|4", "1|2"),
            "diameter_mm": np.where(high, 18.0, 5.0) + generator.uniform(0, 1, len(truth)),
            "spiculation_all": np.where(high, "5|4", "1|1"),
            "texture_all": generator.choice(["5|5", "1|2", "3|3"], len(truth)),
        }
    )
