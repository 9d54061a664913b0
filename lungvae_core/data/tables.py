"""Tables from users: every column in use is checked, and all bad cells are reported at once.

`read_table` is for files (`lungvae import`), `checked` for tables that are already a data set's. A table that
passes has the types and ranges of `columns.TABLE`, one row per slice, and consistent units: a nodule's rows
agree in the nodule's columns, a patient has one id, and no column of the user's own has a reserved name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lungvae_core.data import cells
from lungvae_core.data.cells import BadCell
from lungvae_core.data.columns import (
    KEY,
    LONGEST_NAME,
    MANIFEST,
    NODULE,
    TABLE,
    Column,
    free_name,
    is_reserved,
    numbers,
    one_spelling,
    own_name,
    patient_key,
    squeezed,
)
from lungvae_core.data.labels import over_readers
from lungvae_core.data.spreadsheets import Cells, read_cells
from lungvae_core.errors import UserError
from lungvae_core.number_text import first_few, plural

MOST_LISTED = 20  # bad cells named one by one
# How far rows may differ in a number that is their nodule's own: as a table's rounding does.
SAME = 1e-3
_ANY_NUMBER = Column("", "number", "slice", "", low=-cells.LARGEST, high=cells.LARGEST)
NoduleRule = Literal["column", "one_per_patient", "one_per_slice"]


@dataclass(frozen=True)
class CheckedTable:
    """A valid table."""

    frame: pd.DataFrame  # N rows; KEY first, then the columns of TABLE, then the user's own
    lines: np.ndarray  # (N,) each row's number in the file
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> rows
    notes: list[str] = field(default_factory=list)  # sentences: what was read how, renamed, merged

    def details(self) -> dict[str, Any]:
        """What the data set's description stores about it."""
        return {"rows": len(self.frame), "left_out": dict(self.left_out), "notes": list(self.notes)}


def read_table(path: Path, *, manifest: bool = False, nodules: NoduleRule = "column") -> CheckedTable:
    """Read and check a csv, tsv, xlsx or parquet table of slices, a row a slice.

    `manifest`: it lists image files, and has the columns of `columns.MANIFEST` too. `nodules` says how to
    number nodules if the table has no column nodule. Raises UserError naming all bad cells.
    """
    raw = read_cells(path, ("file", "patient_id") if manifest else ("patient_id",))
    if raw.frame.empty:
        raise UserError(f"{path} has no rows.")
    return _checked(raw, str(path), [*TABLE, *(MANIFEST if manifest else ())], nodules)


def checked(frame: pd.DataFrame, where: str, *, keep: Iterable[str] = ()) -> CheckedTable:
    """The same check for the table of an existing data set, made by hand or by an older version.

    Rows of a nodule that disagree in anything except malignancy are noted, not refused. Columns of `keep`
    keep their names, as the factors of a phantom do. Raises UserError as `read_table`.
    """
    names = [str(name) for name in frame.columns]
    kept = [name for name in names if name in set(keep)]
    raw = Cells(frame.set_axis(names, axis=1).reset_index(drop=True), np.arange(1, len(frame) + 1))
    results = _checked(replace(raw, frame=raw.frame.drop(columns=kept)), where, TABLE, "column", strict=False)
    return replace(results, frame=pd.concat([results.frame, raw.frame[kept]], axis=1)) if kept else results


def _checked(
    raw: Cells, where: str, columns: list[Column], nodules: NoduleRule, *, strict: bool = True
) -> CheckedTable:
    review = _Review(raw, where, columns)
    notes = review.notes
    used, own = _named(raw.frame, review)
    sign = _decimal_sign(used, raw.separator, review)
    table = _parsed(used, sign, review)
    _note_trimmed(used.get("patient_id"), table, notes)
    for name, values in own.items():
        table[name] = _own(values, sign, name, notes)
    _nodule_column(table, nodules, review)
    review.stop()
    _merge_patients(table, notes)
    if "slice" not in table:
        table["slice"] = table.groupby(NODULE).cumcount()
        notes.append("There is no column slice: a nodule's slices are numbered in the table's order.")
    for name, places in _check_units(table, review).items():
        if strict or name == "malignancy":
            for at, why in places.items():
                review.add(at, name, why)
        else:
            rows = ", ".join(str(raw.lines[at]) for at in list(places)[:5])
            notes.append(
                f"Rows of one nodule differ in {name}, which is the nodule's own: {len(places):,}, as {rows}."
            )
    if "file" in review.described:
        _check_places(table, review)
    review.stop()
    if strict:
        _fill_nodules(table, notes)
    names = [*KEY, *(name for name in table if name not in KEY)]
    return CheckedTable(table[names], raw.lines, raw.left_out, notes)


