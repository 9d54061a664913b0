"""One evaluation from its beginning to its report; stopped, it goes on from where it was."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import lungvae_core
from lungvae_core.data.labels import TASKS, rule_in_words
from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation import units
from lungvae_core.evaluation.baselines import BASELINES, available
from lungvae_core.evaluation.diagnosis import against_diagnosis, read_confirmed
from lungvae_core.evaluation.protocols import honest, paper
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.protocols.members import Member, train_all
from lungvae_core.evaluation.protocols.plan import (
    EvaluationConfig,
    Fold,
    configure,
    plan_folds,
    presets,
)
from lungvae_core.evaluation.protocols.rivals import RivalTask, rival_scores
from lungvae_core.evaluation.protocols.scores import FoldScores, score_fold
from lungvae_core.evaluation.report import REPORT_FORMAT, load_report, save_report
from lungvae_core.files import folder_lock, make_folder, write_json
from lungvae_core.training.seen import Seen, keep_apart, shared_with
from lungvae_core.vae.config import Config
from lungvae_core.workers import cores, pool

PROGRESS = "progress.json"


def work_folder(out: Path) -> Path:
    """Where an evaluation keeps its trainings until its report `out` is written, and afterwards."""
    return out.with_name(f"{out.stem}.work")


def evaluate(
    asked: EvaluationConfig,
    data: SliceSet,
    out: Path,
    *,
    work: Path | None = None,
    nested: Path | None = None,
    diagnoses: Path | None = None,
    seen: Seen = "refuse",
    workers: int | None = None,
    ray: str | None = None,
    device: str = "auto",
    threads: int = 1,
    on_progress: Callable[[float, float, str], None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train, score and write the report `out`; return it, or None when stopped half-way.

    `work` keeps the trainings (default: beside `out`); reports with other tasks or label rules can share it.
    `nested` is an honest report of the same preset and seeds, which the leak table of the protocol `paper`
    begins with. `diagnoses` is a table of confirmed diagnoses (`data.diagnoses`), against which the patients'
    scores are judged too. `workers`, `ray` and `threads` are those of `lungvae_core.workers.pool`.
    `on_progress(done, total, what)`. Slices that show the same picture as one of another patient are refused;
    with `seen` "leave_out" all but the first of such patients are left out, with "include" the report says
    that it leaks.

    Raises UserError for data without what the task needs, and for a work folder of other data or settings.
    """
    began = time.monotonic()
    truth = labels_by(data.table, asked.task, asked.label_rule)
    if not ((truth == 1).any() and (truth == 0).any()):
        raise UserError(
            f"{data.folder} lacks lesions of both classes under the label rule {asked.label_rule}, so there "
            "is nothing to evaluate."
        )
    beside = _beside(nested, asked, data)
    confirmed = None if diagnoses is None else read_confirmed(diagnoses, data.table, asked.protocol)
    kept, leaks = keep_apart(
        data.table["patient_id"],
        shared_with(data),
        "include" if asked.protocol == "paper" else seen,
        where=data.info.name,
    )
    truth = np.where(kept, truth, np.nan)
    work = (work or work_folder(out)).resolve()
    make_folder(work)
    progress = _Progress(work, on_progress)
    with folder_lock(work, what="the evaluation"):
        folds = [fold.without(~kept) for fold in plan_folds(data.table, asked)]
        members = _members(asked, data, folds, work, device, threads)
        if not train_all(
            members,
            workers=workers,
            ray=ray,
            on_progress=lambda done, total: progress("training", done, total),
            should_stop=should_stop,
        ):
            return None
        report = _head(asked, data, truth, members)
        report["leaks"] = [*report["leaks"], *leaks]
        if asked.protocol == "paper":
            frames, steps = paper.frames_of(
                data.table,
                members,
                asked,
                on_progress=lambda done, total: progress("classifiers", done, total),
            )
            if beside:
                steps = [paper.nested_step(beside), *steps]
            report |= {
                "units": paper.units_of(frames, asked),
                "baselines": beside["baselines"] if beside else {},
                "leak": {"steps": steps, "total": steps[-1]["slice"] - steps[0]["slice"]},
            }
        else:
            rivals = _rivals(asked, data, folds, work, workers, ray, progress, should_stop)
            if rivals is None:
                return None
            by_stage = _scores(asked, data, folds, members, progress, should_stop)
            if by_stage is None:
                return None
            progress("figures", 0, 1)
            words = {name: (BASELINES[name].label, BASELINES[name].uses_readers) for name in rivals}
            report |= honest.sections(data, by_stage, rivals, words, asked)
            report["reconstruction"] = honest.reconstructed(data, folds, members, asked)
            if confirmed is not None:
                report["diagnosis"] = against_diagnosis(
                    honest.pooled(by_stage[members[0].stages[-1]], "nodule"),
                    data.table,
                    confirmed,
                    label_rule=asked.label_rule,
                    resamples=200 if asked.quick else 1000,
                    seed=asked.seed,
                )
        report["seconds"] = round(time.monotonic() - began, 1)
        save_report(out, report)
        progress("done", 1, 1)
    return report


