"""The final test of a search: its best trial, trained again and judged once on the patients set aside.

Those patients were in no fold of the search, so the figure is not the best of many. But it comes from one
model, one seed and one split.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from scipy.special import expit

from lungvae_core.data.counted import Counted, labelled_rows, left_out_before
from lungvae_core.data.slices import SliceSet, malignant
from lungvae_core.errors import UserError
from lungvae_core.evaluation.baselines import beside_sizes
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.files import folder_lock, write_json
from lungvae_core.schema import Count, Number, Part, Share, read_as
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig, fit_classifier
from lungvae_core.training.encode import left_out_of
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.training.search import spaces
from lungvae_core.training.search.book import Book
from lungvae_core.training.search.setup import Patients, SearchConfig, open_search, split
from lungvae_core.training.search.trial import STOP, FoldTask, balanced_accuracy, codes_of, train_fold
from lungvae_core.workers import pool

FINAL, REPORT = "final", "final.json"
SEARCHED = "of patients that the search used"


class Redrawn(Part):
    """How well slices of the patients set aside are redrawn."""

    ssim: Number
    mse: Number
    kl: Number


class Auc(Part):
    """An AUC with its 95 % interval over patients."""

    value: Share
    low: Share
    high: Share


class UnitAuc(Part):
    """The AUC on a unit."""

    auc: Auc


class Aucs(Part):
    """The AUCs per slice and per nodule."""

    slice: UnitAuc
    nodule: UnitAuc


class Classified(Part):
    """A classifier of codes, and sizes alone, on the patients set aside."""

    units: Aucs
    baselines: dict[str, Aucs] = Field(default_factory=dict)


class FinalReport(Part):
    """final.json."""

    trial: Count
    label_rule: str
    patients: Count
    slices: Count
    reconstruction: Redrawn | None = None
    classifier: Classified | None = None


def read_final(folder: Path) -> dict[str, Any] | None:
    """final.json of a search's folder, or None if it has none; UserError if it is damaged."""
    if not (folder / REPORT).is_file():
        return None
    report: dict[str, Any] = read_as(
        folder / REPORT,
        FinalReport,
        what="The search's final report",
        again=f"rm {folder / REPORT}; lungvae search --out {folder} --resume --final",
    )
    return report


