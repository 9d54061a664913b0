"""Tables as people have them: read as what they are, or refused with every bad cell named."""

from __future__ import annotations

import datetime
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.tables import checked, read_table
from lungvae_core.errors import UserError
from tests.data.made_tables import HEADER, ROWS, read


def column(folder: Path, name: str, *cells: object, separator: str = ",") -> list:
    """What a column's cells are read as, in a table of one patient a row."""
    rows = [f'P{at}{separator}"{cell}"' for at, cell in enumerate(cells)]
    frame = read(folder, "\n".join([f"patient_id{separator}{name}", *rows])).frame
    return frame[name].astype(object).where(frame[name].notna(), None).tolist()


def comma_decimals(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda t: t.encode(), id="plain"),
        pytest.param(lambda t: t.replace("\n", "\r\n").encode("utf-8-sig"), id="BOM and CRLF"),
        pytest.param(lambda t: t.replace("\n", "\r").encode(), id="CR alone"),
        pytest.param(lambda t: t.encode("utf-16"), id="UTF-16"),
        pytest.param(lambda t: t.encode("utf-16-le"), id="UTF-16 without BOM"),
        pytest.param(lambda t: t.replace(",", ";").encode(), id="semicolons"),
        pytest.param(lambda t: t.replace(",", "\t").encode(), id="tabs"),
        pytest.param(lambda t: t.replace(",", "|").encode(), id="bars"),
        pytest.param(lambda t: comma_decimals(t).encode(), id="decimal commas"),
        pytest.param(lambda t: ("sep=;\n" + comma_decimals(t)).encode(), id="Excel's sep="),
        pytest.param(lambda t: ("\n\nExport of 3 May\n" + t + "\n\n").encode(), id="rows above the header"),
        pytest.param(lambda t: t.replace(",", ", ").encode(), id="blanks behind commas"),
        pytest.param(lambda t: t.replace("malignancy", " Malignancy ").encode(), id="capitals and blanks"),
        pytest.param(lambda t: t.replace("pixel_spacing_mm", "Pixel Spacing (mm)").encode(), id="words"),
        pytest.param(lambda t: t.replace("0.703", "0.703 mm").encode(), id="units in cells"),
        pytest.param(lambda t: t.replace("A,0,0", "A,0.0,0.0").encode(), id="whole numbers with decimals"),
        pytest.param(lambda t: (t.replace("\n", ",\n") + ",").encode(), id="a separator at each end"),
        pytest.param(lambda t: gzip.compress(t.encode()), id="gzip"),
        pytest.param(lambda t: t.replace("8.25", "８.２５").encode(), id="full-width digits"),
    ],
)
def test_every_writing_of_a_table_is_the_same_table(tmp_path: Path, content: Callable[[str], bytes]) -> None:
    frame = read(tmp_path, content("\n".join([HEADER, *ROWS]))).frame
    assert frame.columns.tolist() == HEADER.split(",")
    assert frame["patient_id"].tolist() == ["A", "A", "B"]
    assert frame["malignancy"].tolist() == [4, 4, 2.66667]
    assert frame["diameter_mm"].tolist() == [12.5, 12.5, 8.25]
    assert frame["pixel_spacing_mm"].tolist() == [0.703, 0.703, 0.5]
    assert frame["nodule"].dtype == frame["slice"].dtype == np.int64


def test_what_was_read_how_is_said(tmp_path: Path) -> None:
    text = "\n".join(["Patient-ID;malignancy;score", "A;4,5;x", "", "b ;2;y"])
    made = read(tmp_path, text.encode("cp1252"))
    notes = " ".join(made.notes)
    for part in ("semicolon", "comma", "'Patient-ID' is read as patient_id", "'own:score'", "1 rows"):
        assert part in notes, part
    assert made.details() == {"rows": 2, "left_out": {"empty": 1}, "notes": made.notes}
    assert "Windows-1252" in " ".join(read(tmp_path, "patient_id,note\nA,größe".encode("latin-1")).notes)


