"""What protocols that train share: their progress, and trainings in folders named by their settings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lungvae_core.data.labels import labels
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.protocols.folded import PROGRESS, Folded, Machine, Progress
from lungvae_core.evaluation.protocols.honest import Frozen
from lungvae_core.evaluation.protocols.paper import Paper
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, plan_folds


def planned(kind: type[Folded], data: SliceSet, evaluation: EvaluationConfig, work: Path) -> Folded:
    return kind(
        data=data,
        truth=labels(data.table, evaluation.task, evaluation.label_rule),
        task=evaluation.task,
        label_rule=evaluation.label_rule,
        seeds=evaluation.all_seeds,
        folds_count=evaluation.folds,
        quick=evaluation.quick,
        resamples=evaluation.resamples,
        leaks=[],
        evaluation=evaluation,
        folds=plan_folds(data.table, evaluation),
        work=work,
        machine=Machine(1, None, "cpu", 1, lambda: False),
        progress=Progress(work, lambda *_: None),
    )


def test_progress_is_reported_and_written(tmp_path: Path) -> None:
    calls: list[tuple[float, float, str]] = []
    progress = Progress(tmp_path, lambda *values: calls.append(values))
    progress("training", 1, 4)
    assert json.loads((tmp_path / PROGRESS).read_text()) == {
        "what": "training",
        "done": 1,
        "total": 4,
        "seconds_left": None,
    }
    progress("training", 2, 4)
    assert json.loads((tmp_path / PROGRESS).read_text())["seconds_left"] >= 0
    assert calls == [(1, 4, "training"), (2, 4, "training")]


def test_each_fold_and_seed_is_trained_on_its_own(
    tiny_data: Path, make_config: Callable[..., EvaluationConfig], tmp_path: Path
) -> None:
    data = SliceSet.open(tiny_data)
    frozen = planned(Frozen, data, make_config("frozen", seeds=2), tmp_path)
    assert [(one.fold, one.seed) for one in frozen.members] == [(f, s) for s in (0, 1) for f in (0, 1, 2)]
    assert len({one.folder for one in frozen.members}) == 6
    assert all(np.intersect1d(one.fit, one.calibration).size == 0 for one in frozen.members)
    assert not frozen.transductive
    assert frozen.model()["preset"] == "gvae"
    paper = planned(Paper, data, make_config("paper"), tmp_path)
    assert [(one.fold, one.fit) for one in paper.members] == [(0, None)]
    assert paper.transductive


def test_trainings_are_shared_by_what_they_do_not_depend_on(
    tiny_data: Path, make_config: Callable[..., EvaluationConfig], tmp_path: Path
) -> None:
    data = SliceSet.open(tiny_data)

    def folder(**more: object) -> str:
        return planned(Frozen, data, make_config("frozen", **more), tmp_path).members[0].folder

    assert folder() == folder(task="mvr") == folder(label_rule="mean") == folder(nodule_rule="max")
    assert len({folder(), folder(folds=4), folder(calibration_share=0.2), folder(preset="dirvae")}) == 4