def final(
    folder: Path,
    book: Book,
    *,
    ray: str | None = None,
    device: str = "auto",
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train the best trial on every patient not set aside and write final.json; None if stopped early.

    A VAE's run stays in `final/` and resumes from its checkpoint when this is called again. An existing
    report is returned unchanged, since judging twice would amount to choosing. Raises UserError if the search
    has no finished trial or the training fails.
    """
    folder = folder.resolve()
    config = open_search(folder)
    best = book.best()
    if not best:
        raise UserError(f"No trial of {folder} has been trained to its end, so there is no best.")
    chosen = best[0]
    settings = book.settings(chosen)
    before = _judged_before(folder, chosen.number)
    if before is not None:
        return before
    report: dict[str, Any] = {
        "protocol": "searched",
        "protocol_in_words": PROTOCOLS["searched"].in_full.format(
            trials=len(book.trials), folds=config.folds
        ),
        "label_rule": "median_high of the readers' malignancy ratings; above 3 against below 3",
        "trial": chosen.number,
        "settings": settings,
        "validation": {"objective": config.objective, "value": chosen.value, "folds": chosen.rungs[-1]},
    }
    with folder_lock(folder, what="the search"):
        (folder / STOP).unlink(missing_ok=True)
        if config.of.of_codes:
            report |= _mlp(config, settings, float(chosen.extra["threshold"]))
        else:
            outcome = _vae(config, folder, settings, ray, device, threads, should_stop)
            if outcome is None:
                return None
            report |= outcome
        write_json(folder / REPORT, report)
    return report


def _judged_before(folder: Path, trial: int) -> dict[str, Any] | None:
    """The report that the folder already has; UserError if it is of another trial."""
    report = read_final(folder)
    if report is None or report["trial"] == trial:
        return report
    raise UserError(
        f"{folder} was judged on the patients set aside with trial {report['trial']} as its best; "
        f"judging trial {trial} on the same patients would be choosing on them. "
        "Begin a search with another --seed."
    )


def _vae(
    config: SearchConfig,
    folder: Path,
    settings: dict[str, Any],
    ray: str | None,
    device: str,
    threads: int,
    should_stop: Callable[[], bool],
) -> dict[str, Any] | None:
    data = SliceSet.open(config.data)
    patients = split(data.table, config)
    full = spaces.configure(config.of, {"seed": config.seed, **settings})
    task = FoldTask(
        config=full,
        data=str(Path(config.data).resolve()),
        data_hash=config.data_hash,
        search=str(folder),
        folder=str(folder / FINAL),
        train=patients.rest,
        validation=patients.test,
        until=full.epochs,
        objective="mse",  # measured, but not used to choose anything
        device=device,
        threads=threads,
    )
    if not _trained_again(task, ray, should_stop):
        return None
    run = Run.open(folder / FINAL)
    left_out = left_out_before(data.info.details)
    return {
        "patients": int(data.table.iloc[patients.test]["patient_id"].nunique()),
        "slices": len(patients.test),
        "counted": Counted(
            used=len(patients.test), left_out={**left_out, SEARCHED: len(patients.rest)}
        ).model_dump(),
        "reconstruction": {"scale": "0..1 of the model's HU window", **run.metrics()[-1]["validation"]},
        "classifier": _classified(run, data, patients, config.seed),
    }


def _trained_again(task: FoldTask, ray: str | None, should_stop: Callable[[], bool]) -> bool:
    """Train or resume; False if stopped. UserError if the training fails."""
    stop = Path(task.search) / STOP
    with pool(1, ray, threads=task.threads, gpu=task.device in ("auto", "cuda")) as at_work:
        at_work.submit(FINAL, train_fold, task)
        while (ended := at_work.wait(0.5)) is None:
            if should_stop() and not stop.exists():
                stop.touch()
    stop.unlink(missing_ok=True)
    outcome = ended[1]
    if outcome.error:
        raise UserError(f"The best trial could not be trained again: {outcome.error}")
    return not outcome.stopped


def _classified(run: Run, data: SliceSet, patients: Patients, seed: int) -> dict[str, Any] | None:
    """A classifier of the others' codes, judged on the patients set aside; None without both classes."""
    sides = _labelled(data.table, patients)
    if sides is None:
        return None
    labels, train, test = sides
    codes = codes_of(run, data, train)
    inputs = LesionSpace.learned(run, codes).inputs
    model = fit_classifier(codes, labels[train], ClassifierConfig(seed=seed), inputs)
    logits = model.logits(codes_of(run, data, test)).astype(np.float64)
    return {
        "counted": _counted(data.table, patients, left_out_before(data.info.details)),
        **beside_sizes(data.table.iloc[test].reset_index(drop=True), labels[test], logits),
    }


def _mlp(config: SearchConfig, settings: dict[str, Any], threshold: float) -> dict[str, Any]:
    run = Run.open(config.data)
    table, codes = run.latents()
    patients = split(table, config)
    sides = _labelled(table, patients)
    if sides is None:
        raise UserError("The patients set aside lack malignant or benign slices. Use another --seed.")
    labels, train, test = sides
    mlp = spaces.configure_mlp(config.of, {"seed": config.seed, **settings})
    began = time.monotonic()
    inputs = LesionSpace.of(run, table, codes).inputs
    logits = fit_classifier(codes[train], labels[train], mlp, inputs).logits(codes[test]).astype(np.float64)
    return {
        "patients": int(table.iloc[test]["patient_id"].nunique()),
        "slices": len(test),
        "counted": _counted(table, patients, left_out_of(run, table)),
        "seconds": round(time.monotonic() - began, 1),
        "classifier": {
            **beside_sizes(table.iloc[test].reset_index(drop=True), labels[test], logits),
            "threshold": threshold,
            "balanced_accuracy": balanced_accuracy(labels[test], expit(logits), threshold),
        },
    }


def _counted(table: pd.DataFrame, patients: Patients, before: dict[str, int]) -> dict[str, Any]:
    """Slices with a label of the patients set aside, and why the table's other slices are left out."""
    aside = table.iloc[patients.test].reset_index(drop=True)
    left_out = {**before, SEARCHED: len(patients.rest)}
    return labelled_rows(aside, malignant(aside), "mvb", "median_high", before=left_out).model_dump()


def _labelled(table: pd.DataFrame, patients: Patients) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """(labels (N,), rows to fit, rows to test), both of rows with a label; None without both classes."""
    labels = malignant(table)
    train, test = (rows[~np.isnan(labels[rows])] for rows in (patients.rest, patients.test))
    if any(len(np.unique(labels[rows])) < 2 for rows in (train, test)):
        return None
    return labels, train, test
