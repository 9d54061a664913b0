"""`lungvae measure`: what it writes, prints and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def folder(tiny_models: Path, tmp_path: Path) -> Path:
    """A finished run."""
    return Path(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "tiny"))


def test_a_run_is_measured_from_the_command_line(printed, folder: Path, tiny_data: Path) -> None:
    out = printed("measure", folder, "--data", tiny_data, "--starts", 9, "--seed", 2, "--quick")
    written = json.loads((folder / "measured.json").read_text())
    assert (written["steps"], written["seed"], written["starts"]["patients"]) == (5, 2, 9)
    assert written["command"] == "lungvae measure tiny --data tiny --starts 9 --seed 2 --quick"
    assert "9 starting lesions, one a patient, of all patients, 5 steps, seed 2" in out
    assert "Judge, learned from: " in out
    assert "Judge of spiculation. On 20 real slices of 4 patients that it has not learned from" in out
    assert "Control, steps shuffled" in out
    assert "readers' masks: Dice" in out
    for each in written["dimensions"]:
        if each["properties"]:
            assert each["name"] in out


@pytest.mark.long
def test_a_guided_rating_is_judged_unless_that_is_left_out(printed, folder: Path, tiny_data: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["config"]["objective"]["guided"] = ["diameter", "spiculation"]
    (folder / "config.json").write_text(json.dumps(config))
    command = ["measure", folder, "--data", tiny_data, "--starts", 9, "--quick"]
    out = printed(*command)
    assert "z 1, guided by spiculation. A judge of spiculation reads more of it in " in out
    assert "z 0, guided" not in out  # the diameter is measured, and needs no judge
    assert "Nothing was judged." in printed(*command, "--no-judge")
    written = json.loads((folder / "measured.json").read_text())
    assert written["judge"] is None
    assert written["command"].endswith("--no-judge")


def test_what_is_not_a_run_is_refused_in_a_sentence(refused, tmp_path: Path) -> None:
    refused("is not a model", "measure", tmp_path)
