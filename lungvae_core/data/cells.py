"""What the cells of one column stand for: numbers, whole numbers, yes or no, text, lists of ratings.

Every cell is either parsed exactly or reported; nothing is rounded or guessed.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import Column, tidy
from lungvae_core.errors import UserError

# Spellings of a missing value; in text columns only those that cannot be a word.
MISSING = frozenset(
    [
        *("", "na", "n/a", "n.a.", "#n/a", "#na", "nan", "<na>", "nat", "nd", "n.d.", "k.a."),
        *("null", "nil", "none", "unknown", "unk", "missing"),
        *("-", "--", "---", "–", "—", "?", ".", ".."),
    ]
)
MISSING_TEXT = frozenset(["", "na", "n/a", "#n/a", "#na", "nan", "<na>", "null", "nat"])
SENTINELS = frozenset({-1.0, 0.0, 9.0, 99.0, 999.0, 9999.0, -9.0, -99.0, -999.0, -9999.0})
LARGEST = 1e15  # of users' own numbers; larger ones lose digits, and are identifiers
_YES, _NO = {"yes", "y", "true", "t", "1", "1.0"}, {"no", "n", "false", "f", "0", "0.0"}
_PLAIN = re.compile(r"[+-]?(\d+([.,]\d*)*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UNITS = {
    "mm": ("mm",),
    "mm²": ("mm2", "mm^2", "mm²"),
    "mm³": ("mm3", "mm^3", "mm³"),
    "px": ("px", "pixels"),
    "HU": ("hu",),
}


class BadCell(ValueError):
    """Why a cell cannot be used; messages append its text to the quoted cell, as "is not a number"."""


def parse(values: pd.Series, read: Callable[[Any], Any]) -> tuple[list[Any], dict[int, str]]:
    """(`read` of each cell, index -> reason for cells that cannot be used)."""
    if isinstance(values.dtype, pd.StringDtype):  # few distinct texts stand for thousands of rows
        codes, distinct = pd.factorize(values)
        read_once, why = parse(pd.Series(distinct, dtype=object), read)
        bad_codes = [(int(at), why[codes[at]]) for at in np.flatnonzero(np.isin(codes, list(why)))]
        return [None if code < 0 else read_once[code] for code in codes], dict(bad_codes)
    done: dict[Any, Any] = {}
    results, bad = [], {}
    for at, value in enumerate(values.astype(object)):
        # True, 1 and 1.0 are equal, and not the same cell.
        key = (type(value), value) if isinstance(value, str | int | float | bool) else at
        if key not in done:
            try:
                done[key] = read(value)
            except BadCell as error:
                done[key] = error
        result = done[key]
        if isinstance(result, BadCell):
            bad[at] = f"{shown(value)} {result}"
            result = None
        results.append(result)
    return results, bad


def numbers(values: pd.Series, column: Column) -> np.ndarray | None:
    """(N,) float: a numeric column, NaN where missing; None where cells need parsing."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return None
    if values.dtype.kind == "c":
        return None
    results = values.to_numpy(dtype=float, na_value=np.nan)
    low, high = column.bounds
    fits = np.isnan(results) | (np.isfinite(results) & (results >= low) & (results <= high))
    if column.kind == "whole number":
        fits &= np.isnan(results) | (np.trunc(results) == results)
    return results if fits.all() else None


def shown(value: object) -> str:
    """A cell as messages quote it."""
    text = value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
    text = " ".join(text.split())
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def is_missing(value: Any, spellings: frozenset[str] = MISSING) -> bool:
    """Whether a cell means that its value is missing."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, str):
        return tidy(value).casefold() in spellings
    return isinstance(value, float | np.floating | decimal.Decimal) and math.isnan(value)


def number(value: Any, decimal_sign: str, unit: str = "") -> float | None:
    """A cell as a number; None where it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, bool | np.bool_):
        raise BadCell("is yes or no, not a number")
    if isinstance(value, int | float | np.integer | np.floating | decimal.Decimal):
        read = float(value)
    elif isinstance(value, datetime.date | datetime.time | datetime.timedelta | np.datetime64):
        raise BadCell("is a date; a spreadsheet may have made it of a number")
    elif isinstance(value, str):
        read = float(_as_point(numeric_text(value, unit), decimal_sign))
    else:
        raise BadCell("is not a number")
    if not math.isfinite(read):
        raise BadCell("is not a finite number")
    return read


def numeric_text(value: str, unit: str = "") -> str:
    """The number in a cell's text, without its unit and blanks; BadCell if there is none."""
    text = tidy(value).replace("−", "-")
    if text.startswith("#"):
        raise BadCell("is an error of the spreadsheet")
    for name in _UNITS.get(unit, ()):
        form = unicodedata.normalize("NFKC", name)
        if text.casefold().endswith(form):
            text = text[: -len(form)].rstrip()
            break
    if re.fullmatch(r"[+-]?\d{1,3}(['’ ]\d{3})+([.,]\d+)?", text, re.ASCII):
        text = re.sub(r"['’ ]", "", text)
    if not _PLAIN.fullmatch(text):
        ends = re.fullmatch(r"[+-]?[\d.,]+ ?([^\W\d_]+[²³]?)", text)
        raise BadCell(f"is in {ends[1]}, not in {unit}" if ends and unit else "is not a number")
    return text


def _as_point(text: str, decimal_sign: str) -> str:
    """A number's text with a point for decimals and nothing for thousands."""
    if not decimal_sign and "," in text:
        raise BadCell("can be read in two ways")
    decimal_sign = decimal_sign or "."
    thousands = "," if decimal_sign == "." else "."
    whole, sign, part = text.partition(decimal_sign)
    if thousands in whole:
        if not re.fullmatch(rf"[+-]?\d{{1,3}}(\{thousands}\d{{3}})+", whole, re.ASCII):
            raise BadCell(
                f"is not a number with {'points' if decimal_sign == '.' else 'commas'} for decimals"
            )
        whole = whole.replace(thousands, "")
    plain = f"{whole}.{part}" if sign else whole
    if not _POINT.fullmatch(plain):
        raise BadCell("is not a number")
    return plain