def parsed_cells(raw: Cells, where: str, columns: list[Column]) -> pd.DataFrame:
    """The columns of `columns`, parsed and in range; UserError for no rows, and naming all bad cells."""
    if raw.frame.empty:
        raise UserError(f"{where} has no rows.")
    review = _Review(raw, where, columns)
    used, _ = _named(raw.frame, review)
    table = _parsed(used, _decimal_sign(used, raw.separator, review), review)
    review.stop()
    return table


class _Review:
    """What the check of one table collects: notes, and cells that cannot be used, to report them together."""

    def __init__(self, raw: Cells, where: str, columns: list[Column]) -> None:
        self.where, self.lines, self.notes = where, raw.lines, list(raw.notes)
        self.described = {column.name: column for column in columns}
        self.cells: list[tuple[int, str]] = []

    def add(self, at: int, column: str, why: str) -> None:
        line = int(self.lines[at])
        self.cells.append((line, f"row {line}, {column}: {why}"))

    def stop(self) -> None:
        """Raise UserError where there are any."""
        if not self.cells:
            return
        listing = [text for _, text in sorted(self.cells, key=lambda one: one[0])]
        listed = "".join(f"\n  {text}" for text in listing[:MOST_LISTED])
        if len(listing) > MOST_LISTED:
            listed += f"\n  and {len(listing) - MOST_LISTED:,} more"
        raise UserError(f"{self.where}: {plural(len(listing), 'cell')} cannot be used:{listed}")


def _named(frame: pd.DataFrame, review: _Review) -> tuple[dict[str, pd.Series], dict[str, pd.Series]]:
    """(cells of the columns that are used, cells of the user's own), by their names in the data set."""
    notes = review.notes
    by_short = {squeezed(name): name for name in review.described}
    used: dict[str, pd.Series] = {}
    own: dict[str, pd.Series] = {}
    given_as: dict[str, str] = {}
    for at, given in enumerate(frame.columns):
        values = frame.iloc[:, at]
        name = by_short.get(squeezed(given))
        if name is not None:
            if name in used:
                raise UserError(
                    f"{review.where}: the columns {given_as[name]!r} and {given!r} are both {name}. Keep one "
                    "of them, or give the other another name."
                )
            used[name], given_as[name] = values, given
            if given != name:
                notes.append(f"Column {given!r} is read as {name}.")
            continue
        new = own_name(given if len(given) <= LONGEST_NAME else f"{given[: LONGEST_NAME - 1]}…")
        new = free_name(new, [*review.described, *own])
        if new != given:
            why = "there are several of that name"
            if is_reserved(given) or len(given) > LONGEST_NAME:
                why = "its name is one of the product's" if is_reserved(given) else "its name is too long"
            notes.append(f"Your column {cells.shown(given)} is kept as {cells.shown(new)}: {why}.")
        elif near := difflib.get_close_matches(squeezed(given), list(by_short), 1, 0.88):
            notes.append(f"Column {given!r} is kept and not used. Was {by_short[near[0]]} meant?")
        own[new] = values
    return used, own


def _decimal_sign(used: dict[str, pd.Series], separator: str, review: _Review) -> str:
    numbers = {
        name: (_texts(values), column)
        for name, values in used.items()
        if (column := review.described[name]).kind in ("number", "whole number") and name not in KEY
    }
    sign = cells.decimal_sign(numbers, separator, review.where)
    if sign == ",":
        review.notes.append("Decimals are written with a comma.")
    return sign


def _texts(values: pd.Series) -> list[str]:
    """The distinct cells that are text."""
    if pd.api.types.is_numeric_dtype(values):
        return []
    return list(dict.fromkeys(value for value in values if isinstance(value, str)))


