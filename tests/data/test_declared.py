"""Stored tables whose columns are not what they are declared to be."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.columns import KEY, TABLE
from lungvae_core.data.declared import as_declared, wrong_key
from tests.conftest import blobs

ODD = [
    *("text", "", "1e999", "nan", b"\xff", [1, [2]], {"a": 1}, True, 10**30, -(10**30), float("inf"), -1e308),
    *(pd.Timestamp("2026-01-01"), np.datetime64("2026-01-01"), 1j, None, np.nan, pd.NA, object()),
]


@pytest.mark.parametrize("column", [column.name for column in TABLE if column.name not in KEY])
def test_odd_values_of_any_column_are_not_known_and_others_stay(column):
    table = blobs(len(ODD) * 5)[2].drop(columns=column, errors="ignore")
    odd = pd.Series([ODD[number % len(ODD)] for number in range(len(table))], dtype=object)
    made, notes = as_declared(table.assign(**{column: odd}))
    assert made[column].dtype != object
    assert made[column].isna().any()
    [note] = notes
    assert f" of {odd.notna().sum()} values of {column} are no " in note
    pd.testing.assert_frame_equal(made.drop(columns=column), table)


def test_a_table_that_is_as_declared_stays_the_very_same():
    table = blobs(20)[2]
    made, notes = as_declared(table)
    assert made is table
    assert notes == []


@pytest.mark.parametrize("name", ["patient_id", "nodule", "slice"])
@pytest.mark.parametrize("value", [None, float("nan"), b"x", [1], {"a": 1}, pd.Timestamp("2026-01-01")])
def test_a_row_whose_key_is_none_is_named(name, value):
    table = blobs(20)[2].astype({name: object})
    table[name] = pd.Series([value, *table[name][1:]], dtype=object)
    assert wrong_key(table) == f"1 of 20 rows whose {name} is missing or of another kind"


@pytest.mark.parametrize(("name", "value"), [("patient_id", 5), ("nodule", 2.0), ("slice", -1)])
def test_keys_that_earlier_versions_wrote_are_keys(name, value):
    assert wrong_key(blobs(20)[2].assign(**{name: value})) == ""
