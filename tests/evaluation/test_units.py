"""Slices to nodules to patients, by hand-made cases."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.units import RULES, nodule_logits, patient_logits
from lungvae_core.training.attention import fit_attention
from lungvae_core.training.inputs import Inputs


@pytest.fixture
def slices() -> pd.DataFrame:
    """Two nodules of patient B and one of A, their rows mixed."""
    return pd.DataFrame(
        {
            "patient_id": ["B", "A", "B", "B", "A", "B"],
            "nodule": [1, 0, 0, 1, 0, 1],
            "slice": [0, 0, 0, 1, 1, 2],
            "area_px": [40, 12, 9, 90, 12, 10],
            "logit": [-1.0, 2.0, 0.5, -2.0, 4.0, 6.0],
        }
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("mean", [3.0, 0.5, 1.0]),
        ("max", [4.0, 0.5, 6.0]),
        ("largest", [3.0, 0.5, -2.0]),
        ("top3", [3.0, 0.5, 1.0]),
    ],
)
def test_rules_by_hand(slices: pd.DataFrame, rule: str, expected: list[float]) -> None:
    # Largest: both slices of A/0 are of one size, and B/1 speaks by its slice of 90 pixels.
    found = nodule_logits(rule, slices, slices["logit"].to_numpy())
    assert found[["patient_id", "nodule"]].to_numpy().tolist() == [["A", 0], ["B", 0], ["B", 1]]
    assert found["logit"].tolist() == expected
    assert found["slices"].tolist() == [2, 1, 3]


def test_the_three_highest_of_many(slices: pd.DataFrame) -> None:
    many = pd.DataFrame({"patient_id": "A", "nodule": 0, "slice": range(5)})
    assert nodule_logits("top3", many, np.array([1.0, -8, 3, 2, -9]))["logit"].tolist() == [2.0]


@pytest.mark.parametrize("rule", ["mean", "max", "top3", "largest"])
def test_the_order_of_the_rows_does_not_matter(slices: pd.DataFrame, rule: str) -> None:
    turned = slices.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(
        nodule_logits(rule, slices, slices["logit"].to_numpy()),
        nodule_logits(rule, turned, turned["logit"].to_numpy()),
    )


def test_a_given_area_goes_before_the_tables(slices: pd.DataFrame) -> None:
    found = nodule_logits("largest", slices, slices["logit"].to_numpy(), area=np.array([1.0, 1, 1, 2, 5, 3]))
    assert found["logit"].tolist() == [4.0, 0.5, 6.0]


def test_largest_says_that_it_uses_the_readers_mask_and_needs_areas(slices: pd.DataFrame) -> None:
    assert "readers' mask" in RULES["largest"]
    logits = slices["logit"].to_numpy()
    with pytest.raises(UserError, match="area_px"):
        nodule_logits("largest", slices.drop(columns="area_px"), logits)
    with pytest.raises(UserError, match="area_px"):
        nodule_logits("largest", slices, logits, area=np.array([1, 2, 3, 4, 5, np.nan]))


def test_a_patient_is_as_suspicious_as_the_worst_nodule(slices: pd.DataFrame) -> None:
    found = patient_logits(nodule_logits("mean", slices, slices["logit"].to_numpy()))
    assert found.to_dict("list") == {"patient_id": ["A", "B"], "logit": [3.0, 1.0]}


def test_attention_is_a_rule_like_the_others(slices: pd.DataFrame) -> None:
    codes = np.random.default_rng(0).normal(size=(6, 3))
    logits = slices["logit"].to_numpy()
    attention = fit_attention(codes, slices, np.array([0.0, 1, 0, 0, 1, 0]), seed=0, inputs=Inputs())
    found = nodule_logits("attention", slices, logits, attended=attention.logits(codes, slices))
    assert list(found) == list(nodule_logits("mean", slices, logits))
    assert found["slices"].tolist() == [2, 1, 3]
    with pytest.raises(UserError, match="needs the slices' codes"):
        nodule_logits("attention", slices, logits)


def test_an_unknown_rule_is_refused(slices: pd.DataFrame) -> None:
    with pytest.raises(UserError, match="Choose one of: mean, max, top3, largest, attention"):
        nodule_logits("median", slices, slices["logit"].to_numpy())
