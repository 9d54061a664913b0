"""What the parts of a split share is counted, and a clean split is clean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import DatasetInfo, write
from lungvae_core.errors import UserError
from lungvae_core.evaluation.leaks import find_leaks
from tests.conftest import ROOT
from tests.data.test_fingerprints import crop, textures


def table(**columns: object) -> pd.DataFrame:
    """Eight slices of four nodules, two patients a part."""
    return pd.DataFrame(
        {
            "patient_id": np.repeat(["P01", "P02", "P03", "P04"], 2),
            "nodule": 0,
            "slice": [0, 1] * 4,
            "split": ["train"] * 4 + ["test"] * 4,
            **columns,
        }
    )


def saved(frame: pd.DataFrame, folder: Path, name: str = "split.csv") -> Path:
    frame.to_csv(folder / name, index=False)
    return folder / name


def counts(split: Path, images: Path | None = None) -> dict[str, tuple[int, int, int]]:
    return {
        one.kind: (one.shared, one.of_first, one.of_second) for one in find_leaks(split, images)[0].shared
    }


def test_a_split_by_patient_is_clean(tmp_path: Path) -> None:
    leaks, pairs = find_leaks(saved(table(), tmp_path))
    assert leaks.clean
    assert pairs.empty
    assert leaks.parts["train"] == {"rows": 4, "patients": 2, "nodules": 2}


@pytest.mark.parametrize("other", ["P01", "p01", "P01 ", " P1"])
def test_a_patient_on_both_sides_is_counted_however_it_is_written(tmp_path: Path, other: str) -> None:
    frame = table(
        patient_id=["P01", "P01", "P02", "P02", other, other, "P04", "P04"], nodule=[0] * 4 + [1] * 4
    )
    assert counts(saved(frame, tmp_path)) == {"patients": (1, 1, 1)}


def test_nodules_of_scans_that_are_also_in_training_are_counted(tmp_path: Path) -> None:
    frame = table(seriesuid=["1.2", "1.2", "1.3", "1.3", "1.3", "1.3", "1.4", "1.4"]).drop(
        columns="patient_id"
    )
    leaks, pairs = find_leaks(saved(frame.assign(nodule=[0, 0, 1, 1, 2, 2, 3, 3]), tmp_path))
    assert [one.kind for one in leaks.shared] == ["scans"]
    assert leaks.shared[0].in_words().startswith("1 of 2 test nodules lie in scans that are also in train")
    assert pairs["id"].tolist() == ["1-3"]


@pytest.mark.parametrize("column", ["split", "Split", "fold", "Subset", "SET", "partition", "paper_split"])
def test_the_part_is_found_by_the_names_that_people_use(tmp_path: Path, column: str) -> None:
    frame = table().rename(columns={"split": column})
    assert find_leaks(saved(frame, tmp_path))[0].clean


def test_folds_are_compared_two_by_two(tmp_path: Path) -> None:
    frame = table(split=[0, 1, 1, 2, 2, 0, 1, 1]).rename(columns={"split": "fold"})
    leaks, _ = find_leaks(saved(frame, tmp_path))
    assert {(one.first, one.second) for one in leaks.shared if one.kind == "patients"} == {
        ("0", "1"),
        ("1", "2"),
        ("0", "2"),
    }


def test_rows_without_a_part_or_a_patient_are_counted(tmp_path: Path) -> None:
    frame = table(split=["train"] * 3 + [None] + ["test"] * 4)
    frame.loc[7, "patient_id"] = None
    rows = find_leaks(saved(frame, tmp_path))[0].rows
    assert rows.used == 6
    assert rows.left_out == {"with an empty split": 1, "with an empty patient_id": 1}


def copied(folder: Path, kind: str) -> tuple[Path, Path]:
    """(split, images) in which the last slice is the mirrored first, of another patient and part."""
    images = textures(8)
    slices = crop(images).copy()
    slices[7] = slices[0][:, ::-1]
    frame = table()
    if kind == "set":
        info = DatasetInfo(name="x", source="made by the tests", rule="fields")
        write(folder / "set", slices, np.zeros(slices.shape, np.uint8), frame.drop(columns="split"), info)
        return saved(frame.iloc[::-1], folder), folder / "set"
    if kind == "stack":
        np.save(folder / "stack.npy", slices)
        return saved(frame, folder), folder / "stack.npy"
    for at, one in enumerate(slices):
        np.save(folder / f"{at}.npy", one)
    return saved(frame.assign(file=[f"{at}.npy" for at in range(8)]), folder), folder


@pytest.mark.parametrize("kind", ["set", "stack", "folder"])
def test_the_same_picture_of_several_patients_is_found(tmp_path: Path, kind: str) -> None:
    split, images = copied(tmp_path, kind)
    leaks, pairs = find_leaks(split, images)
    assert counts(split, images) == {"pictures of several patients": (1, 1, 1)}
    assert sorted(pairs[["line", "other_line"]].iloc[0].tolist()) == [2, 9]
    assert leaks.compared[-1] == "pictures"


@pytest.mark.parametrize(
    ("frame", "images", "words"),
    [
        (table().drop(columns="split"), None, "names each row's part"),
        (table().drop(columns="patient_id"), None, "needs a column patient_id"),
        (table(split="train"), None, "all rows are in one part"),
        (table(split=None), None, "no row with both"),
        (table(), "nowhere", "There are no images at"),
        (table(), ".", "needs a column file"),
        (table(index=9), "stack.npy", "none of the 3 slices"),
        (table(), "stack.npy", "8 usable rows and .* 3 slices"),
        (table(), "flat.npy", r"\(N, 64, 64\) is needed"),
    ],
)
def test_what_cannot_be_compared_is_a_sentence(
    tmp_path: Path, frame: pd.DataFrame, images: str | None, words: str
) -> None:
    np.save(tmp_path / "stack.npy", np.zeros((3, 64, 64), np.int16))
    np.save(tmp_path / "flat.npy", np.zeros((3, 64), np.int16))
    with pytest.raises(UserError, match=words):
        find_leaks(saved(frame, tmp_path), None if images is None else tmp_path / images)


def test_the_command_says_it_by_its_exit_code(tmp_path: Path) -> None:
    def run(frame: pd.DataFrame, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lungvae_core.cli", "leaks", str(saved(frame, tmp_path)), *options]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False)

    assert run(table()).returncode == 0
    leaking = table(patient_id=["=P01"] * 8)
    done = run(leaking, "--json", "--out", str(tmp_path / "pairs.csv"))
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["shared"][0]["shared"] == 1
    for cell in (tmp_path / "pairs.csv").read_text().replace("\n", ",").split(","):
        assert not cell.startswith(("=", "+", "-", "@"))
    assert run(table(split="train")).returncode == 2
