"""The protocols that do not leak: every unit is tested once, and baselines on the same folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation import baselines
from lungvae_core.evaluation.protocols.honest import BaselineTask, Frozen, Nested, baseline_scores, pooled
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, plan_folds
from lungvae_core.evaluation.protocols.scores import FoldScores


def scores(*patients: str) -> FoldScores:
    frame = pd.DataFrame({"patient_id": list(patients), "nodule": 0, "slice": 0, "logit": 0.5})
    return FoldScores(dict.fromkeys(("slice", "nodule", "patient"), frame), {}, {}, {}, [])


@pytest.mark.parametrize("unit", ["slice", "nodule", "patient"])
def test_folds_are_pooled_when_each_unit_was_tested_once(unit: str) -> None:
    assert pooled([scores("A", "B"), scores("C")], unit)["patient_id"].tolist() == ["A", "B", "C"]
    with pytest.raises(AssertionError, match=f"a {unit} was tested twice"):
        pooled([scores("A", "B"), scores("B")], unit)


def test_neither_has_one_vae_for_all_folds() -> None:
    assert (Nested.name, Frozen.name) == ("nested", "frozen")
    assert not Nested.one_vae
    assert not Frozen.one_vae


def test_a_size_is_judged_once_on_the_test_patients(
    discs: SliceSet,
    make_config: Callable[..., EvaluationConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fold = plan_folds(discs.table, make_config())[1]
    task = BaselineTask("diameter", fold, make_config(), str(discs.folder), str(tmp_path))
    frames = baseline_scores(task)
    tested = set(discs.table["patient_id"].iloc[fold.test])
    for unit in ("slice", "nodule"):
        assert set(frames[unit]["patient_id"]) <= tested
        assert set(frames[unit]["fold"]) == {1}
        assert frames[unit]["probability"].between(0, 1).all()
        assert "calibrating" not in frames[unit]
    large = frames["nodule"].sort_values("logit")["label"].to_numpy()
    assert large[-5:].mean() > large[:5].mean()  # large discs are malignant
    monkeypatch.setattr(baselines, "score", lambda *_, **__: pytest.fail("it is on disk"))
    for unit, frame in baseline_scores(task).items():
        pd.testing.assert_frame_equal(frame, frames[unit])
