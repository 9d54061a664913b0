"""Run one evaluation from start to report; if stopped, it resumes where it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.diagnosis import read_confirmed
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.protocols.folded import Folded, Machine, Progress
from lungvae_core.evaluation.protocols.honest import Frozen, Nested
from lungvae_core.evaluation.protocols.paper import Paper
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, plan_folds
from lungvae_core.evaluation.report import save_report
from lungvae_core.files import folder_lock, make_folder
from lungvae_core.training.seen import Seen, keep_apart, shared_with

KINDS: dict[str, type[Folded]] = {kind.name: kind for kind in (Nested, Frozen, Paper)}


def work_folder(out: Path) -> Path:
    """Where an evaluation keeps its trainings, before and after its report `out` is written."""
    return out.with_name(f"{out.stem}.work")


def evaluate(
    evaluation: EvaluationConfig,
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
    """Train, score and write the report `out`; return it, or None if stopped early.

    `work` keeps the trainings (default: beside `out`); reports with other tasks or label rules can share it.
    `nested` is an honest report of the same preset and seeds, with which the leak table of the protocol
    `paper` begins. With `diagnoses`, a table of confirmed diagnoses (`data.diagnoses`), the patients' scores
    are also judged against these. `workers`, `ray` and `threads` are those of `lungvae_core.workers.pool`.
    `on_progress(done, total, what)` is called along the way. `seen` says what happens to patients that share
    pictures (see `training.seen.keep_apart`).

    Raises UserError for data that lack what the task needs, and for a work folder of other data or settings.
    """
    began = time.monotonic()
    truth = labels_by(data.table, evaluation.task, evaluation.label_rule)
    if not ((truth == 1).any() and (truth == 0).any()):
        raise UserError(
            f"{data.folder} lacks lesions of both classes under the label rule "
            f"{evaluation.label_rule}, so there is nothing to evaluate."
        )
    kind = KINDS[evaluation.protocol]
    beside = kind.report_beside(nested, evaluation, data)
    confirmed = None if diagnoses is None else read_confirmed(diagnoses, data.table, evaluation.protocol)
    always = list(PROTOCOLS[evaluation.protocol].leaks)
    kept, leaks = keep_apart(
        data.table["patient_id"], shared_with(data), "include" if always else seen, where=data.info.name
    )
    work = (work or work_folder(out)).resolve()
    make_folder(work)
    progress = Progress(work, on_progress)
    with folder_lock(work, what="the evaluation"):
        report = kind(
            data=data,
            truth=np.where(kept, truth, np.nan),
            task=evaluation.task,
            label_rule=evaluation.label_rule,
            seeds=evaluation.all_seeds,
            folds_count=evaluation.folds,
            quick=evaluation.quick,
            resamples=evaluation.resamples,
            leaks=[*always, *leaks],
            began=began,
            evaluation=evaluation,
            folds=[fold.only(kept) for fold in plan_folds(data.table, evaluation)],
            work=work,
            machine=Machine(workers, ray, device, threads, should_stop),
            progress=progress,
            confirmed=confirmed,
            beside=beside,
        ).report()
        if report is not None:
            save_report(out, report)
            progress("done", 1, 1)
    return report
