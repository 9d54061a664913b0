"""A training's own records: read where they are sound, and left out where they are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lungvae_core.schema import wrong_at
from lungvae_core.training.epochs import Epoch, read_not_finite, read_position

POSITION = {
    "epoch": 2,
    "batch": 5,
    "batches": 9,
    "loss": 1.5,
    "images_per_second": 900.0,
    "seconds_left": 3.0,
}
VALIDATION = {"ssim": 0.9, "mse": 0.01, "mae": 0.05, "kl": 20.0, "active_units": 4}


def test_a_position_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_position(tmp_path) is None
    (tmp_path / "progress.json").write_text(json.dumps(POSITION))
    assert read_position(tmp_path) == POSITION


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        json.dumps(POSITION | {"epoch": 0}),
        json.dumps(POSITION | {"batches": None}),
        json.dumps(POSITION | {"images_per_second": 0}),
        json.dumps(POSITION)[:-5],
    ],
)
def test_a_damaged_position_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text(content)
    assert read_position(tmp_path) is None


def test_the_slices_of_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    written = {"epoch": 1, "batch": 3, "slices": ["A/0/1", "B/0/0"]}
    (tmp_path / "not-finite.json").write_text(json.dumps(written))
    assert read_not_finite(tmp_path) == written
    (tmp_path / "not-finite.json").write_text(json.dumps(written | {"slices": "A/0/1"}))
    assert read_not_finite(tmp_path) is None


def test_an_epochs_line_has_figures_for_every_dimension() -> None:
    line = {"epoch": 1, "seconds": 2.0, "validation": VALIDATION}
    assert wrong_at(line, Epoch) is None  # of an earlier version
    assert wrong_at(line | {"units": {"kl": [1.0, 2.0], "column_norm": [1.0, 2.0]}}, Epoch) is None
    assert wrong_at(line | {"units": {"kl": [1.0, 2.0], "column_norm": [1.0]}}, Epoch) == " at units"
    assert wrong_at(line | {"validation": VALIDATION | {"ssim": "high"}}, Epoch) == " at validation.ssim"
