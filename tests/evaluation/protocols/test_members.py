"""The trainings of an evaluation: where their codes lie, how far they are, and that they stop when asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.evaluation.protocols.members import (
    JOINT_STAGE,
    STOP,
    VAE_STAGE,
    VIEWS,
    Member,
    codes_file,
    inputs_at,
    load_codes,
    train_all,
    train_member,
)
from lungvae_core.vae.config import override, preset


def member(data: Path, work: Path, name: str = "gvae") -> Member:
    config = override(preset(name), {"width": 4, "dimensions": 4, "epochs": 2, "batch_size": 32})
    return Member(
        fold=0,
        seed=0,
        config=config,
        data=str(data),
        fit=np.arange(80),
        calibration=np.arange(80, 120),
        folder=str(work / "fold0-seed0"),
        work=str(work),
        device="cpu",
        threads=1,
    )


def test_a_member_is_done_when_the_codes_of_all_stages_exist(tiny_data: Path, tmp_path: Path) -> None:
    joint = member(tiny_data, tmp_path, "gvae-joint")
    assert joint.stages == (VAE_STAGE, JOINT_STAGE)
    Path(joint.folder).mkdir()
    codes = np.zeros((120, VIEWS, 4), np.float32)
    np.save(codes_file(Path(joint.folder), VAE_STAGE), codes)
    assert not joint.done
    np.save(codes_file(Path(joint.folder), JOINT_STAGE), codes)
    assert joint.done
    assert joint.epochs_done() == joint.config.epochs
    assert load_codes(joint, JOINT_STAGE).shape == (120, 4, 4)


def test_progress_counts_parts_of_epochs(tiny_data: Path, tmp_path: Path) -> None:
    one = member(tiny_data, tmp_path)
    assert one.stages == (VAE_STAGE,)
    assert one.epochs_done() == 0
    Path(one.folder).mkdir()
    (Path(one.folder) / "progress.json").write_text(json.dumps({"epoch": 2, "batch": 1, "batches": 4}))
    assert one.epochs_done() == 1.25


def test_nothing_is_trained_when_all_are_done_or_a_stop_was_asked(tiny_data: Path, tmp_path: Path) -> None:
    one = member(tiny_data, tmp_path)
    (tmp_path / STOP).touch()
    assert not train_member(one)
    assert not Path(one.folder).exists()
    Path(one.folder).mkdir()
    np.save(codes_file(Path(one.folder), VAE_STAGE), np.zeros((120, VIEWS, 4), np.float32))
    calls: list[tuple[float, float]] = []
    assert train_all(
        [one],
        workers=1,
        ray=None,
        on_progress=lambda *values: calls.append(values),
        should_stop=lambda: pytest.fail("there is nothing to stop"),
    )
    assert calls == [(2.0, 2.0)]


@pytest.mark.parametrize("name", ["gvae-joint", "dirvae"])
def test_classifiers_read_what_is_drawn_before_labels_and_whole_codes_after(
    tiny_data: Path, tmp_path: Path, name: str
) -> None:
    one = member(tiny_data, tmp_path, name)
    config = override(one.config, {"round_epochs": 1} if one.config.joint.rounds else {})
    one = replace(one, config=config)
    assert train_member(one)
    for stage in one.stages:
        axes = inputs_at(one, stage).axes
        assert (axes is not None) == (stage == VAE_STAGE)
        if axes is not None:
            assert axes.shape[1] == 4
            assert np.isfinite(axes).all()
