"""`lungvae leaks`: its exit code, the pairs as a file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest


@pytest.fixture
def split(tmp_path: Path) -> Path:
    frame = pd.DataFrame({"patient_id": ["A", "A", "B", "C"], "split": ["train", "test", "train", "test"]})
    frame.to_csv(tmp_path / "split.csv", index=False)
    return tmp_path / "split.csv"


def test_a_patient_on_two_sides_is_a_leak(run, split: Path, tmp_path: Path) -> None:
    code, out, _ = run("leaks", split, "--out", tmp_path / "pairs.csv")
    assert code == 1
    assert "LEAK: " in out
    assert "Pixels were not compared; --images does." in out
    assert pd.read_csv(tmp_path / "pairs.csv")["kind"].tolist() == ["patients"]
    code, out, _ = run("leaks", split, "--json")
    assert code == 1
    assert json.loads(out)["parts"].keys() == {"train", "test"}


def test_a_clean_split_ends_well(printed, split: Path) -> None:
    pd.read_csv(split).iloc[1:].to_csv(split, index=False)
    assert "No leak: the parts share nothing that was compared." in printed("leaks", split)


def test_the_pairs_are_a_csv_file(refused, split: Path, tmp_path: Path) -> None:
    refused("is not named like one", "leaks", split, "--out", tmp_path / "pairs.txt")
    (tmp_path / "folder.csv").mkdir()
    refused("is not named like one", "leaks", split, "--out", tmp_path / "folder.csv")
