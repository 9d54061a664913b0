"""Filters: every column, conditions that all hold, a search by name, and bad ones told."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lungvae_core.errors import UserError
from lungvae_core.explore.filters import columns, mask, parse, with_derived

TABLE = with_derived(
    pd.DataFrame(
        {
            "patient_id": ["LIDC-0001", "LIDC-0001", "LIDC-0012", "OTHER-1"],
            "nodule": [0, 2, 0, 1],
            "slice": [0, 3, 4, 7],
            "malignancy": pd.array([1, 5, None, 4], dtype="Int64"),
            "malignancy_all": ["1|1", "5|2|5", None, "4"],
            "diameter_mm": [4.0, 6.0, np.nan, 40.0],
            "score": [0.1, 0.2, 0.9, 0.7],
            "contrast": [True, False, False, True],
            "split": ["train", "validation", "train", "train"],
            "series_uid": list("abcd"),
        }
    )
)


def shown(*conditions):
    return mask(TABLE, parse(json.dumps(conditions))).tolist()


def test_what_follows_from_the_table_can_be_filtered_by():
    named = {column.name: column for column in columns(TABLE)}
    assert named["size_band"].options == ("under 6 mm", "6 to under 8 mm", "15 mm and over")
    assert named["reader_spread"].options == ("0", "3")
    assert named["right"].options == ("against the readers", "as the readers")
    assert named["contrast"].options == ("no", "yes")
    assert "series_uid" not in named
    np.testing.assert_allclose(TABLE["error"], [0.1, 0.8, np.nan, 0.3])


def test_all_conditions_must_hold():
    assert shown() == [True] * 4
    assert shown({"column": "split", "in": ["train"]}) == [True, False, True, True]
    both = [{"column": "split", "in": ["train"]}, {"column": "diameter_mm", "from": 5}]
    assert shown(*both) == [False, False, False, True]
    assert shown({"column": "malignancy", "in": ["1", "5"]}) == [True, True, False, False]
    assert shown({"column": "malignancy", "in": ["not known"]}) == [False, False, True, False]
    assert shown({"column": "contrast", "in": ["yes"]}) == [True, False, False, True]
    assert shown({"column": "size_band", "in": ["6 to under 8 mm"]}) == [False, True, False, False]
    assert shown({"column": "diameter_mm", "to": 6}) == [True, True, False, False]


def test_a_search_finds_patients_and_nodules():
    assert shown({"search": "lidc"}) == [True, True, True, False]
    assert shown({"search": "0001 2"}) == [False, True, False, False]
    assert shown({"search": "LIDC-0001 2 3"}) == [False, True, False, False]
    assert shown({"search": "  "}) == [True] * 4


@pytest.mark.parametrize(
    "where",
    [
        "[",
        "{}",
        "[3]",
        "[{}]",
        '[{"column": "split"}]',
        '[{"column": 3, "in": []}]',
        '[{"column": "split", "in": ["train"], "from": 1}]',
        '[{"column": "diameter_mm", "from": "a"}]',
        '[{"column": "diameter_mm", "from": NaN}]',
        '[{"column": "nothing", "in": []}]',
        '[{"column": "series_uid", "in": ["a"]}]',
        '[{"column": "split", "from": 1}]',
        '[{"search": 3}]',
        "[" * 3000,
        " " * 5000,
    ],
)
def test_a_bad_filter_is_a_sentence(where):
    with pytest.raises(UserError):
        mask(TABLE, parse(where))


@given(
    st.sampled_from([column for column in columns(TABLE) if column.kind == "number"]),
    st.floats(-1e6, 1e6),
    st.floats(-1e6, 1e6),
)
def test_a_range_keeps_what_lies_in_it(column, low, high):
    kept = mask(TABLE, [{"column": column.name, "from": low, "to": high}])
    values = TABLE[column.name].to_numpy(float, na_value=np.nan)
    np.testing.assert_array_equal(kept, (values >= low) & (values <= high))


def test_a_column_of_ones_own_is_not_taken_for_one_of_the_products() -> None:
    frame = pd.DataFrame({"patient_id": ["A", "B"], "nodule": 0, "slice": 0, "own:score": [0.25, 0.5]})
    frame = frame.assign(notes_all=["4|x", "b"], texture_all=["4|5", "3"], model_score=[1, 2])
    table = with_derived(frame)
    titles = {column.name: column.title for column in columns(table)}
    assert "notes" not in table
    assert titles["own:score"] == "score (your column)"
    assert titles["model_score"] == "model_score (your column)"
    assert titles["notes_all"] == "notes_all (your column)"
    assert titles["texture"] == "Mean rating: texture"