def in_range(value: float | None, column: Column) -> float | None:
    """The value; BadCell outside the column's range."""
    low, high = column.bounds
    if value is not None and not low <= value <= high:
        unknown = "; leave the cell empty if it stands for a value that is not known"
        raise BadCell(f"is outside {column.span}{unknown if value in SENTINELS else ''}")
    return value


def whole(value: float | None) -> int | None:
    """The value; BadCell if it is not a whole number."""
    if value is None:
        return None
    if value != int(value):
        raise BadCell("is not a whole number")
    return int(value)


def yes_no(value: Any) -> bool | None:
    """A cell as True or False; None where it is missing."""
    if is_missing(value):
        return None
    text = tidy(str(value)).casefold()
    if text in _YES:
        return True
    if text in _NO:
        return False
    raise BadCell("is neither yes nor no")


def text(value: Any) -> str | None:
    """A cell as text: a number without decimals that a spreadsheet gave it; None where it is missing."""
    if is_missing(value, MISSING_TEXT):
        return None
    if isinstance(value, float | np.floating | decimal.Decimal) and float(value).is_integer():
        if abs(float(value)) >= 2**53:
            raise BadCell("is too long a number to have been kept whole; make the column text")
        return str(int(value))
    if isinstance(value, str):
        return tidy(value)
    if isinstance(value, bytes):
        raise BadCell("is not text")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple | dict | np.ndarray):
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        return json.dumps(plain, ensure_ascii=False, default=str)
    return tidy(str(value))


def identifier(value: Any) -> str | None:
    """A patient's id as text; BadCell where a spreadsheet rounded it, None where it is missing."""
    if is_missing(value):
        return None
    results = text(value)
    if results and re.fullmatch(r"\d[.,]\d+[eE]\+?\d+", results):
        raise BadCell("is a number that a spreadsheet has rounded; make the column text")
    return results


def ratings(value: Any, column: Column) -> str | None:
    """Every reader's rating as "4|5|3", None where empty; from "[4, 5, 3]", "4;5;3", "4 5 3" or a list."""
    if is_missing(value):
        return None
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta):
        raise BadCell("is a date; a spreadsheet may have made it of a list. Put `|` between ratings")
    if isinstance(value, list | tuple | np.ndarray):
        parts = list(value)
    elif isinstance(value, str):
        inner = re.sub(r"^(array\()?[\[({]|[\])}]+$", "", tidy(value)).strip()
        parts = [part.strip(" '\"") for part in re.split(r"\s*[|;,/]\s*|\s+", inner)]
    else:
        parts = [value]
    results = [one for one in (number(part, ".") for part in parts) if one is not None]
    low, high = column.bounds
    if not all(one.is_integer() and low <= one <= high for one in results):
        raise BadCell(f"is not a list of whole ratings of {column.span}")
    return "|".join(str(int(one)) for one in results) or None


def decimal_sign(columns: Mapping[str, tuple[list[str], Column]], separator: str, where: str) -> str:
    """The decimal sign of a table's number columns, name -> (distinct cells, description).

    "." or ","; empty where no cell has either. "1,234" can be both: other cells decide, or the column's range
    if only one reading fits. Raises UserError where cells contradict each other, and where the sign stays
    unclear.
    """
    proof: dict[str, str] = {}
    undecided: list[tuple[str, str]] = []
    for name, (values, column) in columns.items():
        for value in values:
            try:
                cell = numeric_text(value, column.unit).lstrip("+-")
            except BadCell:
                continue
            if sign := _sign_of(cell) or _sign_by_range(cell, column):
                proof.setdefault(sign, f"{shown(value)} in {name}")
            elif "," in cell or ("." in cell and separator == ";"):
                undecided.append((f"{shown(value)} in {name}", cell))
    if len(proof) == 2:
        raise UserError(
            f"{where}: decimals are written in two ways, {proof['.']} and {proof[',']}. Write all of them "
            "with a point."
        )
    if proof:
        return next(iter(proof))
    for place, cell in undecided:
        raise UserError(
            f"{where}: {place} can be {cell.replace(',', '.')} or {re.sub('[.,]', '', cell)}, and nothing in "
            "the table tells which. Write numbers with a point for decimals and nothing for thousands."
        )
    return ""


def _sign_of(cell: str) -> str | None:
    """The decimal sign that a number's text proves, or None."""
    mantissa = re.split("[eE]", cell)[0]
    points, commas = mantissa.count("."), mantissa.count(",")
    if points and commas:
        return "." if mantissa.rindex(".") > mantissa.rindex(",") else ","
    if points + commas == 0 or re.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}", mantissa, re.ASCII):
        return None
    sign = "." if points else ","
    if points + commas > 1:  # 1.234.567
        return "," if sign == "." else "."
    return sign


def _sign_by_range(cell: str, column: Column) -> str | None:
    sign = "," if "," in cell else "."
    if sign not in cell:
        return None
    part, entire = float(cell.replace(",", ".")), float(re.sub("[.,]", "", cell))
    fits = [_fits(part, column), _fits(entire, column)]
    if fits == [True, False]:
        return sign
    if fits == [False, True]:
        return "," if sign == "." else "."
    return None


def _fits(value: float, column: Column) -> bool:
    try:
        in_range(value, column)
        if column.kind == "whole number":
            whole(value)
    except BadCell:
        return False
    return True
