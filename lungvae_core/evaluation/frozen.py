"""The `frozen` protocol: a VAE trained without labels, a classifier on its codes, patient-grouped folds.

The encoder has seen the pixels, never the labels, of the patients in its own training split, so the figures
over all patients are transductive; those over the patients that it never saw stand beside them. The
classifier's settings are fixed beforehand; nothing is chosen on a test fold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from lungvae_core.data.slices import malignant
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation.metrics import auc_interval, by_nodule
from lungvae_core.files import write_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig, fit_classifier, save_classifier
from lungvae_core.training.encode import TRAINED

FOLDS = 5
CROSS_VALIDATED, FITTED = "cross-validated", "fitted on all labelled slices"


def classify(
    run: Run,
    config: ClassifierConfig | None = None,
    *,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Cross-validate a classifier on the run's codes, save it, the scores and the report; return the report.

    latents.parquet gains `score`: for labelled slices the sigmoid of the logit from the fold in which their
    patient was tested, for others that of the final classifier, which is fitted on all labelled slices.
    Raises UserError without both classes or with fewer than five labelled patients.
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
    logits = np.full(len(known), np.nan)
    fold_of = np.full(len(known), -1)
    folds = grouped_folds(inner, FOLDS, seed=config.seed, classes=truth.astype(int))
    for fold, (train, test) in enumerate(folds):
        model = fit_classifier(codes[known[train]], truth[train], config, simplex=simplex)
        logits[test], fold_of[test] = model.logits(codes[known[test]]), fold
        on_progress(fold + 1, FOLDS + 1)
    final = fit_classifier(codes[known], truth, config, simplex=simplex)
    save_classifier(run, final)
    on_progress(FOLDS + 1, FOLDS + 1)

    everywhere = final.logits(codes).astype(np.float64)
    everywhere[known] = logits
    # The final classifier may have seen other, labelled nodules of an unlabelled slice's patient.
    kind = np.full(len(table), FITTED, dtype=object)
    kind[known] = CROSS_VALIDATED
    score = expit(everywhere)
    run.write_latents(table.assign(score=score.astype(np.float32), score_kind=kind), codes)

    seen = inner["split"].to_numpy() == TRAINED
    report = {
        "protocol": "frozen",
        "protocol_in_words": "VAE without labels, MLP on its codes, 5 patient-grouped stratified folds",
        "transductive": bool(seen.any()),
        "task": "mvb",
        "label_rule": "median_high of the readers' malignancy ratings; above 3 against below 3",
        "seeds": [config.seed],
        "classifier": config.model_dump(),
        "units": _units(inner, truth, logits),
        "baselines": _baselines(inner, truth),
        "heldout": None,
    }
    if (~seen).any() and 0 < truth[~seen].mean() < 1:
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
