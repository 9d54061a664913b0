"""The protocols that do not leak: `nested` and `frozen`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import NODULE
from lungvae_core.data.counted import chosen_rows, left_out_before
from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation import baselines, units
from lungvae_core.evaluation.diagnosis import against_diagnosis
from lungvae_core.evaluation.figures import auc_of, frame_auc, unit_figures
from lungvae_core.evaluation.protocols.folded import Folded
from lungvae_core.evaluation.protocols.members import Member
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold
from lungvae_core.evaluation.protocols.scores import FoldScores, calibrated, score_fold, unjudged
from lungvae_core.evaluation.reconstruction import slice_figures, summarise, window_of
from lungvae_core.evaluation.report import UNITS
from lungvae_core.files import atomic_path
from lungvae_core.training.checkpoints import Run
from lungvae_core.workers import pool

CHOSEN = (
    "in each fold the rule of mean, max, top3 and attention with the best AUC on its calibration patients"
)


def pooled(scores: list[FoldScores], unit: str) -> pd.DataFrame:
    """All folds' judged test units; each was tested once."""
    frame = pd.concat([fold.frames[unit] for fold in scores], ignore_index=True)
    if frame.duplicated(units.KEYS[unit]).any():
        raise AssertionError(f"a {unit} was tested twice")
    return frame


@dataclass(frozen=True)
class BaselineTask:
    """One baseline in one fold."""

    name: str
    fold: Fold
    config: EvaluationConfig
    data: str
    folder: str


def baseline_scores(task: BaselineTask) -> dict[str, pd.DataFrame]:
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
    how: dict[str, Any] = {"seed": task.config.seed, "quick": task.config.quick}
    scored = baselines.score(task.name, data, truth, fold.fit, slices["row"].to_numpy(), **how)
    frames = {
        "slice": slices.assign(logit=np.asarray(scored.slice, float)),
        "nodule": nodules.merge(scored.nodule, on=NODULE),
    }
    for unit, frame in frames.items():
        frames[unit] = calibrated(frame, task.fold.number)[0]
        with atomic_path(files[unit]) as temporary:
            frames[unit].to_parquet(temporary, index=False)
    return frames


