"""Baselines on an evaluation's folds: judged on its test patients, and kept on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation import baselines
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, plan_folds
from lungvae_core.evaluation.protocols.rivals import RivalTask, rival_scores


def test_a_size_is_judged_once_on_the_test_patients(
    discs: SliceSet,
    asked: Callable[..., EvaluationConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fold = plan_folds(discs.table, asked())[1]
    task = RivalTask("diameter", fold, asked(), str(discs.folder), str(tmp_path))
    frames = rival_scores(task)
    tested = set(discs.table["patient_id"].iloc[fold.test])
    for unit in ("slice", "nodule"):
        assert set(frames[unit]["patient_id"]) <= tested
        assert set(frames[unit]["fold"]) == {1}
        assert frames[unit]["probability"].between(0, 1).all()
        assert "calibrating" not in frames[unit]
    large = frames["nodule"].sort_values("logit")["label"].to_numpy()
    assert large[-5:].mean() > large[:5].mean()  # large discs are malignant
    monkeypatch.setattr(baselines, "score", lambda *_, **__: pytest.fail("it is on disk"))
    for unit, frame in rival_scores(task).items():
        pd.testing.assert_frame_equal(frame, frames[unit])
