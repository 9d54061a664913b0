"""A worker's tasks in a search: train one fold of a trial up to some epoch, or an MLP on all folds."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from scipy.special import expit

from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet, malignant
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock, write_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig, fit_classifier
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.training.search.setup import NOISE
from lungvae_core.training.search.spaces import THRESHOLDS
from lungvae_core.vae.config import Config
from lungvae_core.workers import here

STOP = ".stop"  # while this file is in the search's folder, workers end after their current batch
WORKER = "worker.json"  # in a fold's folder: which process trains it
LOCK_SECONDS = 60
Task = TypeVar("Task")


@dataclass(frozen=True)
class FoldTask:
    """One fold of one trial, up to some epoch; all paths are absolute."""

    config: Config
    data: str
    data_hash: str
    search: str
    folder: str
    train: np.ndarray  # rows of the data
    validation: np.ndarray
    until: int
    objective: str
    device: str
    threads: int


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with a value, with an error in a sentence, or stopped half-way with a checkpoint."""

    values: list[float] = field(default_factory=list)  # the objective's, one a fold
    epochs: int = 0
    seconds: float = 0.0  # of training in all
    where: str = ""
    stopped: bool = False
    error: str = ""
    extra: dict[str, float] = field(default_factory=dict)


def train_fold(task: FoldTask) -> Outcome:
    """Train a fold from the state of its folder, and evaluate it on its validation patients."""
    return _attempt(_fold, task)


def _attempt(work: Callable[[Task], Outcome], task: Task) -> Outcome:
    """The outcome of a task, of which any failure is the trial's error: the search continues."""
    try:
        outcome = work(task)
    except UserError as error:
        outcome = Outcome(error=str(error))
    except Exception as error:  # a defect in one configuration must not end a search of many
        outcome = Outcome(error=f"{type(error).__name__}: {error}")
    return replace(outcome, where=here())


def _fold(task: FoldTask) -> Outcome:
    torch.set_num_threads(task.threads)
    run, reached = _train(task)
    rows = run.metrics()
    if not reached or not rows:
        return Outcome(epochs=len(rows), stopped=True)
    value, last = measure(run, task), rows[-1]
    if not math.isfinite(value):
        raise UserError(f"{task.objective} is not a finite number after epoch {last['epoch']}.")
    return Outcome([value], last["epoch"], float(last["seconds"]))


def _train(task: FoldTask) -> tuple[Run, bool]:
    from lungvae_core.training.fit import fit

    folder, where = Path(task.folder), here()
    _wait_for_lock(folder)
    resume = (folder / "config.json").is_file()
    if not resume:  # a worker that was killed at its start leaves files that are no run
        shutil.rmtree(folder, ignore_errors=True)
    elif len((stored := Run.open(folder)).metrics()) >= task.until and stored.has("model.safetensors"):
        return stored, True
    data = SliceSet.open(task.data, verify=False)
    if data.info.content_hash != task.data_hash:
        raise UserError(f"{task.data} has other content than when the search began. Put the data back.")
    looked = 0.0
    stop = False

    def should_stop() -> bool:
        nonlocal looked, stop
        if time.monotonic() - looked > 0.5:  # a look at a shared disk a batch would be many
            looked, stop = time.monotonic(), (Path(task.search) / STOP).exists()
        return stop

    if resume:
        write_json(folder / WORKER, {"where": where})
    run, _ = fit(
        task.config,
        data,
        folder,
        device=task.device,
        resume=resume,
        split=(task.train, task.validation),
        until=task.until,
        on_epoch=lambda row: write_json(folder / WORKER, {"where": where, "epoch": row["epoch"]}),
        should_stop=should_stop,
    )
    return run, len(run.metrics()) >= task.until


