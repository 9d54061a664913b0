"""The leak's table: thresholds picked on tested units, steps that undo it, and the report beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols import paper
from lungvae_core.evaluation.protocols.folded import Folded
from lungvae_core.evaluation.protocols.plan import EvaluationConfig
from tests.evaluation.made_up import made_up


def test_the_threshold_is_the_best_of_each_tested_fold() -> None:
    generator = np.random.default_rng(0)
    inner = pd.DataFrame(
        {"patient_id": [f"P{at // 4:02d}" for at in range(80)], "nodule": 0, "slice": np.arange(80) % 4}
    )
    labels = np.repeat(generator.integers(0, 2, 20), 4).astype(float)
    logits = 2 * labels - 1 + generator.normal(0, 2, 80)
    frames = paper._frames(inner, labels, logits, np.arange(80) // 40)
    assert [len(frames[unit]) for unit in ("slice", "nodule", "patient")] == [80, 20, 20]
    for frame in frames.values():
        for _, part in frame.groupby("fold"):
            accuracy = (part["called"] == part["label"]).mean()
            others = [((part["probability"] >= at) == part["label"]).mean() for at in paper.THRESHOLDS]
            assert accuracy == max(others)


def test_the_table_begins_with_the_honest_report() -> None:
    step = paper.nested_step(made_up())
    assert (step["step"], step["slice"], step["nodule"]) == ("nested", 0.912, 0.941)
    assert step["low"] < step["slice"] < step["high"]


def test_only_a_report_of_the_same_kind_stands_beside_it(
    tiny_data: Path, make_config: Callable[..., EvaluationConfig], tmp_path: Path
) -> None:
    data, evaluation = SliceSet.open(tiny_data), make_config("paper", seeds=3)
    report = made_up()
    report["model"]["preset"] = "gvae-joint"
    report["data"]["content_hash"] = data.info.content_hash
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    beside = paper.Paper.report_beside(path, evaluation, data)
    assert beside is not None
    assert beside["protocol"] == "nested"
    path.write_text(json.dumps(report | {"task": "mvr"}))
    with pytest.raises(UserError, match=r"cannot stand beside this evaluation: its task differ"):
        paper.Paper.report_beside(path, evaluation, data)
    assert paper.Paper.report_beside(None, evaluation, data) is None
    with pytest.raises(UserError, match="--nested belongs to the protocol paper"):
        Folded.report_beside(path, evaluation, data)
