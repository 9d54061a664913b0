"""The `frozen` protocol: a VAE trained without labels, a classifier on its codes, patient-grouped folds.

The encoder has seen the pixels, never the labels, of the patients in its own training split, so the figures
over all patients are transductive; those over the patients that it never saw stand beside them. The
classifier's settings are fixed beforehand; nothing is chosen on a test fold.

A VAE with a joint phase has seen labels, and cross-validating over their patients would count them twice. So
there the protocol is `joint`: a classifier fitted on the training patients, or the head that learned with the
VAE, tested once on the patients whose pixels and labels nobody saw. If labels of held-out patients reached
the encoder, as in the paper's released code, no honest test is left: the protocol is `released`,
cross-validated as there, and says that it leaks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from lungvae_core.data.slices import malignant
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation.metrics import auc, auc_interval, by_nodule
from lungvae_core.files import write_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import (
    ClassifierConfig,
    fit_classifier,
    load_classifier,
    save_classifier,
)
from lungvae_core.training.encode import TRAINED
from lungvae_core.training.ensemble import FILE, MEMBERS, fit_ensemble, save_ensemble
from lungvae_core.workers import unordered

FOLDS = 5
# What stands behind a slice's score.
CROSS_VALIDATED, FITTED = "cross-validated", "fitted on all labelled slices"
TESTED, SHAPED = "fitted on training patients", "label seen by the encoder"
PROTOCOLS = {
    "frozen": "VAE without labels, MLP on its codes, 5 patient-grouped stratified folds",
    "joint": "VAE and MLP trained with labels of the training patients, tested on held-out patients only",
    "released": "LEAKS: labels of 70 % of all patients shaped the codes on which the MLP is cross-validated",
}


def classify(
    run: Run,
    config: ClassifierConfig | None = None,
    *,
    seeds: int = 1,
    members: int = MEMBERS,
    workers: int | None = 1,
    ray: str | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Cross-validate a classifier on the run's codes, save it, the scores and the report; return the report.

    With more `seeds` the folds are drawn and the classifiers fitted again for each seed that follows the
    configuration's, and the report gains `repeats`; all else is that of the first seed. `members` classifiers
    of patients drawn again are kept beside the final one, for the scores' bands (see `training.ensemble`).
    `workers` and `ray` are those of `workers.unordered`.

    latents.parquet gains `score`: for labelled slices the sigmoid of the logit from the fold in which their
    patient was tested, for others that of the final classifier, which is fitted on all labelled slices; and
    `score_kind`, which of these it is. After an honest joint phase the final classifier is fitted on the
    training patients, and the scores of their slices are of kind SHAPED. Raises UserError without both
    classes, or with fewer than five labelled patients.
    """
    config = config or ClassifierConfig()
    table, codes = run.latents()
    table = table.drop(columns=["score", "score_kind"], errors="ignore")
    labels = malignant(table)
    known = np.flatnonzero(~np.isnan(labels))
    if len(known) == 0 or labels[known].min() == labels[known].max():
        raise UserError(
            f"The data of {run.folder} lack labels of both classes (malignancy above 3 and below 3)."
        )
    simplex = run.config.model.prior == "dirichlet"
    inner, truth = table.iloc[known].reset_index(drop=True), labels[known]
    if seeds < 1:
        raise UserError(f"{seeds} seeds give no figure; choose 1 or more.")
    joint = run.config.joint
    protocol = "frozen" if not joint.rounds else "joint" if joint.labels_of == "training" else "released"
    seen = inner["split"].to_numpy() == TRAINED
    if protocol == "joint":
        splits = [[(np.flatnonzero(seen), np.flatnonzero(~seen))]] * seeds
        if len(set(truth[~seen])) < 2:
            raise UserError(
                f"The data of {run.folder} lack held-out patients with labels of both classes, and labels of "
                "the others shaped the codes: there is nothing to test on."
            )
    else:
        splits = [
            list(grouped_folds(inner, FOLDS, seed=config.seed + repeat, classes=truth.astype(int)))
            for repeat in range(seeds)
        ]
    tasks = [
        _Fold(repeat, train, test, config.model_copy(update={"seed": config.seed + repeat}), simplex)
        for repeat, folds in enumerate(splits)
        for train, test in folds
    ]
    all_logits = np.full((seeds, len(known)), np.nan)
    fit_fold = partial(_fit_fold, codes[known], truth)
    head = load_classifier(run) if protocol == "joint" and joint.head == "trained" else None
    if head is not None:
        all_logits[:, ~seen] = head.logits(codes[known[~seen]])
        tasks = []
    for done, (fold, found) in enumerate(unordered(fit_fold, tasks, workers, ray=ray)):
        all_logits[fold.repeat, fold.test] = found
        on_progress(done + 1, len(tasks) + 1 + members)
    # The final classifier may have seen other, labelled nodules of an unlabelled slice's patient.
    kind = np.full(len(table), FITTED, dtype=object)
    learned = np.flatnonzero(seen) if protocol == "joint" else np.arange(len(known))
    final = head or fit_classifier(codes[known[learned]], truth[learned], config, simplex=simplex)
    everywhere = final.logits(codes).astype(np.float64)
    if protocol == "joint":
        kind[known] = np.where(seen, SHAPED, TESTED)
        everywhere[known[~seen]] = all_logits[0][~seen]
    else:
        kind[known] = CROSS_VALIDATED
        everywhere[known] = all_logits[0]
    save_classifier(run, final)
    on_progress(len(tasks) + 1, len(tasks) + 1 + members)
    ensemble = fit_ensemble(
        codes[known[learned]],
        truth[learned],
        inner["patient_id"].to_numpy()[learned],
        config,
        simplex=simplex,
        members=members,
        workers=workers,
        ray=ray,
        on_progress=lambda done, _: on_progress(len(tasks) + 1 + done, len(tasks) + 1 + members),
    )
    if ensemble is None:
        (run.folder / FILE).unlink(missing_ok=True)  # of an earlier classifier, whose bands these would be
    else:
        save_ensemble(run, ensemble)

    score = expit(everywhere)
    run.write_latents(table.assign(score=score.astype(np.float32), score_kind=kind), codes)

    if protocol == "joint":
        inner, truth, all_logits = inner[~seen].reset_index(drop=True), truth[~seen], all_logits[:, ~seen]
        seen = seen[~seen]
    logits = all_logits[0]
    report = {
        "protocol": protocol,
        "protocol_in_words": PROTOCOLS[protocol],
        "transductive": bool(seen.any()),
        "task": "mvb",
        "label_rule": "median_high of the readers' malignancy ratings; above 3 against below 3",
        "seeds": [config.seed],
        "classifier": final.config.model_dump(),
        "units": _units(inner, truth, logits),
        "baselines": _baselines(inner, truth),
        "heldout": None,
        "repeats": _repeats(inner, truth, all_logits, config.seed) if seeds > 1 else None,
    }
    if protocol == "frozen" and (~seen).any() and 0 < truth[~seen].mean() < 1:
        part = inner[~seen].reset_index(drop=True)
        report["heldout"] = {
            "what": "only patients whose pixels the VAE never saw",
            "units": _units(part, truth[~seen], logits[~seen]),
            "baselines": _baselines(part, truth[~seen]),
        }
    last = run.metrics()[-1]["validation"] if run.metrics() else None
    report["reconstruction"] = last and {
        "patients": "held out",
        "scale": "0..1 of the model's HU window",
        **last,
    }
    write_json(run.folder / "evaluation.json", report)
    return report


