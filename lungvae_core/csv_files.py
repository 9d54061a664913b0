"""CSV files in which spreadsheets execute nothing, and that read back unchanged.

Excel and LibreOffice treat a cell that begins with =, +, - or @ (also full-width) as a formula, and skip a
tab or line break before it. Such text gets an apostrophe in front, as OWASP advises for CSV injection. Where
a spreadsheet separates cells by semicolons or tabs, a cell can also begin in the middle of our text: the same
is done there. Numbers stay numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

_BEGIN = r"(^|[;\t\r\n])"
_RUNS = r"[=+\-@\t\r\n＝＋－＠]"
# Quotes before it count as nothing: some of them are the CSV's own where cells are parted otherwise.
_WRITTEN = re.compile(f"{_BEGIN}(?=[\"']*{_RUNS})")
_READ = re.compile(f"{_BEGIN}'(?=[\"']*{_RUNS})")


def escape(text: str) -> str:
    """Text as a cell of a CSV; `unescape` reverses it."""
    return _WRITTEN.sub(r"\1'", text)


def unescape(text: str) -> str:
    """The text of a cell made by `escape`."""
    return _READ.sub(r"\1", text)


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as UTF-8 CSV with a header and without the index; texts and headers are escaped."""
    # With the line ends of RFC 4180, pandas quotes a text that has either half of one in it.
    return _each(table, escape).to_csv(index=False, lineterminator="\r\n").encode("utf-8", "replace")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write `csv_bytes`; OSError where the file cannot be written."""
    path.write_bytes(csv_bytes(table))


def read_back(table: pd.DataFrame) -> pd.DataFrame:
    """A table read from a CSV, with its texts and headers unescaped."""
    return _each(table, unescape)


def _each(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with every text in it changed."""

    def cell(value: Any) -> Any:
        if isinstance(value, str):
            return change(value)
        # What pandas would write as text is text here already: lists, bytes, moments.
        return value if pd.api.types.is_number(value) or pd.api.types.is_scalar(value) else change(str(value))

    def column(values: pd.Series) -> pd.Series:
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
            return values
        changed = values.astype(object).map(cell)
        return changed.astype("string") if isinstance(values.dtype, pd.StringDtype) else changed

    made = pd.DataFrame(
        {number: column(table.iloc[:, number]) for number in range(table.shape[1])}, table.index
    )
    made.columns = pd.Index([cell(name) for name in table.columns], dtype=object)
    return made
