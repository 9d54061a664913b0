"""Columns: each described once, names that the product keeps, and ids of patients."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungvae_core.data.columns import MANIFEST, RESERVED, TABLE, is_reserved, patient_key, spelled_as
from tests.data.made_tables import read


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LIDC-IDRI-0002", "LIDC-IDRI-0002 "),
        ("LIDC-IDRI-0002", "\u00a0lidc-idri-0002\u200b"),
        ("LIDC-IDRI-0002", "LIDC_IDRI_2"),
        ("LIDC-IDRI-0002", "ＬＩＤＣ-IDRI-0002"),
        ("007", "7"),
        ("P007", "p7"),
        ("Müller 1", "MÜLLER  01"),
        ("12", 12),
        ("00", "0"),
        ("1.2.03", "1/2/3"),
    ],
)
def test_ids_of_one_patient(tmp_path: Path, one: str, other: object) -> None:
    assert patient_key(one) == patient_key(other)
    made = read(tmp_path, f"patient_id,nodule,slice\n{one},0,0\n{other},0,1")
    assert made.frame["patient_id"].nunique() == 1
    assert any("one patient" in note or "taken out" in note for note in made.notes) or str(one) == str(other)
    assert spelled_as([other], [one]) == [one]


@pytest.mark.parametrize(
    ("one", "other"),
    [("P1", "P10"), ("1.10", "1.1"), ("A1", "A-1"), ("2", "LIDC-IDRI-0002"), ("0998a", "0998b"), ("-", "--")],
)
def test_ids_of_different_patients(one: str, other: str) -> None:
    assert patient_key(one) != patient_key(other)
    assert spelled_as([other], [one]) == [other]


@pytest.mark.parametrize(
    "name", sorted({*RESERVED, "Score", "code_000", "CODE 7", "factor_diameter_mm", "Split "})
)
def test_a_name_of_the_products_is_kept_apart(tmp_path: Path, name: str) -> None:
    made = read(tmp_path, f"patient_id,{name}\nA,x")
    assert is_reserved(name)
    assert made.frame.columns.tolist() == ["patient_id", "nodule", "slice", f"own:{name.strip()}"]
    assert any(f"own:{name.strip()}" in note for note in made.notes)


@pytest.mark.parametrize(
    "name", ["code_site", "overall", "notes_all", "patient", "größe 肺", "12", "<b>x</b>"]
)
def test_any_other_name_is_kept(tmp_path: Path, name: str) -> None:
    assert name in read(tmp_path, f"patient_id,{name}\nA,x").frame


def test_odd_names_are_each_a_column(tmp_path: Path) -> None:
    text = f'patient_id,Note,note,note,,Unnamed: 0,"a\nb","{"x" * 500}",score,own:score\nA,1,2,3,4,5,6,7,8,9'
    names = read(tmp_path, text).frame.columns.tolist()
    assert names[3:7] == ["Note", "note", "note (2)", "column 5"]
    assert names[7:9] == ["column 6", "a b"]
    assert len(names[9]) == 80
    assert sorted(names[10:]) == ["own:score", "own:score (2)"]
    assert len(set(names)) == len(names)


def test_every_column_is_described_once_and_none_has_a_reserved_name() -> None:
    names = [one.name for one in (*TABLE, *MANIFEST)]
    assert len(set(names)) == len(names)
    assert not [one.name for one in TABLE if is_reserved(one.name)]