class _Progress:
    """Tells the caller, and whoever reads progress.json, how far it is."""

    def __init__(self, work: Path, tell: Callable[[float, float, str], None]) -> None:
        self._path, self._tell, self._what = work / PROGRESS, tell, ""
        self._began, self._first = time.monotonic(), 0.0

    def __call__(self, what: str, done: float, total: float) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._first = what, now, done
        rate = (done - self._first) / max(now - self._began, 1e-6)
        left = (total - done) / rate if rate > 0 else None
        write_json(
            self._path,
            {
                "what": what,
                "done": round(done, 2),
                "total": total,
                "seconds_left": None if left is None else round(left),
            },
        )
        self._tell(done, total, what)


def _members(
    asked: EvaluationConfig, data: SliceSet, folds: list[Fold], work: Path, device: str, threads: int
) -> list[Member]:
    """The trainings that the protocol needs, each with a folder that its settings name."""
    found = []
    for seed, name in product(range(asked.seed, asked.seed + asked.seeds), presets(asked)):
        config = configure(asked, seed, name)
        if asked.protocol == "paper":
            split: list[tuple[int, Any, Any]] = [(0, None, None)]
        else:
            split = [(fold.number, fold.fit, fold.calibration) for fold in folds]
        settings = f"{config.preset}-{_name(config, asked, data, folds)}"
        found += [
            Member(
                fold=fold,
                seed=seed,
                config=config,
                data=str(data.folder.resolve()),
                fit=fit,
                calibration=calibration,
                folder=str(work / settings / f"fold{fold}-seed{seed}"),
                work=str(work),
                device=device,
                threads=threads,
            )
            for fold, fit, calibration in split
        ]
    return found


def _name(config: Config, asked: EvaluationConfig, data: SliceSet, folds: list[Fold]) -> str:
    """Twelve digits that stand for the settings, the folds and the data."""
    settings = config.model_dump_json(exclude={"training": {"seed"}})
    split = f"{asked.folds} {asked.seed} {asked.calibration_share} {asked.protocol == 'paper'}"
    split += _left_out(data, folds)
    return hashlib.sha256(f"{settings} {split} {data.info.content_hash}".encode()).hexdigest()[:12]


def _rivals(
    asked: EvaluationConfig,
    data: SliceSet,
    folds: list[Fold],
    work: Path,
    workers: int | None,
    ray: str | None,
    progress: _Progress,
    should_stop: Callable[[], bool],
) -> dict[str, dict[str, pd.DataFrame]] | None:
    """The baselines' judged frames by unit, on the same folds; None when asked to stop."""
    split = _split_name(asked, data, folds)
    tasks = [
        RivalTask(
            name=name,
            fold=fold,
            config=asked,
            data=str(data.folder.resolve()),
            folder=str(work / "baselines" / f"{asked.task}-{asked.label_rule}-{split}"),
        )
        for name in available(data.table)
        for fold in folds
    ]
    frames: dict[str, dict[str, list[pd.DataFrame]]] = {}
    with pool(workers, ray) as at_work:
        for number, task in enumerate(tasks):
            at_work.submit(number, rival_scores, task)
        done = 0
        while done < len(tasks):
            ended = at_work.wait(0.5)
            if should_stop():
                return None
            if ended is None:
                continue
            done += 1
            for unit, frame in ended[1].items():
                frames.setdefault(tasks[ended[0]].name, {}).setdefault(unit, []).append(frame)
            progress("baselines", done, len(tasks))
    return {
        name: {unit: pd.concat(parts, ignore_index=True) for unit, parts in frames[name].items()}
        for name in available(data.table)
    }


def _left_out(data: SliceSet, folds: list[Fold]) -> str:
    """What stands for the slices that are in no fold; empty where all are."""
    tested = np.sort(np.concatenate([fold.test for fold in folds]))
    return "" if len(tested) == len(data) else f" {hashlib.sha256(tested.tobytes()).hexdigest()}"


