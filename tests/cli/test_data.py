"""`lungvae import` prints what it read and how, `info` repeats it, `phantom` generates a data set."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import DatasetInfo, SliceSet, write
from tests.commands import lungvae
from tests.conftest import blobs

MEANS = [2.66667, 3.5, 3.0, 4.25, 1.33333, 5]


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    slices, _, _ = blobs(6)
    np.save(tmp_path / "s.npy", slices)
    return tmp_path


def import_of(folder: Path, table: pd.DataFrame) -> list[object]:
    """The command that imports the slices in a folder with this table, which is written beside them."""
    table.to_csv(folder / "t.csv", index=False)
    return ["import", "--slices", folder / "s.npy", "--table", folder / "t.csv", "--out", folder / "set"]


def test_the_mean_of_readers_is_kept_as_malignancy(printed, arrays: Path) -> None:
    table = pd.DataFrame({"patient_id": [f"P{at}" for at in range(6)], "malignancy": MEANS})
    printed(*import_of(arrays, table))
    data = SliceSet.open(arrays / "set")
    assert data.table["malignancy"].tolist() == MEANS
    np.testing.assert_array_equal(data.labelled(), [0, 1, np.nan, 1, 0, 1])


def test_what_was_read_is_printed_and_kept(printed, arrays: Path) -> None:
    ids = ["P1", "P1 ", "p01", "P2", "P3", "P4"]
    table = pd.DataFrame({"Patient ID": ids, "nodule": [0, 1, 2, 0, 0, 0], "score": 1})
    text = printed(*import_of(arrays, table))
    for part in (
        "6 slices of 6 nodules and 4 patients",
        "All 6 rows were used.",
        "'P1' = 'p01'",
        "patient_id of 1 rows",
        "'own:score'",
    ):
        assert part in text, part
    assert "'P1' = 'p01'" in printed("info", arrays / "set")
    assert SliceSet.open(arrays / "set").info.details["import"]["rows"] == 6


def test_the_same_pixels_of_two_patients_are_said(printed, arrays: Path) -> None:
    slices = np.load(arrays / "s.npy")
    slices[3] = slices[0]
    slices[5] = slices[4]
    np.save(arrays / "s.npy", slices)
    table = pd.DataFrame({"patient_id": ["A", "B", "C", "D", "E", "E"], "nodule": [0, 0, 0, 0, 0, 1]})
    text = printed(*import_of(arrays, table))
    assert "WARNING: slices of different patients have the same pixels: rows 2, 5 (A, D)" in text
    assert "Slices of one patient have the same pixels and are counted apart: rows 6, 7 (E)" in text


def test_without_a_column_nodule_the_person_says_what_rows_are(printed, refused, arrays: Path) -> None:
    command = import_of(arrays, pd.DataFrame({"patient_id": ["A", "A", "A", "B", "B", "B"]}))
    refused("no column nodule", *command)
    assert "2 nodules and 2 patients" in printed(*command, "--one-nodule-per-patient")
    assert "6 nodules and 2 patients" in printed(*command, "--one-nodule-per-slice", "--overwrite")
    refused("exclude each other", *command, "--one-nodule-per-slice", "--one-nodule-per-patient")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_what_a_set_made_by_hand_disagrees_in_is_reported(run, command: str, tmp_path: Path) -> None:
    slices, masks, table = blobs(5)
    table.loc[2, "n_readers"] = 3
    write(tmp_path / "set", slices, masks, table, DatasetInfo(name="one patient", source="test", rule="none"))
    code, _, err = run(command, "--data", tmp_path / "set", "--out", tmp_path / "out.json")
    assert "Rows of one nodule differ in n_readers" in err
    assert code == 2  # a single patient cannot be split


@pytest.mark.long
def test_phantom_makes_a_data_set(tmp_path):
    out = str(tmp_path / "set")
    command = ["phantom", "--factors", "independent", "--count", "10", "--workers", "1"]
    done = lungvae(*command, "--out", out, "--seed", "4", cwd=tmp_path)
    assert (done.returncode, "10 generated slices of 3 nodules" in done.stdout) == (0, True)
    other = ["--out", out + "2"]
    for wrong in (["--out", out], [*other, "--factors", "x"], [*other, "--count", "0"]):
        refused = lungvae("phantom", *wrong, cwd=tmp_path)
        assert refused.returncode == 2
        assert refused.stderr.startswith("Error: ")
        assert "Traceback" not in refused.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


@pytest.mark.long
def test_an_interrupted_phantom_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "lungvae_core.cli", "phantom", "--out", str(tmp_path / "set")]
    options = ["--factors", "independent", "--workers", "2"]
    running = subprocess.Popen([*command, *options], start_new_session=True, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert list(tmp_path.iterdir()) == []