@pytest.mark.parametrize(
    ("name", "cell", "value"),
    [
        ("diameter_mm", "12,5", 12.5),
        ("diameter_mm", "1,25e1", 12.5),
        ("diameter_mm", "1,234", 1.234),  # 1234 mm is no nodule
        ("pixel_spacing_mm", "0,703", 0.703),
        ("volume_mm3", "1.234,5", 1234.5),
        ("volume_mm3", "1,234.5", 1234.5),
        ("volume_mm3", "1 234.5", 1234.5),
        ("volume_mm3", "1\u00a0234,5", 1234.5),
        ("volume_mm3", "1'234.5", 1234.5),
        ("volume_mm3", "1,234,567", 1234567),
        ("volume_mm3", "1.234.567", 1234567),
        ("volume_mm3", "12 mm³", 12),
        ("z_mm", "−87.5", -87.5),
        ("z_mm", "+.5", 0.5),
        ("malignancy", "4,0", 4),
        ("malignancy", "3.5", 3.5),
        ("malignancy", "3.0", 3),
        ("contrast", "Yes", True),
        ("contrast", "0", False),
        ("mask_clipped", "TRUE", True),
        *(("malignancy_all", text, "4|5|3") for text in ("4|5|3", "[4, 5, 3]", "4;5;3", "(4,5,3)", "4 5 3")),
        *(
            ("malignancy_all", text, "4|5|3")
            for text in ("[4 5 3]", "4, 5, 3", "['4', '5', '3']", "4.0|5.0|3")
        ),
        *(("malignancy_all", text, "4|5") for text in ("[4, nan, 5]", "[4, None, 5]", "4||5", "4 | 5")),
        *(("malignancy_all", text, None) for text in ("[]", "", "nan", "|", "()")),
        *(
            ("diameter_mm", text, None)
            for text in ("", " ", "NA", "n/a", "-", "—", "?", "None", "NaN", "#N/A")
        ),
    ],
)
def test_cells_are_read_as_what_they_are(tmp_path: Path, name: str, cell: str, value: object) -> None:
    assert column(tmp_path, name, cell) == [value]


@pytest.mark.parametrize(
    ("name", "cell", "why"),
    [
        ("pixel_spacing_mm", "0.0007", "outside 0.1 to 5 mm"),
        ("pixel_spacing_mm", "0.7 m", "is in m, not in mm"),
        ("pixel_spacing_mm", "703", "outside"),
        ("diameter_mm", "-12", "outside"),
        ("diameter_mm", "-1", "leave the cell empty"),
        ("diameter_mm", "999", "leave the cell empty"),
        ("diameter_mm", "1.2 cm", "is in cm"),
        ("diameter_mm", "<5", "not a number"),
        ("diameter_mm", "5-10", "not a number"),
        ("diameter_mm", "12 (long axis)", "not a number"),
        ("diameter_mm", "1_000", "not a number"),
        ("diameter_mm", "inf", "not a number"),
        ("diameter_mm", "#DIV/0!", "error of the spreadsheet"),
        ("diameter_mm", "4-May", "not a number"),
        ("diameter_mm", "2026-05-04", "not a number"),
        ("diameter_mm", "TRUE", "not a number"),
        ("malignancy", "7", "outside 1 to 5"),
        ("malignancy", "0", "outside 1 to 5"),
        ("malignancy", "high", "not a number"),
        ("malignancy_all", "4|9", "ratings of 1 to 5"),
        ("malignancy_all", "4.5", "ratings of 1 to 5"),
        ("malignancy_all", "453", "ratings of 1 to 5"),
        ("malignancy_all", "4-5-3", "not a number"),
        ("n_readers", "2.5", "not a whole number"),
        ("area_px", "-1", "outside"),
        ("contrast", "maybe", "neither yes nor no"),
        ("slice", "1.5", "not a whole number"),
        ("slice", "-1", "outside"),
        ("nodule", "1.5", "not a whole number"),
        ("nodule", "", "must be filled"),
        ("slice", "NA", "must be filled"),
    ],
)
def test_bad_cells_are_named_with_row_and_column(tmp_path: Path, name: str, cell: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"(?s)row 3, {name}: .*{why}"):
        column(tmp_path, name, "1", cell, "1")


