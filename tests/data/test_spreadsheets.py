"""A table's file: csv, Excel, parquet, packed or not, and what is no table."""

from __future__ import annotations

import datetime
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pandas as pd
import pytest

from lungvae_core.data import parquet, spreadsheets
from lungvae_core.data.tables import read_table
from lungvae_core.errors import UserError
from tests.data.made_tables import HEADER, ROWS, put, read


def excel_bytes(frame: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.to_excel(stream, index=False)
    return stream.getvalue()


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(lambda f: gzip.compress(f.to_csv(index=False).encode()), id="gzip"),
        pytest.param(excel_bytes, id="Excel"),
        pytest.param(lambda f: f.to_parquet(), id="parquet"),
    ],
)
def test_a_table_that_unpacks_to_too_much_is_refused(
    pack: Callable[[pd.DataFrame], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame({"patient_id": "A" * 40, "nodule": range(3000)})
    packed = pack(frame)
    assert len(read(tmp_path, packed).frame) == 3000
    monkeypatch.setattr(spreadsheets, "MOST_BYTES", 20_000)
    monkeypatch.setattr(parquet, "LEAST", 20_000)
    monkeypatch.setattr(parquet, "TIMES", 1)
    with pytest.raises(UserError, match="too much"):
        read(tmp_path, packed)


@pytest.mark.parametrize("damage", [lambda c: c[:-30], lambda c: c[:20] + b"xxxx" + c[24:], lambda c: c[:12]])
def test_a_table_whose_packing_is_damaged_is_refused(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    packed = gzip.compress("\n".join([HEADER, *ROWS * 50]).encode())
    with pytest.raises(UserError, match="gzip compression is damaged"):
        read(tmp_path, damage(packed))


def excel(path: Path, *sheets: tuple[str, list[list[object]]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_an_excel_file_of_several_sheets_blank_rows_and_numbers_as_text(tmp_path: Path) -> None:
    rows = [[None], ["Our nodules"], [None, None], ["patient_id", "Malignancy", "diameter_mm"]]
    path = excel(
        tmp_path / "t.xlsx",
        ("About", [["made", "by hand"]]),
        ("Data", [*rows, [12.0, "4", "12,5"], ["B", 2.5, 8], [None, None, None], ["C", None, "-"]]),
    )
    made = read_table(path)
    assert made.frame["patient_id"].tolist() == ["12", "B", "C"]
    assert made.frame["malignancy"].fillna(0).tolist() == [4, 2.5, 0]
    assert made.frame["diameter_mm"].fillna(0).tolist() == [12.5, 8, 0]
    assert made.lines.tolist() == [5, 6, 8]
    assert "Sheet 'Data' was read" in " ".join(made.notes)


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        (datetime.datetime(2026, 5, 4), "'2026-05-04T00:00:00' is a date"),
        ("=1+1", "formula without a saved value"),
        ("#DIV/0!", "error of the spreadsheet"),
        (True, "yes or no"),
    ],
)
def test_what_a_spreadsheet_made_of_a_number_is_reported(tmp_path: Path, cell: object, why: str) -> None:
    path = excel(tmp_path / "t.xlsx", ("S", [["patient_id", "diameter_mm"], ["A", cell]]))
    with pytest.raises(UserError, match=why):
        read_table(path)


def test_files_that_are_no_tables_are_reported(tmp_path: Path) -> None:
    two = [["patient_id"], ["A"]]
    with pytest.raises(UserError, match="several sheets"):
        read_table(excel(tmp_path / "two.xlsx", ("a", two), ("b", two)))
    damaged = {"a.xlsx": b"PK\x03\x04 no", "a.parquet": b"no", "a.xls": b"\xd0\xcf\x11\xe0xx"}
    for name, content in damaged.items():
        with pytest.raises(UserError, match=r"cannot be read|old Excel"):
            read_table(put(tmp_path, content, name))
    with pytest.raises(UserError, match="no table at"):
        read_table(tmp_path / "nowhere.csv")


def test_parquet_with_an_index_number_names_and_lists(tmp_path: Path) -> None:
    when = pd.to_datetime(["2026-01-01"] * 2)
    columns = {"malignancy_all": [[4, 5], [2]], "malignancy": [4.5, 2.0], "when": when}
    frame = pd.DataFrame(columns, index=pd.Index(["A", "B"], name="patient_id"))
    frame.to_parquet(tmp_path / "t.parquet")
    made = read_table(tmp_path / "t.parquet").frame
    assert made["patient_id"].tolist() == ["A", "B"]
    assert made["malignancy_all"].tolist() == ["4|5", "2"]
    assert made["malignancy"].tolist() == [4.5, 2.0]
