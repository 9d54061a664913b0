"""Cells: what each stands for, read exactly or refused with a reason."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data import cells
from lungvae_core.data.cells import BadCell
from lungvae_core.data.columns import Column
from lungvae_core.errors import UserError

DIAMETER = Column("diameter_mm", "number", "nodule", "largest diameter", "mm", 0.5, 300)
COUNT = Column("n_readers", "whole number", "nodule", "readers", low=0, high=100)
RATING = Column("texture_all", "ratings", "nodule", "ratings", low=1, high=5)


@pytest.mark.parametrize("cell", ["", " NA ", "–", "unknown", None, float("nan"), pd.NA, pd.NaT])
def test_missing_values_have_many_spellings(cell: object):
    assert cells.is_missing(cell)
    assert cells.number(cell, ".") is None
    assert cells.yes_no(cell) is None
    assert cells.ratings(cell, RATING) is None


@pytest.mark.parametrize(
    ("cell", "sign", "value"),
    [
        ("12.5", ".", 12.5),
        ("12,5 mm", ",", 12.5),
        ("1,234.5", ".", 1234.5),
        ("1.234,5", ",", 1234.5),
        ("1'234", ".", 1234.0),
        ("−3e2", ".", -300.0),
        (np.float32(0.5), "", 0.5),
    ],
)
def test_numbers_in_the_ways_people_write_them(cell: object, sign: str, value: float):
    assert cells.number(cell, sign, "mm") == value


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (True, "yes or no"),
        (datetime.date(2026, 5, 4), "is a date"),
        ("1,5", "can be read in two ways"),
        ("#DIV/0!", "error of the spreadsheet"),
        ("12 cm", "is in cm, not in mm"),
        ("large", "is not a number"),
        (float("inf"), "not a finite number"),
        ([1], "is not a number"),
    ],
)
def test_what_is_no_number_is_refused(cell: object, why: str):
    with pytest.raises(BadCell, match=why):
        cells.number(cell, "", "mm")


def test_values_outside_a_range_may_stand_for_missing_ones():
    assert cells.in_range(0.5, DIAMETER) == 0.5
    with pytest.raises(BadCell, match=r"is outside 0\.5 to 300 mm$"):
        cells.in_range(301, DIAMETER)
    with pytest.raises(BadCell, match="leave the cell empty if it stands for a value that is not known"):
        cells.in_range(999, DIAMETER)


@pytest.mark.parametrize("cell", ["4|5|3", "[4, 5, 3]", "4;5;3", "(4,5,3)", "4 5 3", [4, 5, 3], "4|5|NA|3"])
def test_lists_of_ratings_have_many_spellings(cell: object):
    assert cells.ratings(cell, RATING) == "4|5|3"


def test_ratings_are_whole_and_within_their_range():
    for cell in ("4.5|3", "6", 0):
        with pytest.raises(BadCell, match="is not a list of whole ratings of 1 to 5"):
            cells.ratings(cell, RATING)
    with pytest.raises(BadCell, match="is a date"):
        cells.ratings(datetime.date(2026, 5, 4), RATING)


def test_identifiers_stay_as_written():
    assert [cells.identifier(cell) for cell in ("007", 7.0, 12)] == ["007", "7", "12"]
    with pytest.raises(BadCell, match="a spreadsheet has rounded"):
        cells.identifier("1.3E+12")
    with pytest.raises(BadCell, match="too long a number"):
        cells.identifier(float(2**60))


def test_whole_numbers_and_yes_or_no():
    assert (cells.whole(3.0), cells.whole(None)) == (3, None)
    assert [cells.yes_no(cell) for cell in ("Yes", 0, True, "f")] == [True, False, True, False]
    with pytest.raises(BadCell, match="is not a whole number"):
        cells.whole(2.5)
    with pytest.raises(BadCell, match="is neither yes nor no"):
        cells.yes_no("maybe")


def test_every_bad_cell_is_reported_by_its_row():
    for dtype in (object, "string"):
        read, bad = cells.parse(
            pd.Series(["1", "x" * 90, None, "1", "x" * 90], dtype=dtype), lambda cell: cells.number(cell, ".")
        )
        assert read == [1.0, None, None, 1.0, None]
        assert bad == {1: f"'{'x' * 37}...' is not a number", 4: f"'{'x' * 37}...' is not a number"}
    # Equal in Python, but not the same cell.
    read, bad = cells.parse(pd.Series([1, True, 1.0], dtype=object), lambda cell: cells.number(cell, "."))
    assert read == [1.0, None, 1.0]
    assert list(bad) == [1]


def test_numeric_columns_need_no_parsing_when_they_fit():
    fine = pd.Series([1.0, np.nan, 2.0])
    np.testing.assert_array_equal(cells.numbers(fine, COUNT), [1, np.nan, 2])
    for values in ([1.5], [101.0], [np.inf], [True], ["1"], [1j]):
        assert cells.numbers(pd.Series(values), COUNT) is None


def test_the_decimal_sign_is_proved_by_other_cells_or_the_range():
    def sign(*values: str, column: Column = DIAMETER, separator: str = ",") -> str:
        return cells.decimal_sign({"d": (list(values), column)}, separator, "t.csv")

    wide = Column("surface_mm2", "number", "nodule", "surface", "mm²", 0, 1e6)
    assert sign("12.5", "1,234", column=wide) == "."
    assert sign("12,5") == ","
    assert sign("12", "-") == ""
    assert sign("1,234") == ","  # 1234 mm is outside the range
    assert sign("1,234", "1.234.567") == ","
    with pytest.raises(
        UserError, match=r"^t\.csv: decimals are written in two ways, '12\.5' in d and '7,5' in d"
    ):
        sign("12.5", "7,5")
    with pytest.raises(
        UserError, match=r"'1,234' in d can be 1\.234 or 1234, and nothing in the table tells"
    ):
        sign("1,234", column=wide)