def _wait_for_lock(folder: Path) -> None:
    """Until no other process writes `folder`: workers of a killed search take a moment to end."""
    until = time.monotonic() + LOCK_SECONDS
    while folder.is_dir():
        try:
            with folder_lock(folder, what="the trial"):
                return
        except UserError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def measure(run: Run, task: FoldTask) -> float:
    """The objective on the validation patients, after the last epoch; never the best of several epochs."""
    figures = run.metrics()[-1]["validation"]
    if task.objective in ("ssim", "mse"):
        return float(figures[task.objective])
    if task.objective == "elbo":
        return -(64 * 64 * float(figures["mse"]) / (2 * NOISE**2) + float(figures["kl"]))
    from sklearn.metrics import roc_auc_score

    data = SliceSet.open(task.data, verify=False)
    labels = malignant(data.table)
    train, validation = (rows[~np.isnan(labels[rows])] for rows in (task.train, task.validation))
    _check_labels(labels[validation])
    codes, config = codes_of(run, data, train), ClassifierConfig(seed=task.config.training.seed)
    model = fit_classifier(codes, labels[train], config, LesionSpace.learned(run, codes).inputs)
    return float(roc_auc_score(labels[validation], model.logits(codes_of(run, data, validation))))


def codes_of(run: Run, data: SliceSet, rows: np.ndarray) -> np.ndarray:
    """(N, K) float32 codes of some rows of `data`."""
    vae = run.load_model()
    table = data.table.iloc[rows].reset_index(drop=True)
    return vae.encode_hu(at_spacing(np.asarray(data.slices[rows]), table, vae.config.spacing_mm))


@dataclass(frozen=True)
class MlpTask:
    """All folds of one MLP on a run's codes."""

    config: ClassifierConfig
    run: str
    folds: list[tuple[np.ndarray, np.ndarray]]  # rows of the run's table
    objective: str
    search: str


def train_mlp(task: MlpTask) -> Outcome:
    """Fit the MLP on each fold's training patients and judge it on the fold's validation patients.

    The threshold is the one of THRESHOLDS with the best mean balanced accuracy over the validation folds.
    """
    return _attempt(_mlp, task)


def _mlp(task: MlpTask) -> Outcome:
    from sklearn.metrics import roc_auc_score

    began, run = time.monotonic(), Run.open(task.run)
    table, codes = run.latents()
    labels = malignant(table)
    inputs = LesionSpace.of(run, table, codes).inputs
    aucs, accuracies = [], []
    for train, validation in task.folds:
        if (Path(task.search) / STOP).exists():
            return Outcome(stopped=True)
        train, validation = (rows[~np.isnan(labels[rows])] for rows in (train, validation))
        _check_labels(labels[validation])
        model = fit_classifier(codes[train], labels[train], task.config, inputs)
        scores = expit(model.logits(codes[validation]).astype(np.float64))
        if not np.isfinite(scores).all():
            raise UserError("The classifier's scores are not finite numbers.")
        aucs.append(float(roc_auc_score(labels[validation], scores)))
        accuracies.append([balanced_accuracy(labels[validation], scores, at) for at in THRESHOLDS])
    best = int(np.mean(accuracies, axis=0).argmax())
    at_best = [row[best] for row in accuracies]
    extra = {
        "auc": float(np.mean(aucs)),
        "threshold": THRESHOLDS[best],
        "balanced_accuracy": float(np.mean(at_best)),
    }
    return Outcome(aucs if task.objective == "auc" else at_best, 1, time.monotonic() - began, extra=extra)


def balanced_accuracy(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """Mean of sensitivity and specificity of scores (N,) in 0..1 at a threshold; labels (N,) of 0 and 1."""
    called = scores >= threshold
    return float((called[labels == 1].mean() + (~called[labels == 0]).mean()) / 2)


def _check_labels(labels: np.ndarray) -> None:
    if len(labels) == 0 or labels.min() == labels.max():
        raise UserError(
            "The validation patients lack malignant or benign slices, so there is no AUC. Use another "
            "--seed, fewer --folds, or --objective ssim."
        )
