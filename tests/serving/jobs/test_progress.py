"""How a training is doing, from what it has written."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.jobs.progress import read_state
from pages.work import train_curves
from tests.conftest import ROOT
from tests.wrong_shapes import WRONG, places, replaced


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
    assert (state.joint_round, state.phase) == (0, "finished")
    assert len(state.units.kl) == len(state.units.column_norm) == 4
    assert state.alpha0 > 0
    epochs, norms = state.history("train", "gradient_norm")
    assert epochs == [1, 2]
    assert all(norm > 0 for norm in norms)
    assert state.history("train", "label_loss") == ([], [])
    assert (state.device, state.processes, state.halvings, state.not_finite) == ("cpu", 1, 0, None)
    assert state.config.training.precision in ("float32", "bfloat16")  # auto is settled


def test_joint_rounds_are_counted_by_epochs(copy):
    change(copy, rounds=3, round_epochs=2)
    state = read_state(copy)
    assert (state.epoch, state.joint_round) == (3, 1)
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


@pytest.mark.long
@pytest.mark.parametrize("name", ["metrics.jsonl", "progress.json", "not-finite.json"])
def test_a_wrong_value_anywhere_is_refused_or_can_be_drawn(name, copy):
    """The figures of a training, with a wrong value in every place."""
    good = {
        "metrics.jsonl": json.loads((copy / "metrics.jsonl").read_text().splitlines()[-1]),
        "progress.json": json.loads((copy / "progress.json").read_text()),
        "not-finite.json": {"epoch": 2, "batch": 1, "slices": ["A/0/1", "B/0/2"]},
    }[name]
    for at in places(good):
        for kind in ("missing", "null", "text", "list", "large"):
            (copy / name).write_text(json.dumps(replaced(good, at, WRONG[kind])))
            if name != "metrics.jsonl":
                (copy / "metrics.jsonl").unlink(missing_ok=True)
            try:
                state = read_state(copy)
            except UserError:
                continue
            assert 0 <= state.fraction <= 1
            if state.rows:
                train_curves.curves(state)
            if state.units is not None:
                train_curves.dimensions(state.units)
            if state.not_finite is not None:
                "".join(state.not_finite.slices)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"x" * 1_000, None])
def test_samples_that_are_no_picture_are_none(content, copy):
    assert read_state(copy).samples
    (copy / "samples.png").unlink()
    if content is None:
        (copy / "samples.png").touch()
        os.truncate(copy / "samples.png", 1 << 40)
    else:
        (copy / "samples.png").write_bytes(content)
    assert read_state(copy).samples is None
