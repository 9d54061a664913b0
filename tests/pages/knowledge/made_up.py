"""A measured.json, made up."""

from __future__ import annotations

from typing import Any

import numpy as np

from lungvae_core.data.properties import PROPERTIES
from lungvae_core.explore.measured.record import FORMAT
from lungvae_core.explore.measured.traverse import property_entries

STEPS = 3


def made_up() -> dict[str, Any]:
    """What `measure_run` would write of a model of 4 dimensions, of which the third is named."""

    def dimension(at: int) -> dict[str, Any]:
        named = at == 2
        moved = {key: [0.1, -0.1, 0.3, 0.05, 0.1, 0.6] for key in PROPERTIES}
        if named:
            moved["diameter_px"] = [4.5, 4.0, 5.0, 0.9, 0.98, 1.0]
        return {
            "dimension": at,
            "low": -2.0,
            "high": 2.0,
            "name": "grows" if named else "nothing steady",
            "properties": ["diameter_px"] if named else [],
            "others": [],
            "family": "size" if named else "",
            "selectivity": 0.8 if named else 0.0,
            "inside_hu": 30.0,
            "outside_hu": 20.0,
            "outlined": 1.0,
            "moved": moved,
            "walk": {key: [[1.0, 2.0, 3.0], [0.9, 1.9, 2.9], [1.1, 2.1, 3.1]] for key in PROPERTIES},
            "mm": {"diameter_mm": [3.15, 2.8, 3.5]} if named else {},
            "judged": {"spiculation": [0.8, 0.6, 1.0, 0.97, 2 / 3], "texture": [0.0, -0.1, 0.1, 0.1, 1 / 3]},
        }

    return {
        "format": FORMAT,
        "rule": "The rule.",
        "moved": ["change", "low", "high", "effect", "spearman", "agree"],
        "dimensions_count": 4,
        "steps": STEPS,
        "seed": 0,
        "starts": {"rows": [0, 5, 10], "patients": 3, "with_spacing": 3},
        "outlined": 0.987,
        "properties": property_entries(np.full(len(PROPERTIES), 5.0)),
        "dimensions": [dimension(at) for at in range(4)],
        "controls": {"shuffled": {"dimensions": 200, "named": 0}},
        "judged": ["change", "low", "high", "spearman", "rises"],
        "judge": {
            "ratings": {
                "real": {
                    "spiculation": {"value": 0.52, "low": 0.44, "high": 0.6, "n": 1480, "patients": 106},
                    "texture": {"value": None, "low": None, "high": None, "n": 12, "patients": 3},
                },
                "reconstructed": {
                    "spiculation": {"value": 0.41, "low": 0.3, "high": 0.5, "n": 1480, "patients": 106},
                    "texture": {"value": None, "low": None, "high": None, "n": 12, "patients": 3},
                },
            },
            "fitted": {"used": 8000, "left_out": {"of patients of the starting lesions": 20}},
            "tested": {"used": 1480, "left_out": {}},
            "epochs": 10,
            "seed": 0,
            "seconds": 100.0,
        },
        "counted": {"used": 9, "left_out": {"not drawn": 111}},
        "outlines": {
            "real": [
                {
                    "band": "all",
                    "n": 400,
                    "dice": 0.83,
                    "dice_median": 0.86,
                    "area_correlation": 0.93,
                    "area_ratio": 0.88,
                    "outlined": 1.0,
                }
            ]
        },
    }