def _parsed(used: dict[str, pd.Series], sign: str, review: _Review) -> pd.DataFrame:
    table: dict[str, pd.Series] = {}
    required = (*KEY, "file") if "file" in review.described else tuple(KEY)
    for name, values in used.items():
        column = review.described[name]
        numbers = cells.numbers(values, column) if column.kind in ("number", "whole number") else None
        if numbers is not None and not (name in required and np.isnan(numbers).any()):
            whole = pd.api.types.is_integer_dtype(values)
            table[name] = values if whole else _typed_numbers(numbers, column)
            continue
        # A nodule has a number or a name; see `_number_nodules`.
        read = cells.identifier if name == "nodule" else _reader(column, sign)
        results, bad = cells.parse(values, read)
        for at, why in bad.items():
            review.add(at, name, why)
        table[name] = _typed(results, column, values.dtype)
        if name in required:
            for at, value in enumerate(results):
                if value is None and at not in bad:
                    review.add(at, name, "is empty, and must be filled in every row")
    frame = pd.DataFrame(table)
    _check_readers(frame, review)
    return frame


def _note_trimmed(given: pd.Series | None, table: pd.DataFrame, notes: list[str]) -> None:
    if given is None or pd.api.types.is_numeric_dtype(given):
        return
    kept = table["patient_id"].notna()
    differs = int((given[kept].astype("string") != table["patient_id"][kept]).sum())
    if differs:
        notes.append(f"Blanks or marks of no width were taken out of the patient_id of {differs:,} rows.")


def _reader(column: Column, sign: str) -> Callable[[Any], Any]:
    if column.name == "patient_id":
        return cells.identifier
    if column.kind == "text":
        return cells.text
    if column.kind == "yes or no":
        return cells.yes_no
    if column.kind == "ratings":
        return lambda value: cells.ratings(value, column)
    if column.kind == "whole number":
        return lambda value: cells.in_range(cells.whole(cells.number(value, sign, column.unit)), column)
    return lambda value: cells.in_range(cells.number(value, sign, column.unit), column)


def _typed(results: list[Any], column: Column, given: Any) -> pd.Series:
    if column.kind in ("text", "ratings") or column.name == "nodule":
        return pd.Series(results, dtype=given if isinstance(given, pd.StringDtype) else "string")
    if column.kind == "yes or no":
        missing = any(value is None for value in results)
        return pd.Series(results, dtype="boolean" if missing else "bool")
    return _typed_numbers(np.array(results, dtype=float), column)


def _typed_numbers(numbers: np.ndarray, column: Column) -> pd.Series:
    missing = np.isnan(numbers)
    whole = bool((np.trunc(numbers[~missing]) == numbers[~missing]).all())
    if column.kind != "whole number" and not (column.name == "malignancy" and whole):
        return pd.Series(numbers)
    if not missing.any() and column.kind == "whole number":
        return pd.Series(numbers.astype("int64"))
    return pd.Series(pd.arrays.IntegerArray(np.nan_to_num(numbers).astype("int64"), missing))


def _check_readers(frame: pd.DataFrame, review: _Review) -> None:
    """The malignancy of a nodule must lie within its readers' ratings."""
    if not {"malignancy", "malignancy_all"} <= set(frame):
        return
    rating, each = numbers(frame, "malignancy"), frame["malignancy_all"]
    for limit, outside in ((min, np.less), (max, np.greater)):
        for at in np.flatnonzero(outside(rating, over_readers(each, limit))):
            why = f"'{rating[at]:g}' is outside the readers' ratings, {each.iloc[at]}"
            review.add(int(at), "malignancy", why)