@dataclass(frozen=True)
class _Fold:
    """One fold of one seed; rows are those of the labelled slices."""

    repeat: int
    train: np.ndarray
    test: np.ndarray
    config: ClassifierConfig
    simplex: bool


def _fit_fold(codes: np.ndarray, truth: np.ndarray, fold: _Fold) -> tuple[_Fold, np.ndarray]:
    """In a worker: the logits of a fold's test rows by a classifier of its training rows."""
    model = fit_classifier(codes[fold.train], truth[fold.train], fold.config, simplex=fold.simplex)
    return fold, model.logits(codes[fold.test])


def _repeats(table: pd.DataFrame, truth: np.ndarray, logits: np.ndarray, first: int) -> dict[str, Any]:
    """The AUC under each seed, and how far the seeds lie apart; logits (seeds, N)."""
    found: dict[str, Any] = {"seeds": [first + repeat for repeat in range(len(logits))]}
    values: dict[str, list[float]] = {"slice": [], "nodule": []}
    for scores in logits:
        nodules = by_nodule(table, label=(truth, "first"), score=(scores, "mean"))
        values["slice"].append(auc(truth, scores))
        values["nodule"].append(auc(nodules["label"].to_numpy(), nodules["score"].to_numpy()))
    for unit, aucs in values.items():
        found[unit] = {
            "auc": aucs,
            "mean": float(np.mean(aucs)),
            "deviation": float(np.std(aucs, ddof=1)),
            "low": min(aucs),
            "high": max(aucs),
        }
    return found


def _units(table: pd.DataFrame, truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    nodules = by_nodule(table, label=(truth, "first"), score=(scores, "mean"))
    return {
        "slice": _unit(table, truth, scores),
        "nodule": _unit(nodules, nodules["label"].to_numpy(), nodules["score"].to_numpy()),
    }


def _unit(table: pd.DataFrame, truth: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    return {
        "auc": auc_interval(truth, scores, table["patient_id"].to_numpy()),
        "count": len(truth),
        "malignant": int(truth.sum()),
        "patients": int(table["patient_id"].nunique()),
    }


def _baselines(table: pd.DataFrame, truth: np.ndarray) -> dict[str, Any]:
    """What size alone gives on the same lesions; no fit is needed, so no fold either."""
    found = {}
    for name, column, how in (("diameter", "diameter_mm", "first"), ("area", "area_px", "max")):
        if column not in table or table[column].isna().any():
            continue
        size = table[column].to_numpy(float)
        if column == "area_px" and "pixel_spacing_mm" in table and table["pixel_spacing_mm"].notna().all():
            size = np.sqrt(size) * table["pixel_spacing_mm"].to_numpy(float)
        nodules = by_nodule(table, label=(truth, "first"), score=(size, how))
        found[name] = {
            "slice": {"auc": auc_interval(truth, size, table["patient_id"].to_numpy())},
            "nodule": {
                "auc": auc_interval(
                    nodules["label"].to_numpy(), nodules["score"].to_numpy(), nodules["patient_id"].to_numpy()
                )
            },
        }
    return found
