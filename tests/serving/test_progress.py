"""How a training is doing, from what it has written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lungvae_core.serving.progress import read_state
from tests.conftest import ROOT


@pytest.fixture
def copy(tmp_path: Path, tiny_models: Path) -> Path:
    """A copy of the tiny DirVAE's run, of two epochs."""
    return shutil.copytree(tiny_models / "tiny-dirvae", tmp_path / "run")


def change(run: Path, **joint: object) -> None:
    info = json.loads((run / "config.json").read_text())
    info["config"]["joint"] |= joint
    (run / "config.json").write_text(json.dumps(info))


def test_figures_of_the_last_epoch(copy):
    state = read_state(copy)
    assert (state.stage, state.joint_round, state.phase) == ("vae", 0, "finished")
    assert len(state.units.kl) == len(state.units.column_norm) == 4
    assert state.alpha0 > 0
    epochs, norms = state.history("train", "gradient_norm")
    assert epochs == [1, 2]
    assert all(norm > 0 for norm in norms)
    assert state.history("train", "label_loss") == ([], [])
    assert (state.device, state.processes, state.halvings, state.not_finite) == ("cpu", 1, 0, None)
    assert state.config.training.precision == "float32"


def test_joint_rounds_are_counted_by_epochs(copy):
    change(copy, rounds=3, round_epochs=2)
    state = read_state(copy)
    assert (state.epoch, state.stage, state.joint_round) == (3, "joint", 1)
    assert state.leaks_from is None
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    rows += [rows[-1] | {"epoch": epoch, "halvings": 1} for epoch in (3, 4)]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change(copy, labels_of="released")
    state = read_state(copy)
    assert (state.epoch, state.joint_round, state.halvings) == (5, 2, 1)
    assert state.rounds_begun() == [(1, 3), (2, 5)]
    assert state.leaks_from == 3


def test_where_the_loss_was_not_finite(copy):
    (copy / "not-finite.json").write_text('{"epoch": 2, "batch": 1, "slices": ["A/0/1", "B/0/2"]}')
    found = read_state(copy).not_finite
    assert (found.epoch, found.batch, found.slices) == (2, 1, ["A/0/1", "B/0/2"])
    (copy / "not-finite.json").write_text('{"epoch": 2')
    assert read_state(copy).not_finite is None


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_models_older_than_the_new_figures_load(name):
    state = read_state(ROOT / "models" / name)
    assert state.rows
    assert state.phase == "finished"
