"""A run's table: its own columns are recognised by exact names, whatever a person's are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.vae.config import override, preset


@pytest.fixture
def run(tiny_data: Path, tmp_path: Path) -> tuple[Run, SliceSet]:
    config = override(preset("gvae"), {"width": 4, "dimensions": 4})
    data = SliceSet.open(tiny_data)
    (tmp_path / "run").mkdir()
    return Run.create(tmp_path / "run", config, data, device="cpu"), data


def test_columns_that_begin_as_codes_do_are_the_persons_own(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    codes = np.arange(len(data) * 4, dtype=np.float32).reshape(-1, 4)
    made.write_latents(data.table.assign(code_site="A", code_of_scanner=1, split="train"), codes)
    table, read = made.latents()
    np.testing.assert_array_equal(read, codes)
    assert {"code_site", "code_of_scanner", "split"} <= set(table)


def test_a_score_without_its_kind_is_not_the_models(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    codes = np.zeros((len(data), 4), np.float32)
    made.write_latents(data.table.assign(score=0.9, label="x"), codes)
    table, _ = made.latents()
    assert {"own:score", "own:label"} <= set(table)
    assert not {"score", "label"} & set(table)
    made.write_latents(data.table.assign(score=0.9, score_kind="fitted"), codes)
    assert {"score", "score_kind"} <= set(made.latents()[0])


def test_codes_of_another_number_are_damage(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    made.write_latents(data.table, np.zeros((len(data), 3), np.float32))
    with pytest.raises(UserError, match="3 code columns, but the model has 4"):
        made.latents()


def test_a_patient_spelled_otherwise_stays_on_their_side(run: tuple[Run, SliceSet]) -> None:
    made, data = run
    train, held_out = made.split(data.table)
    other = data.table.assign(patient_id=data.table["patient_id"].str.lower().str.replace("-0", "_"))
    again = made.split(other)
    np.testing.assert_array_equal(train, again[0])
    np.testing.assert_array_equal(held_out, again[1])
    assert len(train)
    assert len(held_out)