def test_all_bad_cells_are_named_at_once_and_the_first_twenty_one_by_one(tmp_path: Path) -> None:
    rows = [f"P{at},{9 if at % 2 else 3},{-at or ''}" for at in range(40)]
    with pytest.raises(UserError) as refused:
        read(tmp_path, "\n".join(["patient_id,malignancy,diameter_mm", *rows]))
    text = str(refused.value)
    assert "59 cells cannot be used" in text
    assert text.count("\n  row ") == 20
    assert "and 39 more" in text
    assert "row 3, malignancy: '9'" in text
    assert "row 3, diameter_mm: '-1'" in text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('patient_id,volume_mm3\nA,"1,234"', "can be 1.234 or 1234"),
        ("patient_id;volume_mm3\nA;1.234", "can be 1.234 or 1234"),
        ('patient_id,volume_mm3,z_mm\nA,"12,5",1.25', "written in two ways"),
        ("patient_id,malignancy,Malignancy\nA,1,2", "both malignancy"),
        ("patient_id,malignancy,malignancy\nA,1,2", "both malignancy"),
        ("patient_id,malignancy\nA,1,2\nB,1", "another number of cells: 2 .3."),
        ("patient_id,malignancy,z_mm\nA,1", "another number of cells"),
        ("malignancy,z_mm\n1,2", "needs a column patient_id"),
        ("patient_id\n", "has no rows"),
        ("", "has no rows"),
        ("\0\1\2", "text is damaged"),
        ("<html><table>", "web page"),
        ("patient_id,nodule\n,0\nNA,1\n?,2", "3 cells"),
        ("patient_id\n1.23E+15", "rounded"),
        ("patient_id,malignancy,malignancy_all\nA,5,1|2", "outside the readers' ratings, 1.2"),
    ],
)
def test_tables_that_cannot_be_understood_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "patient_id,z_mm\nA,1\nA,2\nB,1",
            r"no column nodule, and 1 patients .*A \(rows 2, 3\).*--one-nodule",
        ),
        ("patient_id,slice\nA,1\na ,2", "no column nodule"),
        ("patient_id,nodule,slice\nA,0,1\nB,0,0\nA,0,1", "rows 2, 4 are the same slice"),
        ("patient_id,nodule,slice\nA,0,1\nA-,0,1", "rows 2, 3 are the same slice"),
        ("patient_id,nodule,malignancy\nA,0,4\nA,0,2", r"row 3, malignancy: '2' differs from '4' in row 2"),
        ("patient_id,nodule,malignancy\nA,0,4\nA,0,\nA,0,2", "row 4, malignancy"),
        ("patient_id,nodule,malignancy_all\nA,0,4|5\nA,0,5|4", "row 3, malignancy_all"),
        ("patient_id,nodule,diameter_mm\nA,0,12\nA,0,13", "row 3, diameter_mm"),
        ("patient_id,nodule,series_uid\nA,0,1.2\nA,0,1.3", "number a patient's nodules through all scans"),
        ("patient_id,nodule,scan_id\nA,1,first\nA,1,second", "row 3, scan_id"),
        ("patient_id,nodule,pixel_spacing_mm\nA,0,0.7\nA,0,0.8", "row 3, pixel_spacing_mm"),
    ],
)
def test_units_that_are_not_what_they_are_called_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"(?s){why}"):
        read(tmp_path, text)


def test_a_person_states_what_the_rows_of_a_patient_are(tmp_path: Path) -> None:
    text = "patient_id,z_mm\nA,1\nA,2\nB,1"
    one = read(tmp_path, text, nodules="one_per_patient").frame
    assert one[["nodule", "slice"]].to_numpy().tolist() == [[0, 0], [0, 1], [0, 0]]
    each = read(tmp_path, text, nodules="one_per_slice").frame
    assert each[["nodule", "slice"]].to_numpy().tolist() == [[0, 0], [1, 0], [0, 0]]
    with pytest.raises(UserError, match="has a column nodule"):
        read(tmp_path, "patient_id,nodule\nA,1", nodules="one_per_slice")
    single = read(tmp_path, "patient_id\nA\nB")
    assert single.frame["nodule"].tolist() == [0, 0]
    assert "one row a patient" in " ".join(single.notes)


def test_named_nodules_are_numbered_within_their_patient(tmp_path: Path) -> None:
    made = read(tmp_path, "patient_id,nodule\nA,RUL\nA,left 2\nA,rul \nB,left 2")
    assert made.frame["nodule"].tolist() == [0, 1, 0, 0]
    assert made.frame["own:nodule"].tolist() == ["RUL", "left 2", "rul", "left 2"]


