"""No patient is on both sides, every row is tested once, classes are spread, and it repeats by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungvae_core.data.columns import patient_key
from lungvae_core.data.splits import check_apart, grouped_folds, holdout, strata
from lungvae_core.errors import UserError


def table_of(sizes: list[int], seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    patients = np.repeat([f"P{i}" for i in range(len(sizes))], sizes)
    return pd.DataFrame({"patient_id": patients, "malignancy": generator.integers(1, 6, len(patients))})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=5, max_size=40), st.integers(0, 9), st.integers(2, 5))
def test_patients_never_straddle(sizes: list[int], seed: int, folds: int) -> None:
    table = table_of(sizes)
    tested = np.zeros(len(table), int)
    for train, test in grouped_folds(table, folds, seed=seed):
        assert not set(table["patient_id"].iloc[train]) & set(table["patient_id"].iloc[test])
        assert len(train) + len(test) == len(table)
        tested[test] += 1
    assert (tested == 1).all()


def test_folds_are_stratified_and_repeat_by_seed() -> None:
    table = table_of([5] * 200)
    shares = [np.bincount(strata(table)[test], minlength=3) / len(test) for _, test in grouped_folds(table)]
    assert np.ptp(shares, axis=0).max() < 0.1
    first, again, other = (
        [test.tolist() for _, test in grouped_folds(table, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_holdout_takes_about_the_fraction_of_patients() -> None:
    table = table_of([4] * 100)
    train, held_out = holdout(table, fraction=0.15, seed=3)
    assert 0.10 < table["patient_id"].iloc[held_out].nunique() / 100 < 0.20
    assert not set(table["patient_id"].iloc[train]) & set(table["patient_id"].iloc[held_out])


def test_what_cannot_be_split_is_reported() -> None:
    with pytest.raises(UserError, match="fewer folds"):
        list(grouped_folds(table_of([3, 3]), 5))
    with pytest.raises(UserError, match="at least 2"):
        list(grouped_folds(table_of([3, 3]), 1))
    with pytest.raises(UserError, match="single patient"):
        holdout(table_of([9]), fraction=0.2)
    with pytest.raises(UserError, match="above 0"):
        holdout(table_of([3, 3]), fraction=0)


def test_a_patient_in_two_parts_is_named() -> None:
    table = table_of([3, 2, 4])
    check_apart(table, fit=np.array([0, 1, 2]), test=np.array([3, 4]), calibration=np.arange(5, 9))
    with pytest.raises(UserError, match="Patient P0 is in both fit and test"):
        check_apart(table, fit=np.array([0, 1]), test=np.array([2, 3]))


def test_spellings_of_a_patient_stay_together() -> None:
    table = pd.DataFrame({"patient_id": [f"P-{at % 10}" if at % 2 else f"p_0{at % 10}" for at in range(20)]})
    table["patient_id"] = [name.lower() if at > 9 else name for at, name in enumerate(table["patient_id"])]
    keys = table["patient_id"].map(patient_key).to_numpy()
    for train, test in grouped_folds(table, 3):
        assert not set(keys[train]) & set(keys[test])
    with pytest.raises(UserError, match="is in both fit and test"):
        check_apart(table, fit=np.array([1]), test=np.array([11]))
    with pytest.raises(UserError, match="single patient"):
        holdout(pd.DataFrame({"patient_id": ["A 1", "a-01"]}), fraction=0.5)
