"""The protocols that do not leak: `nested` and `frozen`. Sections of their report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.counted import chosen_rows, labelled_rows, left_out_before
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.compare import paired, size_matched
from lungvae_core.evaluation.figures import unit_figures
from lungvae_core.evaluation.protocols.members import JOINT_STAGE, VAE_STAGE, Member
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold
from lungvae_core.evaluation.protocols.scores import UNITS, FoldScores
from lungvae_core.evaluation.reconstruction import slice_figures, summarise, window_of
from lungvae_core.evaluation.subgroups import attributes_of, subgroups
from lungvae_core.statistics.roc import auc, auc_interval, delong
from lungvae_core.training.checkpoints import Run

KEYS = {
    "slice": ["patient_id", "nodule", "slice"],
    "nodule": ["patient_id", "nodule"],
    "patient": ["patient_id"],
}


def pooled(scores: list[FoldScores], unit: str) -> pd.DataFrame:
    """All folds' judged test units; each was tested once."""
    frame = pd.concat([fold.frames[unit] for fold in scores], ignore_index=True)
    if frame.duplicated(KEYS[unit]).any():
        raise AssertionError(f"a {unit} was tested twice")
    return frame


def sections(
    data: SliceSet,
    by_stage: dict[str, list[FoldScores]],
    baselines: dict[str, dict[str, pd.DataFrame]],
    words: dict[str, tuple[str, bool]],
    asked: EvaluationConfig,
) -> dict[str, Any]:
    """The report's figures from every fold's scores by stage, and the baselines' judged frames by unit."""
    resamples = 200 if asked.quick else 1000
    main = by_stage[JOINT_STAGE] if JOINT_STAGE in by_stage else by_stage[VAE_STAGE]
    frames = {unit: pooled(main, unit) for unit in UNITS}
    nodules = frames["nodule"]
    found: dict[str, Any] = {
        "units": {
            unit: unit_figures(frame, resamples=resamples, seed=asked.seed) for unit, frame in frames.items()
        },
        "nodule_rules": {
            rule: {"auc": _area(pd.concat([fold.rules[rule] for fold in main]), resamples, asked.seed)}
            for rule in main[0].rules
        },
        "per_seed": _per_seed(main, asked),
        "stages": {
            stage: {unit: {"auc": _area(pooled(scores, unit), resamples, asked.seed)} for unit in UNITS}
            for stage, scores in by_stage.items()
        }
        if len(by_stage) > 1
        else None,
        "baselines": {
            name: {
                "words": words[name][0],
                "uses_readers": words[name][1],
                **{
                    unit: unit_figures(frame, resamples=resamples, seed=asked.seed)
                    for unit, frame in by_unit.items()
                },
            }
            for name, by_unit in baselines.items()
        },
        "calibration": {unit: _calibration(main, unit) for unit in UNITS},
        "settings_chosen": [fold.chosen for scores in by_stage.values() for fold in scores],
    }
    found["comparisons"] = _comparisons(nodules, baselines, found["baselines"], resamples, asked.seed)
    table = data.table
    found["subgroups"] = subgroups(
        nodules, attributes_of(table, nodules, "nodule"), resamples=min(resamples, 500), seed=asked.seed
    )
    found["size_matched"] = None
    if "diameter_mm" in table and table["diameter_mm"].notna().all():
        size = nodules.merge(
            table.groupby(KEYS["nodule"], as_index=False)["diameter_mm"].first(),
            on=KEYS["nodule"],
            how="left",
        )["diameter_mm"].to_numpy(float)
        found["size_matched"] = {"nodule": size_matched(nodules, size, seed=asked.seed)}
    return found