def _own(values: pd.Series, sign: str, name: str, notes: list[str]) -> pd.Series:
    """A user's own column as numbers, yes or no, or text; one that has a type of its own keeps it."""
    if pd.api.types.is_bool_dtype(values) or isinstance(values.dtype, pd.StringDtype):
        return values
    if cells.numbers(values, _ANY_NUMBER) is not None:
        return values
    filled = [value for value in values if not cells.is_missing(value, cells.MISSING_TEXT)]
    if filled and all(isinstance(value, bool | np.bool_) for value in filled):
        return values.map(lambda value: None if cells.is_missing(value) else bool(value)).astype("boolean")
    read, bad = cells.parse(values, lambda value: _own_number(value, sign))
    present = [value for value in read if value is not None]
    if not present or bad:
        return pd.Series([_own_text(value) for value in values], dtype="string")
    if marks := _marks(present):
        listing = f"Your column {cells.shown(name)} has {', '.join(f'{mark:g}' for mark in marks)}"
        notes.append(f"{listing}, kept as a number. Leave cells empty where a value is not known.")
    if not all(value.is_integer() for value in present):
        return pd.Series(read, dtype="float64")
    integers = pd.array([None if value is None else int(value) for value in read], dtype="Int64")
    return pd.Series(integers, dtype="Int64" if None in read else "int64")


def _marks(present: list[float]) -> list[float]:
    """Values that often stand for a missing one."""
    distinct = sorted(set(present))
    marks = [value for value in distinct if abs(value) in (999, 9999)]
    return [-1.0, *marks] if distinct[0] == -1 and len(distinct) > 1 else marks


def _own_number(value: Any, sign: str) -> float | None:
    # 007 is a code, not a number.
    if isinstance(value, str) and re.match(r"\s*[+-]?0\d", value):
        raise BadCell("is text")
    results = cells.number(value, sign)
    if results is not None and abs(results) > cells.LARGEST:
        raise BadCell("is too large")
    return results


def _own_text(value: Any) -> str | None:
    try:
        return cells.text(value)
    except BadCell:
        return str(value)


def _nodule_column(table: pd.DataFrame, rule: NoduleRule, review: _Review) -> None:
    """Number the nodules: as the table does, as the user states, or one where a patient has one row."""
    where, notes = review.where, review.notes
    if "nodule" in table:
        if rule != "column":
            raise UserError(
                f"{where} has a column nodule; leave out --one-nodule-per-patient and -per-slice."
            )
        _number_nodules(table, review)
        return
    keys = table["patient_id"].map(patient_key, na_action="ignore")
    several = keys.duplicated(keep=False) & keys.notna()
    if rule == "one_per_slice":
        table["nodule"] = keys.groupby(keys, dropna=False).cumcount()
        notes.append("Every slice is a nodule of its own, as stated.")
        return
    if rule == "column" and several.any():
        first = keys[several].iloc[0]
        rows = ", ".join(map(str, review.lines[(keys == first).to_numpy()][:5]))
        raise UserError(
            f"{where} has no column nodule, and {keys[several].nunique():,} patients have several rows, "
            f"as {table['patient_id'][keys == first].iloc[0]} (rows {rows}). Add a column nodule with a "
            "number for each lesion of a patient; or state --one-nodule-per-patient, where all slices of a "
            "patient are of one nodule, or --one-nodule-per-slice."
        )
    table["nodule"] = 0
    why = "as stated" if rule == "one_per_patient" else "there is no column nodule, and one row a patient"
    notes.append(f"Every patient has one nodule: {why}.")


def _number_nodules(table: pd.DataFrame, review: _Review) -> None:
    names = table["nodule"]
    if pd.api.types.is_integer_dtype(names) or names.isna().any():  # a missing one is refused already
        return
    number = names.str.fullmatch(r"\+?\d+([.,]0+)?")
    if number.all():
        table["nodule"] = names.str.replace(r"[.,]0+$", "", regex=True).astype("int64")
        return
    for at in np.flatnonzero(names.str.fullmatch(r"-\d+([.,]\d*)?|\d+[.,]\d*[1-9]\d*").to_numpy(bool)):
        review.add(int(at), "nodule", f"{cells.shown(names.iloc[at])} is not a whole number from 0")
    keys = table["patient_id"].map(patient_key, na_action="ignore").fillna("")
    numbers = np.zeros(len(table), int)
    for _, part in names.map(patient_key).groupby(keys, sort=False):
        numbers[part.index.to_numpy()] = pd.factorize(part)[0]
    own = free_name("own:nodule", table.columns)
    table[own] = names
    table["nodule"] = numbers
    review.notes.append(
        f"Nodules have names; they are numbered within their patient, and the names kept as {own}."
    )