def test_what_is_known_of_one_row_of_a_nodule_holds_for_all_and_is_said(tmp_path: Path) -> None:
    made = read(tmp_path, "patient_id,nodule,malignancy\nA,0,4\nA,0,\nA,1,\nB,0,2")
    assert made.frame["malignancy"].fillna(0).tolist() == [4, 4, 0, 2]
    assert "malignancy of 1 rows was taken from other rows" in " ".join(made.notes)


@pytest.mark.parametrize(
    ("second", "twice"),
    [("a.npy,B,,,", True), ("a.npy,B,0,,", False), ("a.npy,B,,10,12", False), ("b.npy,B,,,", False)],
)
def test_a_manifest_that_lists_the_same_pixels_twice_is_refused(
    tmp_path: Path, second: str, twice: bool
) -> None:
    text = f"file,patient_id,index,row,column\na.npy,A,,,\n{second}"
    if not twice:
        assert len(read(tmp_path, text, manifest=True).frame) == 2
        return
    with pytest.raises(UserError, match="rows 2, 3 are the same slice of the same file"):
        read(tmp_path, text, manifest=True)


@pytest.mark.parametrize(
    "ids", [[1, 2], [1.0, 2.0], ["1.0", "2.0"], pd.array([1, 2], "Int64"), pd.Categorical(["1", "2"])]
)
def test_ids_that_were_numbers_become_text(tmp_path: Path, ids) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"patient_id": ids}).to_parquet(path)
    assert read_table(path).frame["patient_id"].tolist() == ["1", "2"]
    assert checked(pd.DataFrame({"patient_id": ids, "nodule": 0, "slice": 0}), "x").frame[
        "patient_id"
    ].tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (["1", "1.0", "2"], ["1", "1", "2"]),
        (["1,0", "1", "02.00"], ["1", "1", "02"]),
        (["1.0", "P2", "001"], ["1", "P2", "1"]),
        (["1.0", "1.1", "1"], ["1.0", "1.1", "1"]),  # ids of two parts
        (["1.2.0", "1", "2"], ["1.2.0", "1", "2"]),
    ],
)
def test_ids_that_were_written_as_floats(tmp_path: Path, ids: list[str], kept: list[str]) -> None:
    rows = "\n".join(f'"{one}",0,{at}' for at, one in enumerate(ids))
    made = read(tmp_path, f"patient_id,nodule,slice\n{rows}")
    assert made.frame["patient_id"].tolist() == kept
    assert any("decimals of 0" in note for note in made.notes) == (ids != kept)


def test_numbers_too_long_for_a_float_are_refused_as_ids(tmp_path: Path) -> None:
    pd.DataFrame({"patient_id": [1.2345678901234567e17]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="too long a number"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2], "int64"),
        (["007", "008"], "string"),
        (["1,234", "2"], "string"),
        ([1e20, 1], "string"),
        (["x", None], "string"),
        ([np.inf, 1.0], "string"),
        ([datetime.date(2026, 5, 4), None], "string"),
        ([[1, 2], [3]], "string"),
        ([{"a": 1}, {"a": 2}], "string"),
        ([b"\xff", b"x"], "string"),
        ([True, None], "boolean"),
    ],
)
def test_columns_of_ones_own_become_numbers_text_or_yes_and_no(
    tmp_path: Path, values: list, dtype: str
) -> None:
    frame = pd.DataFrame({"patient_id": ["A", "B"]})
    frame["mine"] = pd.Series(values, dtype=object)
    frame["nodule"] = frame["slice"] = 0
    made = checked(frame, "x").frame
    assert made["mine"].dtype == dtype
    made.to_parquet(tmp_path / "t.parquet")


def test_a_set_made_by_hand_is_checked_when_it_is_opened() -> None:
    frame = pd.DataFrame(
        {"patient_id": ["A", "A "], "nodule": 0, "slice": [0, 1], "score": 0.5, "texture_all": ["1", "2"]}
    )
    made = checked(frame, "x")
    assert made.frame["patient_id"].tolist() == ["A", "A"]
    assert "own:score" in made.frame
    assert "differ in texture_all" in " ".join(made.notes)
    for change, why in (
        ({"malignancy": [1, 5]}, "malignancy"),
        ({"z_mm": ["x", 1]}, "z_mm"),
        ({"slice": 0}, "same slice"),
    ):
        with pytest.raises(UserError, match=why):
            checked(frame.assign(**change), "x")