def _area(frame: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    return auc_interval(
        frame["label"].to_numpy(),
        frame["logit"].to_numpy(),
        frame["patient_id"].to_numpy(),
        resamples=resamples,
        seed=seed,
    )


def _per_seed(scores: list[FoldScores], asked: EvaluationConfig) -> list[dict[str, Any]]:
    rows = []
    for number in range(asked.seeds):
        row: dict[str, Any] = {"seed": asked.seed + number}
        for unit in UNITS:
            frame = pd.concat([fold.per_seed[number][unit] for fold in scores])
            row[unit] = auc(frame["label"].to_numpy(), frame["logit"].to_numpy())
        rows.append(row)
    return rows


def _calibration(scores: list[FoldScores], unit: str) -> dict[str, float]:
    settled = [fold.settled[unit] for fold in scores]
    return {
        "before": float(np.mean([before for _, before, _ in settled])),
        "after": float(np.mean([after for _, _, after in settled])),
        "temperature": float(np.mean([found.temperature for found, _, _ in settled])),
        "bias": float(np.mean([found.bias for found, _, _ in settled])),
    }


def _comparisons(
    nodules: pd.DataFrame,
    frames: dict[str, dict[str, pd.DataFrame]],
    figures: dict[str, Any],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The model against every baseline on nodules, and against the best of size and the best of all."""
    found = {}
    for name, by_unit in frames.items():
        other = by_unit["nodule"]
        both = nodules.merge(other, on=KEYS["nodule"], suffixes=("", "_other"))
        found[name] = {
            "baseline": name,
            "unit": "nodule",
            "paired": paired(nodules, other, resamples=resamples, seed=seed),
            "delong": delong(
                both["label"].to_numpy(), both["logit"].to_numpy(), both["logit_other"].to_numpy()
            ),
        }
    ranked = sorted(found, key=lambda name: -figures[name]["nodule"]["auc"]["value"])
    sizes = [name for name in ranked if name in ("diameter", "area", "slices")]
    if sizes:
        found["best_size"] = found[sizes[0]]
    if ranked:
        found["best"] = found[ranked[0]]
    return found


def described(data: SliceSet, labels: np.ndarray, task: str, rule: str) -> dict[str, Any]:
    """What the figures are about; `labels` (N,) are NaN where a slice is left out."""
    table = data.table
    known = table[~np.isnan(labels)]
    positive = table[labels == 1]

    def count(part: pd.DataFrame) -> dict[str, int]:
        return {
            "slices": len(part),
            "nodules": len(part[KEYS["nodule"]].drop_duplicates()),
            "patients": int(part["patient_id"].nunique()),
        }

    return {
        "name": data.info.name,
        "source": data.info.source,
        "attribution": data.info.attribution,
        "content_hash": data.info.content_hash,
        **count(table),
        "labelled": {**count(known), "malignant_nodules": count(positive)["nodules"]},
        "counted": labelled_rows(
            table, labels, task, rule, before=left_out_before(data.info.details)
        ).model_dump(),
    }


def reconstructed(
    data: SliceSet, folds: list[Fold], members: list[Member], asked: EvaluationConfig
) -> dict[str, Any]:
    """How well every slice is redrawn by the first seed's model of the fold that tests its patient."""
    of_fold = members_of(folds, members)
    runs = {fold.number: Run.open(of_fold[fold.number][0].folder) for fold in folds}
    frames = [slice_figures(runs[fold.number], data, fold.test) for fold in folds]
    window = window_of(next(iter(runs.values())))
    resamples = 200 if asked.quick else 500
    frame = pd.concat(frames, ignore_index=True)
    drawn = np.isin(np.arange(len(data)), frame["row"])
    counted = chosen_rows(drawn, "in no test fold", before=left_out_before(data.info.details))
    return {
        **summarise(frame, window, resamples=resamples, seed=asked.seed),
        "counted": counted.model_dump(),
    }


def members_of(folds: list[Fold], members: list[Member]) -> dict[int, list[Member]]:
    """The members of each fold, by seed."""
    return {
        fold.number: sorted((m for m in members if m.fold == fold.number), key=lambda m: m.seed)
        for fold in folds
    }
