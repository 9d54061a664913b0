"""`lungvae cohort` and `lungvae prepare`: what they refuse, and the account of what was prepared."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lungvae_core.cli.lidc import LISTED, _account
from lungvae_core.data.prepare import Prepared
from lungvae_core.data.slices import SliceSet


def test_an_existing_file_is_kept(refused, tmp_path: Path) -> None:
    refused("Name a file in it", "cohort", "--out", tmp_path)
    kept = tmp_path / "cohort.csv"
    kept.write_text("mine")
    refused("add --overwrite to replace it", "cohort", "--out", kept)
    assert kept.read_text() == "mine"


def test_a_folder_that_is_not_there_is_reported(refused, tmp_path: Path) -> None:
    refused("nowhere", "prepare", tmp_path / "nowhere", "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_what_lacks_is_counted_and_listed_up_to_a_number(tiny_data: Path) -> None:
    columns = {"patient_id": "P", "nodule": 1, "slice": range(30), "z_mm": -5.5, "file": "", "reason": "gone"}
    problems = pd.DataFrame(columns)
    prepared = Prepared(
        dataset=SliceSet.open(tiny_data),
        problems=problems,
        expected=150,
        missing_patients=["Q", "R"],
        passed_over={"reports": 3},
    )
    lines = _account(prepared, list_missing=False)
    assert "120 of 150 lesion slices of the patients in this folder were used." in lines[1]
    assert sum(line.startswith("  P nodule 1 slice ") for line in lines) == LISTED
    assert any(line.startswith("  and 10 more; all are listed in") for line in lines)
    assert "Files passed over: 3 reports." in lines
    assert "2 patients of the cohort are not in this folder (--list-missing lists them)." in lines
    assert _account(prepared, list_missing=True)[-2:] == ["  Q", "  R"]