def _split_name(asked: EvaluationConfig, data: SliceSet, folds: list[Fold]) -> str:
    text = f"{asked.folds} {asked.seed} {asked.calibration_share} {asked.quick} {data.info.content_hash}"
    text += _left_out(data, folds)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _scores(
    asked: EvaluationConfig,
    data: SliceSet,
    folds: list[Fold],
    members: list[Member],
    progress: _Progress,
    should_stop: Callable[[], bool],
) -> dict[str, list[FoldScores]] | None:
    by_fold = honest.members_of(folds, members)
    stages = members[0].stages
    found: dict[str, list[FoldScores]] = {stage: [] for stage in stages}
    for number, fold in enumerate(folds):
        for at, stage in enumerate(stages):
            if should_stop():
                return None
            progress("classifiers", number * len(stages) + at, len(folds) * len(stages))
            found[stage].append(score_fold(data.table, fold, by_fold[fold.number], stage, asked))
    return found


def _head(
    asked: EvaluationConfig, data: SliceSet, truth: np.ndarray, members: list[Member]
) -> dict[str, Any]:
    """What the report says before its figures; every section that a protocol may fill is there."""
    config = members[0].config
    rule = "mean" if asked.protocol == "paper" else asked.nodule_rule
    chosen = (
        "in each fold the rule of mean, max, top3 and attention with the best AUC on its calibration patients"
    )
    return {
        "format": REPORT_FORMAT,
        "protocol": asked.protocol,
        "protocol_in_words": PROTOCOLS[asked.protocol].in_full,
        "task": asked.task,
        "task_in_words": TASKS[asked.task],
        "label_rule": asked.label_rule,
        "label_rule_in_words": rule_in_words(data.table, asked.label_rule),
        "leaks": list(PROTOCOLS[asked.protocol].leaks),
        "transductive": asked.protocol == "paper",
        "data": honest.described(data, truth, asked.task, asked.label_rule),
        "model": {
            "preset": "+".join(dict.fromkeys(member.config.preset for member in members)),
            "config": config.model_dump(mode="json", exclude={"preset": True, "training": {"seed"}}),
            "name": None,
        },
        "folds": asked.folds,
        "seeds": [asked.seed + number for number in range(asked.seeds)],
        "quick": asked.quick,
        "nodule_rule": rule,
        "nodule_rule_in_words": chosen if rule == "chosen" else units.RULES[rule],
        "nodule_rules": None,
        "per_seed": None,
        "stages": None,
        "baselines": {},
        "comparisons": {},
        "size_matched": None,
        "subgroups": {},
        "calibration": None,
        "reconstruction": None,
        "settings_chosen": [],
        "leak": None,
        "external": None,
        "diagnosis": None,
        "hardware": hardware(),
        "versions": {
            "lungvae": lungvae_core.__version__,
            "python": platform.python_version(),
            **_versions("torch", "numpy", "sklearn"),
        },
        "command": shlex.join(["lungvae", *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hardware() -> str:
    """This machine in words."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = ""
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return f"{cores()} cores ({model}){memory}, {gpu}"


def _versions(*names: str) -> dict[str, str]:
    import importlib

    return {name: importlib.import_module(name).__version__ for name in names}


def _beside(nested: Path | None, asked: EvaluationConfig, data: SliceSet) -> dict[str, Any] | None:
    """The honest report that the leak table begins with, after checking that it is of the same kind."""
    if nested is None:
        return None
    if asked.protocol != "paper":
        raise UserError("--nested belongs to the protocol paper, whose leak table it begins.")
    report = load_report(nested).model_dump(mode="json")
    configs = [configure(asked, asked.seed, name) for name in presets(asked)]
    ours = {
        "protocol": "nested",
        "task": asked.task,
        "label_rule": asked.label_rule,
        "seeds": [asked.seed + number for number in range(asked.seeds)],
        "preset": "+".join(config.preset for config in configs),
        "content_hash": data.info.content_hash,
    }
    theirs = {
        **{name: report[name] for name in ("protocol", "task", "label_rule", "seeds")},
        "preset": report["model"]["preset"],
        "content_hash": report["data"]["content_hash"],
    }
    different = [name for name in ours if ours[name] != theirs[name]]
    if different:
        raise UserError(
            f"{nested} cannot stand beside this evaluation: its {', '.join(different)} differ(s)."
        )
    return report
