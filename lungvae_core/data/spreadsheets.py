"""A table's file as cells: csv of any separator and encoding, Excel, parquet."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.csv_files import unescape
from lungvae_core.data.columns import squeezed, tidy
from lungvae_core.data.parquet import read_stream
from lungvae_core.data.volumes.inflate import GZIP
from lungvae_core.errors import UserError
from lungvae_core.number_text import first_few

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
MOST_BYTES = 256 << 20  # of a table, unpacked; a million rows of 30 columns have some 200 MB
HEADER_WITHIN = 20  # rows that may stand above the header
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHERS = {
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls)",
    b"%PDF": "a PDF",
    b"SQLite": "a database",
    b"<html": "a web page",
    b"<!DOC": "a web page",
    b"{\\rtf": "a text document",
}


@dataclass
class Cells:
    """A table as in its file: N rows of text, or of Excel or parquet values; None where empty."""

    frame: pd.DataFrame  # its column names are the header's, tidied; several may be the same
    lines: np.ndarray  # (N,) each row's number as a spreadsheet counts them
    separator: str = ""  # of a csv
    notes: list[str] = field(default_factory=list)  # sentences: how it was read
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> rows


def read_cells(path: Path, needs: Sequence[str] = ("patient_id",)) -> Cells:
    """The cells of a csv, tsv, xlsx or parquet file whose header has the columns `needs`.

    Column names are compared without case, blanks and punctuation. Raises UserError for a file that cannot be
    read, a header without one of `needs`, and rows that are longer or shorter than the header.
    """
    if not path.is_file():
        raise UserError(f"There is no table at {path}.")
    _check_size(path, path.stat().st_size)
    content = path.read_bytes()
    if content.startswith(GZIP):
        try:
            with gzip.open(io.BytesIO(content)) as packed:
                content = packed.read(MOST_BYTES + 1)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise UserError(f"{path} cannot be read: its gzip compression is damaged.") from error
        _check_size(path, len(content))
    for start, kind in _OTHERS.items():
        if content.lower().startswith(start.lower()):
            raise UserError(f"{path} is {kind}, not a table. Save it as .xlsx or as csv.")
    if content.startswith(b"PAR1"):
        return _parquet(path, content, needs)
    if content.startswith(b"PK\x03\x04"):
        return _excel(path, content, needs)
    if path.suffix.lower() in (".parquet", ".xlsx", ".xlsm"):
        raise UserError(f"{path} cannot be read as a table: it is damaged, or of another kind than it says.")
    return _csv(path, content, needs)


def _check_size(path: Path, size: int) -> None:
    """UserError for more than MOST_BYTES unpacked: a small file can hold gigabytes of blanks."""
    if size > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES >> 20} MiB, which is too much for a table.")


def _parquet(path: Path, content: bytes, needs: Sequence[str]) -> Cells:
    try:
        frame = read_stream(io.BytesIO(content), path, lists=True)
    except UserError:
        raise
    except Exception as error:  # pyarrow raises many kinds on damaged input
        raise UserError(f"{path} cannot be read as a table ({_short(error)}).") from error
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index(names=[f"{name or 'index'}" for name in frame.index.names])
    names = _header(map(str, frame.columns))
    _require(path, names, needs)
    frame = frame.set_axis(names, axis=1).reset_index(drop=True)
    return Cells(frame, np.arange(1, len(frame) + 1))


def _excel(path: Path, content: bytes, needs: Sequence[str]) -> Cells:
    sheets = _sheets(path, content)
    usable = [name for name, rows in sheets.items() if _header_at(rows, needs) is not None]
    if not usable:
        filled = [name for name, rows in sheets.items() if rows]
        if not filled:
            raise UserError(f"{path} has no rows.")
        _require(path, _first_names(sheets[filled[0]]), needs)
    if len(usable) > 1:
        names = ", ".join(repr(name) for name in usable)
        raise UserError(
            f"{path} has several sheets with the column {needs[0]}: {names}. Keep one of them in the file."
        )
    cells = _of_rows(path, sheets[usable[0]], needs)
    others = [name for name in sheets if name != usable[0]]
    if others:
        cells.notes.append(f"Sheet {usable[0]!r} was read; others were not: {', '.join(others)}.")
    return cells


def _sheets(path: Path, content: bytes) -> dict[str, list[tuple[int, list[Any]]]]:
    """Sheet name -> its rows (row number, cells) that are not empty."""
    import openpyxl  # slow to load, and few tables need it

    sheets: dict[str, list[tuple[int, list[Any]]]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_size(path, sum(member.file_size for member in archive.infolist()))
        # Once for the values, once for the formulas: a file that no spreadsheet program has saved holds no
        # values for them.
        values, formulas = (
            openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=data_only)
            for data_only in (True, False)
        )
        for sheet, behind in zip(values.worksheets, formulas.worksheets, strict=True):
            sheet.reset_dimensions()
            behind.reset_dimensions()
            rows = []
            pairs = zip(sheet.iter_rows(values_only=True), behind.iter_rows(values_only=True), strict=True)
            for number, (row, written) in enumerate(pairs, start=1):
                cells = [None if _empty(value) else value for value in row]
                for at, (cell, formula) in enumerate(zip(cells, written, strict=True), start=1):
                    if cell is None and not _empty(formula):
                        raise UserError(
                            f"{path}, sheet {sheet.title!r}, row {number}, column {at} is a formula without "
                            "a saved value. Save the file in a spreadsheet program, or as csv."
                        )
                if any(cell is not None for cell in cells):
                    rows.append((number, cells))
            sheets[sheet.title] = rows
    except UserError:
        raise
    except Exception as error:  # openpyxl raises many kinds on damaged input
        raise UserError(f"{path} cannot be read as an Excel file ({_short(error)}).") from error
    return sheets


def _csv(path: Path, content: bytes, needs: Sequence[str]) -> Cells:
    text, notes = _text(path, content)
    separators = list(SEPARATORS)
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and first.strip()[4:] in SEPARATORS:  # Excel's own hint
        separators, text = [first.strip()[4:]], f"\n{rest}"
    tables = {separator: _split(path, text, separator) for separator in separators}
    if not any(tables.values()):
        raise UserError(f"{path} has no rows.")
    with_header = {s: rows for s, rows in tables.items() if _header_at(rows, needs) is not None}
    # A column's name holds no separator, so the right one gives the most columns.
    width = {
        s: len(rows[_header_at(rows, needs) or 0][1]) for s, rows in (with_header or tables).items() if rows
    }
    separator = max(width, key=width.__getitem__)
    cells = _of_rows(path, tables[separator], needs)
    cells.separator = separator
    cells.notes[:0] = [*notes, f"Columns are separated by {SEPARATORS[separator]}."]
    return cells


def _text(path: Path, content: bytes) -> tuple[str, list[str]]:
    half = content[:4096]
    encoding = next((encoding for bom, encoding in _BOMS if content.startswith(bom)), "utf-8")
    if encoding == "utf-8" and half[1::2].count(0) > len(half) // 4:
        encoding = "utf-16-le"
    elif encoding == "utf-8" and half[::2].count(0) > len(half) // 4:
        encoding = "utf-16-be"
    try:
        text = content.decode(encoding)
        notes = []
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise UserError(f"{path} cannot be read as a table: its text is damaged.") from error
        # Excel on Windows writes cp1252, of which Latin-1 is a part where letters are.
        text = content.decode("cp1252", errors="replace")
        notes = ["The text is not UTF-8 and was read as Windows-1252 (Latin-1)."]
    if "\0" in text:
        raise UserError(f"{path} is not a table: it holds bytes that are no text.")
    return text.replace("\r\n", "\n").replace("\r", "\n"), notes


def _split(path: Path, text: str, separator: str) -> list[tuple[int, list[Any]]]:
    """(row number, cells) of the rows that are not empty."""
    rows: list[tuple[int, list[Any]]] = []
    csv.field_size_limit(2**31 - 1)
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=separator), start=1):
            cells = [unescape(cell) if cell.strip() else None for cell in row]
            if any(cell is not None for cell in cells):
                rows.append((number, cells))
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as a table ({error}).") from error
    return rows


def _header_at(rows: list[tuple[int, list[Any]]], needs: Sequence[str]) -> int | None:
    """Which of the first rows has the columns `needs`."""
    for at, (_, cells) in enumerate(rows[:HEADER_WITHIN]):
        if {squeezed(need) for need in needs} <= {squeezed(str(cell)) for cell in cells if cell is not None}:
            return at
    return None


def _of_rows(path: Path, rows: list[tuple[int, list[Any]]], needs: Sequence[str]) -> Cells:
    at = _header_at(rows, needs)
    if at is None:
        _require(path, _first_names(rows), needs)
    start = at or 0
    (first, header), body = rows[start], rows[start + 1 :]
    while header and header[-1] is None:
        header = header[:-1]
    names = _header(header)
    _check_even(path, body, len(names))
    frame = pd.DataFrame([cells[: len(names)] for _, cells in body], columns=names, dtype=object)
    notes = [f"{start} rows above the header were not read."] if start else []
    last = body[-1][0] if body else first
    empty = last - first - len(body)
    # Columns with neither a name nor a cell are what a spreadsheet leaves behind.
    used = [header[at] is not None or frame.iloc[:, at].notna().any() for at in range(len(names))]
    numbers = np.array([number for number, _ in body], int)
    return Cells(frame.loc[:, used], numbers, notes=notes, left_out={"empty": empty} if empty else {})


def _check_even(path: Path, rows: list[tuple[int, list[Any]]], columns: int) -> None:
    """UserError where a row has fewer cells than there are columns, or a filled one beyond them."""
    uneven = [
        f"{number} ({len(cells)})"
        for number, cells in rows
        if len(cells) < columns or any(cell is not None for cell in cells[columns:])
    ]
    if uneven:
        have = "1 row has" if len(uneven) == 1 else f"{len(uneven):,} rows have"
        raise UserError(
            f"{path}: the header has {columns} columns, but {have} another number of cells: "
            f"{first_few(uneven, 20, ', ')}. Put text that holds the separator in quotes."
        )


def _header(cells: Iterable[Any]) -> list[str]:
    """The columns' names, tidied; several may be the same."""
    names = ["" if cell is None else tidy(str(cell)) for cell in cells]
    return [
        f"column {number}" if not name or name.casefold().startswith("unnamed:") else name
        for number, name in enumerate(names, start=1)
    ]


def _require(path: Path, names: list[str], needs: Sequence[str]) -> None:
    short = {squeezed(name) for name in names}
    missing = [need for need in needs if squeezed(need) not in short]
    if missing:
        shown = ", ".join(repr(name) for name in names[:12]) or "none"
        raise UserError(
            f"{path} needs {'a column' if len(missing) == 1 else 'the columns'} {', '.join(missing)}. "
            f"Its columns are {shown}{' ...' if len(names) > 12 else ''}."
        )


def _first_names(rows: list[tuple[int, list[Any]]]) -> list[str]:
    return [tidy(str(cell)) for cell in rows[0][1] if cell is not None] if rows else []


def _empty(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and np.isnan(value))


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
