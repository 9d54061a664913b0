"""Each rating from the code, beside the constant and one reader against the others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.evaluation.disentanglement.attributes import attributes


def made(patients: int = 60, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Two nodules a patient, two slices each; `spiculation` is in the code, `texture` is not."""
    generator = np.random.default_rng(seed)
    rows, codes = [], []
    for number in range(patients):
        for nodule in range(2):
            spiculation = generator.integers(1, 6, 2)
            texture = generator.choice([5, 5, 5, 5, 1], 2)
            for at in range(2):
                rows.append(
                    {
                        "patient_id": f"P{number}",
                        "nodule": nodule,
                        "slice": at,
                        "split": "train" if number < patients // 2 else "validation",
                        "spiculation_all": "|".join(map(str, spiculation)),
                        "texture_all": "|".join(map(str, texture)),
                        "margin_all": "4" if number else "5",
                    }
                )
                codes.append([spiculation.mean() + generator.normal(0, 0.1), *generator.normal(0, 1, 3)])
    return pd.DataFrame(rows), np.array(codes, np.float32)


def test_a_rating_in_the_code_beats_the_constant_and_one_that_is_not_does_not() -> None:
    table, codes = made()
    part = attributes(table, codes, labels_shape_codes=False, resamples=100, seed=0)
    assert part is not None
    clear, none = part["ratings"]["spiculation"], part["ratings"]["texture"]
    assert clear["nodules"] == 120
    assert clear["model"]["within_one"]["value"] > 0.99 > clear["constant"]["within_one"]["high"]
    assert clear["model"]["mae"]["value"] < 0.15
    assert none["model"]["mae"]["value"] > none["constant"]["mae"]["low"]
    low, value, high = (clear["constant"]["within_one"][name] for name in ("low", "value", "high"))
    assert low < value < high
    assert "pile up" in part["note"]


def test_the_baselines_are_what_they_say() -> None:
    table, codes = made()
    part = attributes(table, codes, labels_shape_codes=False, resamples=50, seed=0)
    nodules = table.drop_duplicates(["patient_id", "nodule"])
    pairs = np.array([[int(one) for one in text.split("|")] for text in nodules["spiculation_all"]])
    apart = np.abs(pairs[:, 0] - pairs[:, 1])
    reader = part["ratings"]["spiculation"]["reader"]
    assert reader["within_one"]["value"] == pytest.approx((apart <= 1).mean(), abs=1e-3)
    assert reader["mae"]["value"] == pytest.approx(apart.mean(), abs=1e-3)
    assert part["ratings"]["margin"]["reader"] is None  # a single reader
    assert part["ratings"]["margin"]["constant"]["within_one"]["value"] == 1


def test_labels_in_the_codes_leave_the_patients_that_the_encoder_did_not_train_on() -> None:
    table, codes = made()
    part = attributes(table, codes, labels_shape_codes=True, resamples=50, seed=0)
    assert part["ratings"]["spiculation"]["patients"] == 30
    assert "did not train on" in part["tested"]
    alone = attributes(table.assign(split="train"), codes, labels_shape_codes=True, resamples=50, seed=0)
    assert alone is None


def test_without_ratings_there_is_nothing_to_tell() -> None:
    table, codes = made()
    bare = table[["patient_id", "nodule", "slice"]]
    assert attributes(bare, codes, labels_shape_codes=False, resamples=50, seed=0) is None
