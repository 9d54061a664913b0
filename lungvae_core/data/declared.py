"""Declared column types for stored tables: earlier versions accepted anything but the key unchecked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import KEY, TABLE, Column

# What a run adds to its slices, in the table of its codes.
OWN = (
    Column("score", "number", "slice", "the model's score", low=0, high=1),
    Column("ssim", "number", "slice", "SSIM of the reconstruction", low=-1, high=1),
    Column("mse", "number", "slice", "its mean squared error, on the scale 0..1", low=0, high=1),
)
_RATINGS = re.compile(r"[0-9.]{1,8}(\|[0-9.]{1,8}){0,30}")


def as_declared(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """(the table with every column of ours in its declared type, what was left out).

    A value of another type or outside the column's range counts as missing, and a sentence says how many
    there are. Columns that are as declared stay the same object.
    """
    changed: dict[str, pd.Series] = {}
    notes = []
    for column in (each for each in (*TABLE, *OWN) if _is_other(table, each)):
        before = table[column.name]
        changed[column.name] = after = _declared(before, column)
        lost = int(after.isna().sum() - before.isna().sum())
        notes.append(
            f"{lost:,} of {before.notna().sum():,} values of {column.name} are no {column.kind} that it can "
            "have; they count as not known."
        )
    return (table.assign(**changed) if changed else table), notes


def wrong_key(table: pd.DataFrame) -> str:
    """The rows without a valid key, in words, or "": patients are text or numbers, the rest whole numbers."""
    for name in KEY:
        values = table[name]
        column = Column(name, "text" if name == "patient_id" else "whole number", "slice", "")
        odd = sum(_missing(value) or _value(value, column) is None for value in values.to_numpy(object))
        if odd:
            return f"{odd:,} of {len(table):,} rows whose {name} is missing or of another kind"
    return ""


def _is_other(table: pd.DataFrame, column: Column) -> bool:
    """Whether a column has values that are not of its kind."""
    if column.name not in table or column.name in KEY:
        return False
    values = table[column.name].dropna()
    with suppress(TypeError):  # lists and the like, which cannot be compared
        values = values.drop_duplicates()
    return any(_value(value, column) is None for value in values.to_numpy(object))


def _declared(values: pd.Series, column: Column) -> pd.Series:
    kept = [None if _missing(value) else _value(value, column) for value in values.to_numpy(object)]
    kinds: dict[str, Any] = {"number": "float64", "whole number": "Int64", "yes or no": "boolean"}
    return pd.Series(kept, values.index, dtype=kinds.get(column.kind, "string"))


def _value(value: Any, column: Column) -> Any:
    """The value as its column has it; None for one that cannot be."""
    try:
        return _READERS[column.kind](value, column)
    except (TypeError, ValueError, OverflowError):
        return None


def _number(value: Any, column: Column) -> float | None:
    if isinstance(value, bool | np.bool_ | bytes | str):
        return None
    number, (low, high) = float(value), column.bounds
    return number if math.isfinite(number) and low <= number <= high else None


def _whole(value: Any, column: Column) -> int | None:
    number = _number(value, column)
    return int(number) if number is not None and number.is_integer() else None


def _ratings(value: Any, column: Column) -> str | None:
    if not isinstance(value, str) or (value and not _RATINGS.fullmatch(value)):
        return None
    parts = (float(part) for part in value.split("|") if part)
    return value if all(_number(part, column) is not None for part in parts) else None


def _yes_no(value: Any, _column: Column) -> bool | None:
    return bool(value) if isinstance(value, bool | np.bool_) or value in (0, 1) else None


def _text(value: Any, _column: Column) -> str | None:
    return str(value) if isinstance(value, str | int | float | np.number) else None


_READERS: dict[str, Callable[[Any, Column], Any]] = {
    "text": _text,
    "number": _number,
    "whole number": _whole,
    "yes or no": _yes_no,
    "ratings": _ratings,
}


def _missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
