"""The last word on a search: its best trial, trained again, judged once on the patients set aside.

Those patients were in no fold of the search, so that the figure is not the best of many; but it is one model,
one seed and one split.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from lungvae_core.data.slices import SliceSet, malignant
from lungvae_core.errors import UserError
from lungvae_core.evaluation.frozen import _baselines, _units
from lungvae_core.files import folder_lock, read_json, write_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig, fit_classifier
from lungvae_core.training.search import spaces
from lungvae_core.training.search.book import Book
from lungvae_core.training.search.setup import SearchConfig, open_search, split
from lungvae_core.training.search.trial import STOP, FoldTask, balanced_accuracy, codes_of, train_fold
from lungvae_core.workers import pool

FINAL, REPORT = "final", "final.json"


def final(
    folder: Path,
    book: Book,
    *,
    ray: str | None = None,
    device: str = "auto",
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Train the best trial on every patient not set aside and write final.json; None when stopped half-way.

    A VAE's run is left in `final/`, and goes on from its checkpoint when this is called again. A report that
    is there already is returned as it is: judging twice would be choosing. Raises UserError when the search
    has no finished trial or the training fails.
    """
    folder = folder.resolve()
    config = open_search(folder)
    best = book.best()
    if not best:
        raise UserError(f"No trial of {folder} has been trained to its end, so there is no best.")
    chosen = best[0]
    settings = book.settings(chosen)
    if (folder / REPORT).is_file():
        known = read_json(folder / REPORT, what="The search's final report")
        if known.get("trial") == chosen.number:
            return known
        raise UserError(
            f"{folder} was judged on the patients set aside with trial {known.get('trial')} as its best; "
            f"judging trial {chosen.number} on the same patients would be choosing on them. "
            "Begin a search with another --seed."
        )
    report: dict[str, Any] = {
        "protocol": "searched",
        "protocol_in_words": f"best of {len(book.trials)} trials on {config.folds} validation "
        "split(s), trained again without the patients set aside, judged once on them",
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
            told = _vae(config, folder, settings, ray, device, threads, should_stop)
            if told is None:
                return None
            report |= told
        write_json(folder / REPORT, report)
    return report


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
        objective="mse",  # measured, but nothing is chosen by it
        device=device,
        threads=threads,
    )
    with pool(1, ray, threads=threads, gpu=device in ("auto", "cuda")) as at_work:
        at_work.submit(FINAL, train_fold, task)
        while (ended := at_work.wait(0.5)) is None:
            if should_stop() and not (folder / STOP).exists():
                (folder / STOP).touch()
    (folder / STOP).unlink(missing_ok=True)
    outcome = ended[1]
    if outcome.error:
        raise UserError(f"The best trial could not be trained again: {outcome.error}")
    if outcome.stopped:
        return None
    run = Run.open(folder / FINAL)
    figures = run.metrics()[-1]["validation"]
    labels = malignant(data.table)
    train, test = (rows[~np.isnan(labels[rows])] for rows in (patients.rest, patients.test))
    classified = None
    if _both(labels[train]) and _both(labels[test]):
        simplex = full.model.prior == "dirichlet"
        fitted = ClassifierConfig(seed=config.seed)
        model = fit_classifier(codes_of(run, data, train), labels[train], fitted, simplex=simplex)
        table = data.table.iloc[test].reset_index(drop=True)
        logits = model.logits(codes_of(run, data, test)).astype(np.float64)
        classified = {
            "units": _units(table, labels[test], logits),
            "baselines": _baselines(table, labels[test]),
        }
    return {
        "patients": int(data.table.iloc[patients.test]["patient_id"].nunique()),
        "slices": len(patients.test),
        "reconstruction": {"scale": "0..1 of the model's HU window", **figures},
        "classifier": classified,
    }


def _mlp(config: SearchConfig, settings: dict[str, Any], threshold: float) -> dict[str, Any]:
    run = Run.open(config.data)
    table, codes = run.latents()
    patients, labels = split(table, config), malignant(table)
    train, test = (rows[~np.isnan(labels[rows])] for rows in (patients.rest, patients.test))
    if not (_both(labels[train]) and _both(labels[test])):
        raise UserError("The patients set aside lack malignant or benign slices. Use another --seed.")
    mlp = spaces.configure_mlp(config.of, {"seed": config.seed, **settings})
    simplex = run.config.model.prior == "dirichlet"
    began = time.monotonic()
    logits = fit_classifier(codes[train], labels[train], mlp, simplex=simplex).logits(codes[test])
    inner, scores = table.iloc[test].reset_index(drop=True), logits.astype(np.float64)
    return {
        "patients": int(inner["patient_id"].nunique()),
        "slices": len(test),
        "seconds": round(time.monotonic() - began, 1),
        "classifier": {
            "units": _units(inner, labels[test], scores),
            "baselines": _baselines(inner, labels[test]),
            "threshold": threshold,
            "balanced_accuracy": balanced_accuracy(labels[test], expit(scores), threshold),
        },
    }


def _both(labels: np.ndarray) -> bool:
    return len(labels) > 0 and labels.min() != labels.max()