def _merge_patients(table: pd.DataFrame, notes: list[str]) -> None:
    """Give one patient one id, the first spelling of it."""
    ids = table["patient_id"]
    # 1.0 is 1 where a spreadsheet wrote it; beside 1.1 it is an id of two parts.
    decimals = ids[ids.str.fullmatch(r"\d+[.,]\d+")]
    if len(decimals) and decimals.str.fullmatch(r"\d+[.,]0+").all():
        ids = ids.where(~ids.index.isin(decimals.index), ids.str.replace(r"[.,]0+$", "", regex=True))
        notes.append(
            f"The patient ids of {len(decimals):,} rows were numbers with decimals of 0, as "
            f"{decimals.iloc[0]!r}, and are kept without them: {ids[decimals.index[0]]!r}."
        )
    first = one_spelling(ids)
    merged = [list(each) for each in ids.groupby(first, sort=False).unique() if len(each) > 1]
    if merged:
        listing = first_few([" = ".join(map(repr, each)) for each in merged], MOST_LISTED)
        notes.append(
            "Patient ids that differ in case, punctuation or leading zeros alone are taken for one patient: "
            f"{listing}."
        )
    table["patient_id"] = first


def _check_units(table: pd.DataFrame, review: _Review) -> dict[str, dict[int, str]]:
    """No slice is there twice; column -> {row: why} where rows disagree in what is their nodule's own."""
    twice = table.duplicated(KEY, keep=False).to_numpy()
    for _, part in table[twice].groupby(KEY, sort=False):
        rows = ", ".join(str(review.lines[at]) for at in part.index[:MOST_LISTED])
        key = ", ".join(f"{name} {part[name].iloc[0]}" for name in KEY)
        review.add(int(part.index[1]), "slice", f"rows {rows} are the same slice ({key})")
    group = table.groupby(NODULE, sort=False).ngroup().to_numpy()
    results: dict[str, dict[int, str]] = {}
    for name in map(str, table.columns):
        column = review.described.get(name)
        if column is None or column.owner not in ("nodule", "scan") or name in KEY:
            continue
        remedy = "; number a patient's nodules through all scans" if column.owner == "scan" else ""
        for at, other in _disagreeing(table[name], group):
            results.setdefault(name, {})[at] = (
                f"{cells.shown(table[name].iloc[at])} differs from {cells.shown(table[name].iloc[other])} in "
                f"row {review.lines[other]}, of the same nodule ({table['patient_id'].iloc[at]} nodule "
                f"{table['nodule'].iloc[at]}){remedy}"
            )
    return results


def _disagreeing(values: pd.Series, group: np.ndarray) -> Iterable[tuple[int, int]]:
    """(row, an earlier row of the same group with another value), of rows whose value is known."""
    present = np.flatnonzero(values.notna().to_numpy())
    if not len(present):
        return []
    _, place, inverse = np.unique(group[present], return_index=True, return_inverse=True)
    earlier = present[place[inverse]]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        differ = ~np.isclose(numbers[present], numbers[earlier], rtol=SAME, atol=1e-9)
    else:
        codes = pd.factorize(values.astype("string"))[0]
        differ = codes[present] != codes[earlier]
    return [(int(at), int(other)) for at, other in zip(present[differ], earlier[differ], strict=True)]


def _check_places(table: pd.DataFrame, review: _Review) -> None:
    """No two rows of a manifest may be the same file, slice and centre."""
    place = table.reindex(columns=["file", "index", "row", "column"]).astype(object)
    for _, part in place[place.duplicated(keep=False)].fillna("").groupby(list(place), sort=False):
        rows = ", ".join(str(review.lines[at]) for at in part.index[:MOST_LISTED])
        review.add(int(part.index[1]), "file", f"rows {rows} are the same slice of the same file")


def _fill_nodules(table: pd.DataFrame, notes: list[str]) -> None:
    """Fill the nodule's own columns from other rows of the nodule."""
    for column in TABLE:
        if column.owner != "nodule" or column.name in KEY or column.name not in table:
            continue
        values = table[column.name]
        filled = values.fillna(table.groupby(NODULE)[column.name].transform("first"))
        if count := int(values.isna().sum() - filled.isna().sum()):
            table[column.name] = filled
            notes.append(f"{column.name} of {count:,} rows was taken from other rows of their nodule.")
