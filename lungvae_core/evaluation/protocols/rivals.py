"""The baselines of an evaluation on the same folds, calibrated and called in the same way; saved on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation import baselines
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold
from lungvae_core.evaluation.protocols.scores import calibrated, unjudged
from lungvae_core.evaluation.units import NODULE
from lungvae_core.files import atomic_path


@dataclass(frozen=True)
class RivalTask:
    """One baseline in one fold."""

    name: str
    fold: Fold
    config: EvaluationConfig
    data: str
    folder: str


def rival_scores(task: RivalTask) -> dict[str, pd.DataFrame]:
    """In a worker: the judged test slices and nodules of a baseline, from disk if already computed."""
    files = {
        unit: Path(task.folder) / f"{task.name}-fold{task.fold.number}-{unit}.parquet"
        for unit in ("slice", "nodule")
    }
    if all(path.is_file() for path in files.values()):
        return {unit: pd.read_parquet(path) for unit, path in files.items()}
    data = SliceSet.open(task.data, verify=False)
    truth = labels_by(data.table, task.config.task, task.config.label_rule)
    fold = task.fold.only(~np.isnan(truth))
    slices, nodules = unjudged(data.table, truth, fold)
    scored = baselines.score(
        task.name,
        data,
        truth,
        fold.fit,
        slices["row"].to_numpy(),
        seed=task.config.seed,
        quick=task.config.quick,
    )
    frames = {
        "slice": slices.assign(logit=np.asarray(scored.slice, float)),
        "nodule": nodules.merge(scored.nodule, on=NODULE),
    }
    for unit, frame in frames.items():
        frames[unit] = calibrated(frame, task.fold.number)[0]
        with atomic_path(files[unit]) as temporary:
            frames[unit].to_parquet(temporary, index=False)
    return frames