@dataclass(kw_only=True)
class Honest(Folded):
    """What `nested` and `frozen` share: each patient is tested by models fitted on other patients."""

    def nodule_rule(self) -> tuple[str, str]:
        rule = self.evaluation.nodule_rule
        return rule, CHOSEN if rule == "chosen" else units.RULES[rule]

    def judged(self) -> dict[str, Any] | None:
        others = self._baselines()
        if others is None:
            return None
        by_stage = self._scores()
        if by_stage is None:
            return None
        self.progress("figures", 0, 1)
        main = by_stage[self.members[0].stages[-1]]
        sections = {**self._of_scores(main), **self._of_stages(by_stage), **self._beside(main, others)}
        sections["reconstruction"] = self._reconstructed()
        if self.confirmed is not None:
            nodules, table = pooled(main, "nodule"), self.data.table
            sections["diagnosis"] = against_diagnosis(
                nodules, table, self.confirmed, label_rule=self.label_rule, **self.draws()
            )
        return sections

    def _of_scores(self, scores: list[FoldScores]) -> dict[str, Any]:
        """Sections from the last stage's scores, other than the figures of the units."""
        return {
            "nodule_rules": {
                rule: {"auc": frame_auc(pd.concat([fold.rules[rule] for fold in scores]), **self.draws())}
                for rule in scores[0].rules
            },
            "per_seed": _per_seed(scores, self.seeds),
            "calibration": {unit: _calibration(scores, unit) for unit in UNITS},
        }

    def _of_stages(self, by_stage: dict[str, list[FoldScores]]) -> dict[str, Any]:
        """The VAE before and after its joint phase, if it has one, and what was chosen in each fold."""
        stages = {
            stage: {unit: {"auc": frame_auc(pooled(scores, unit), **self.draws())} for unit in UNITS}
            for stage, scores in by_stage.items()
        }
        return {
            "stages": stages if len(stages) > 1 else None,
            "settings_chosen": [fold.chosen for scores in by_stage.values() for fold in scores],
        }

    def _beside(self, main: list[FoldScores], others: dict[str, dict[str, pd.DataFrame]]) -> dict[str, Any]:
        """The figures of the model and of the baselines, and the comparisons between them."""
        of_baselines = {
            name: {
                "words": baselines.BASELINES[name],
                "uses_readers": name not in baselines.FROM_PIXELS,
                **{unit: unit_figures(frame, **self.draws()) for unit, frame in by_unit.items()},
            }
            for name, by_unit in others.items()
        }
        frames = {unit: pooled(main, unit) for unit in UNITS}
        nodules = {name: by_unit["nodule"] for name, by_unit in others.items()}
        return self.model_sections(frames, of_baselines, nodules, self.data.table)

    def _baselines(self) -> dict[str, dict[str, pd.DataFrame]] | None:
        """The baselines' judged frames by unit, on the same folds; None if stopped."""
        names, evaluation = baselines.available(self.data.table), self.evaluation
        data = str(self.data.folder.resolve())
        split = f"{evaluation.task}-{evaluation.label_rule}-{self._split_name()}"
        folder = str(self.work / "baselines" / split)
        tasks = [
            BaselineTask(name, fold, evaluation, data, folder) for name, fold in product(names, self.folds)
        ]
        frames: dict[str, dict[str, list[pd.DataFrame]]] = {}
        with pool(self.machine.workers, self.machine.ray) as at_work:
            for number, task in enumerate(tasks):
                at_work.submit(number, baseline_scores, task)
            done = 0
            while done < len(tasks):
                ended = at_work.wait(0.5)
                if self.machine.should_stop():
                    return None
                if ended is None:
                    continue
                done += 1
                for unit, frame in ended[1].items():
                    frames.setdefault(tasks[ended[0]].name, {}).setdefault(unit, []).append(frame)
                self.progress("baselines", done, len(tasks))
        return {
            name: {unit: pd.concat(parts, ignore_index=True) for unit, parts in frames[name].items()}
            for name in names
        }

    def _split_name(self) -> str:
        evaluation = self.evaluation
        text = f"{evaluation.folds} {evaluation.seed} {evaluation.calibration_share} {evaluation.quick} "
        text += f"{self.data.info.content_hash}{self.left_out()}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def _scores(self) -> dict[str, list[FoldScores]] | None:
        """Every fold's scores by stage; None if stopped."""
        by_fold = members_of(self.folds, self.members)
        stages = self.members[0].stages
        by_stage: dict[str, list[FoldScores]] = {stage: [] for stage in stages}
        for number, fold in enumerate(self.folds):
            for at, stage in enumerate(stages):
                if self.machine.should_stop():
                    return None
                self.progress("classifiers", number * len(stages) + at, len(self.folds) * len(stages))
                by_stage[stage].append(
                    score_fold(self.data.table, fold, by_fold[fold.number], stage, self.evaluation)
                )
        return by_stage

    def _reconstructed(self) -> dict[str, Any]:
        """How well each slice is redrawn by the first seed's model of the fold that tests its patient."""
        of_fold = members_of(self.folds, self.members)
        runs = {fold.number: Run.open(of_fold[fold.number][0].folder) for fold in self.folds}
        frames = [slice_figures(runs[fold.number], self.data, fold.test) for fold in self.folds]
        frame = pd.concat(frames, ignore_index=True)
        drawn = np.isin(np.arange(len(self.data)), frame["row"])
        counted = chosen_rows(drawn, "in no test fold", before=left_out_before(self.data.info.details))
        figures = summarise(frame, window_of(next(iter(runs.values()))), **self.draws(500))
        return {**figures, "counted": counted.model_dump()}


class Nested(Honest):
    """Everything is fitted inside the folds, with labels."""

    name = "nested"


class Frozen(Honest):
    """A VAE without labels in each fold, and a classifier on its codes."""

    name = "frozen"


def _per_seed(scores: list[FoldScores], seeds: list[int]) -> list[dict[str, Any]]:
    """The AUC per unit of each seed."""
    return [
        {"seed": seed, **{unit: auc_of(pd.concat([f.per_seed[at][unit] for f in scores])) for unit in UNITS}}
        for at, seed in enumerate(seeds)
    ]


def _calibration(scores: list[FoldScores], unit: str) -> dict[str, float]:
    rows = [
        {"before": before, "after": after, "temperature": settled.temperature, "bias": settled.bias}
        for settled, before, after in (fold.settled[unit] for fold in scores)
    ]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def members_of(folds: list[Fold], members: list[Member]) -> dict[int, list[Member]]:
    """The members of each fold, by seed."""
    return {
        fold.number: sorted((m for m in members if m.fold == fold.number), key=lambda m: m.seed)
        for fold in folds
    }
