"""CSV: what is written is never a formula, and reads back as it was; nothing else writes CSV."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungvae_core.csv_files import csv_bytes, escape, read_back, unescape, write_csv
from lungvae_core.data.spreadsheets import read_cells
from tests.conftest import ROOT

FORMULAS = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "'=1",
    "''=1",
    "x;=1",
    'x"\n=1',
    '=HYPERLINK("http://x","y")',
    ";",
    "-",
    "",
]
# Nearly any text; of what begins a formula more than its share.
TEXTS = st.lists(st.sampled_from([*"=+-@\t\r\n;'\"＝ ,a1"]) | st.characters(codec="utf-8"), max_size=12).map(
    "".join
)


def runs(cell: str) -> bool:
    """Whether a spreadsheet would take a cell, as it is written, for a formula."""
    return bool(re.match(r"[\t\r\n]*[=+\-@＝＋－＠]", cell))


def cells(content: bytes, separator: str) -> list[str]:
    """The cells as a spreadsheet with that separator parts them; quotes are read as CSV has them."""
    rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=separator)
    return [cell for row in rows for cell in row]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_text_is_no_formula_and_comes_back(text):
    assert not runs(escape(text))
    assert unescape(escape(text)) == text


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4),
    TEXTS.filter(lambda name: name not in ("", "b")),
)
def test_tables_come_back_with_their_headers(rows, name):
    table = pd.DataFrame(rows, columns=[name, "b"])
    content = csv_bytes(table)
    for separator in (",", ";", "\t"):
        assert not any(runs(cell.strip('"')) for cell in cells(content, separator)), separator
    again = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False, skip_blank_lines=False)
    again = read_back(again)
    assert list(again.columns) == [name, "b"]
    assert again.to_numpy().tolist() == [list(row) for row in rows]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_written_as_text(text):
    assert not any(runs(cell) for cell in cells(csv_bytes(pd.DataFrame({text: [text]})), ","))


def test_numbers_stay_numbers():
    table = pd.DataFrame(
        {"a": [-1.5, np.nan], "b": pd.array([-3, None], "Int64"), "c": [True, False], "d": [-1, "=x"]}
    )
    assert csv_bytes(table).decode() == "a,b,c,d\r\n-1.5,-3,True,-1\r\n,,False,'=x\r\n"


def test_lists_and_moments_are_text():
    table = pd.DataFrame({"a": [["x;=1"], b"=1"], "when": pd.to_datetime(["2026-01-01", None])})
    assert not any(runs(cell.strip('"')) for cell in cells(csv_bytes(table), ";"))


def test_the_products_own_reader_gives_back_the_ids(tmp_path):
    ids = ["=1+1", "-5", "@x", "'=1", "plain", "+"]
    write_csv(pd.DataFrame({"patient_id": ids, "site=": ids}), tmp_path / "table.csv")
    assert read_cells(tmp_path / "table.csv").frame["patient_id"].tolist() == ids


def test_nothing_else_writes_csv():
    others = [*ROOT.glob("lungvae_core/**/*.py"), *ROOT.glob("pages/**/*.py")]
    for path in others:
        text = path.read_text(encoding="utf-8")
        if path.name != "csv_files.py":
            assert not re.search(r"\.to_csv\(|csv\.writer|DictWriter|\.to_excel\(", text), path
        if "read_csv(" in text or "csv.reader(" in text:
            assert "read_back(" in text or "unescape(" in text, (
                f"{path} reads CSV without taking back what the writer escapes"
            )
