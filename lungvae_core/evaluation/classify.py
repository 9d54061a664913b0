"""`lungvae classify`: one VAE for all folds, a classifier on its codes, patient-grouped folds.

Of a VAE without labels the protocol is `transductive`.

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

from lungvae_core.data.counted import labelled_rows
from lungvae_core.data.diagnoses import Diagnoses
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import KEY, SliceSet, malignant
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation.card import save_card
from lungvae_core.evaluation.diagnosis import against_diagnosis, check_known
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.units import RULES, by_nodule, nodule_logits
from lungvae_core.statistics.roc import auc, auc_interval
from lungvae_core.training.attention import FILE as ATTENTION_FILE
from lungvae_core.training.attention import NODULE, Attention, Attentions, fit_attention, save_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import (
    Classifier,
    ClassifierConfig,
    Inputs,
    fit_classifier,
    inputs_of,
    load_classifier,
    over_views,
    save_classifier,
)
from lungvae_core.training.encode import TRAINED, encode_views, left_out_of
from lungvae_core.training.ensemble import FILE, MEMBERS, Ensemble, fit_ensemble, save_ensemble
from lungvae_core.training.ensemble import FOLDS as FOLDS_FILE
from lungvae_core.training.seen import Seen, keep_apart, same_in_run
from lungvae_core.workers import unordered

FOLDS = 5
# What stands behind a slice's score.
CROSS_VALIDATED, FITTED = "cross-validated", "fitted on all labelled slices"
TESTED, SHAPED = "fitted on training patients", "label seen by the encoder"


def classify(
    run: Run,
    config: ClassifierConfig | None = None,
    *,
    seeds: int = 1,
    seen: Seen = "refuse",
    members: int = MEMBERS,
    diagnoses: Diagnoses | None = None,
    views: int = 1,
    data: SliceSet | None = None,
    workers: int | None = 1,
    ray: str | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Cross-validate a classifier on the run's codes, save it, the scores and the report; return the report.

    With more `seeds` the folds are drawn and the classifiers fitted again for each seed that follows the
    configuration's, and the report gains `repeats`; all else is that of the first seed. `members` classifiers
    of patients drawn again are kept beside the final one, for the scores' bands (see `training.ensemble`).
    Slices that show the same picture as one of another patient are refused; with `seen` "leave_out" all but
    the first of such patients are left out, with "include" the report says that it leaks. With `diagnoses`
    the report gains the section `diagnosis`, of the scores by classifiers that have not seen the patient and,
    where labels shaped the codes, of held-out patients alone. With more `views` of each slice
    of `data`, the run's own, it gains `views`: the figures by logits averaged over them, of the same
    classifiers. `workers` and `ray` are those of `workers.unordered`.

    latents.parquet gains `score`: the sigmoid of the logit by the classifier of the fold in which the slice's
    patient was tested, which is kept; for patients without a label that of the final classifier, which is
    fitted on all labelled slices; and `score_kind`, which of these it is. After an honest joint phase the
    final classifier is fitted on the training patients and scores the others; the training patients are
    parted into folds for their own scores, of kind SHAPED. Raises UserError without both classes, or with
    fewer than five labelled patients.
    """
    config = config or ClassifierConfig()
    table, codes = run.latents()
    table = table.drop(columns=["score", "score_kind"], errors="ignore")
    labels = malignant(table)
    same_as = same_in_run(run, table)
    kept, leaks = keep_apart(table["patient_id"], same_as, seen, where=str(run.folder))
    known = np.flatnonzero(~np.isnan(labels) & kept)
    if len(known) == 0 or labels[known].min() == labels[known].max():
        raise UserError(
            f"The data of {run.folder} lack labels of both classes (malignancy above 3 and below 3)."
        )
    inputs = inputs_of(run.config)
    inner, truth = table.iloc[known].reset_index(drop=True), labels[known]
    if seeds < 1:
        raise UserError(f"{seeds} seeds give no figure; choose 1 or more.")
    if diagnoses is not None:
        check_known(table, diagnoses)
    of_views = None if views == 1 else _viewed(run, data, table, views)
    joint = run.config.joint
    protocol = "joint" if run.config.labels_shape_codes else "transductive"
    if run.config.labels_leak:
        protocol = "released"
    trained = inner["split"].to_numpy() == TRAINED
    splits, kept_folds = _splits(run, inner, truth, trained, protocol, config.seed, seeds)
    tasks = [
        _Fold(repeat, number, train, test, config.model_copy(update={"seed": config.seed + repeat}), inputs)
        for repeat, folds in enumerate(splits)
        for number, (train, test) in enumerate(folds)
    ]
    all_logits = np.full((seeds, len(known)), np.nan)
    fit_fold = partial(_fit_fold, codes[known], truth)
    head = load_classifier(run) if joint.rounds and protocol == "joint" and joint.head == "trained" else None
    if head is not None:
        all_logits[:, ~trained] = head.logits(codes[known[~trained]])
        tasks = [task for task in tasks if task.repeat == 0 and task.number in kept_folds]
    of_folds: dict[int, tuple[_Fold, Classifier]] = {}
    for done, (fold, classifier) in enumerate(unordered(fit_fold, tasks, workers, ray=ray)):
        all_logits[fold.repeat, fold.test] = classifier.logits(codes[known[fold.test]])
        if fold.repeat == 0 and fold.number in kept_folds:
            of_folds[fold.number] = fold, classifier
        on_progress(done + 1, len(tasks) + 1 + members)
    learned = np.flatnonzero(trained) if protocol == "joint" else np.arange(len(known))
    final = head or fit_classifier(codes[known[learned]], truth[learned], config, inputs)
    save_classifier(run, final)
    folds = _strangers(inner["patient_id"].astype(str).to_numpy(), of_folds)
    everywhere, kind = _judged(table, codes[:, None], final, folds, protocol)
    attentions = _attentions(inner, codes[known], truth, learned, of_folds, config.seed, inputs)
    if attentions is None:
        (run.folder / ATTENTION_FILE).unlink(missing_ok=True)
    else:
        save_attentions(run, attentions)
    if folds is None:
        (run.folder / FOLDS_FILE).unlink(missing_ok=True)
    else:
        save_ensemble(run, folds, FOLDS_FILE)
    on_progress(len(tasks) + 1, len(tasks) + 1 + members)
    ensemble = fit_ensemble(
        codes[known[learned]],
        truth[learned],
        inner["patient_id"].to_numpy()[learned],
        config,
        inputs,
        members=members,
        workers=workers,
        ray=ray,
        on_progress=lambda done, _: on_progress(len(tasks) + 1 + done, len(tasks) + 1 + members),
    )
    if ensemble is None:
        (run.folder / FILE).unlink(missing_ok=True)  # of an earlier classifier, whose bands these would be
    else:
        save_ensemble(run, ensemble)

    viewed = None
    if of_views is not None:
        by_views, _ = _judged(table, of_views, final, folds, protocol)
        rows = known[~trained] if protocol == "joint" else known
        tested, classes = table.iloc[rows].reset_index(drop=True), labels[rows]
        viewed = {
            "count": views,
            "units": _units(tested, classes, by_views[rows]),
            "nodule_rules": _nodule_rules(
                tested, classes, by_views[rows], of_views[rows].mean(1), attentions
            ),
        }

    score = expit(everywhere)
    run.write_latents(table.assign(score=score.astype(np.float32), score_kind=kind), codes)

    nodule_codes = codes[known]
    counted = labelled_rows(
        table, np.where(kept, labels, np.nan), "mvb", "median_high", before=left_out_of(run, table)
    )
    if protocol == "joint":
        nodule_codes = nodule_codes[~trained]
        counted = counted.without(int(trained.sum()), "of patients whose labels shaped the codes")
        inner, truth, all_logits = (
            inner[~trained].reset_index(drop=True),
            truth[~trained],
            all_logits[:, ~trained],
        )
        trained = trained[~trained]
    logits = all_logits[0]
    report = {
        "protocol": protocol,
        "protocol_in_words": PROTOCOLS[protocol].in_full,
        "transductive": bool(trained.any()),
        "task": "mvb",
        "label_rule": "median_high of the readers' malignancy ratings; above 3 against below 3",
        "seeds": [config.seed],
        "classifier": final.config.model_dump(),
        "units": _units(inner, truth, logits),
        "baselines": _baselines(inner, truth),
        "nodule_rules": _nodule_rules(inner, truth, logits, nodule_codes, attentions),
        "views": viewed,
        "heldout": None,
        "diagnosis": diagnoses and _confirmed(table, everywhere, kind != SHAPED, diagnoses, config.seed),
        "leaks": leaks,
        "pixels_compared": same_as is not None,
        "counted": counted.model_dump(),
        "repeats": _repeats(inner, truth, all_logits, config.seed) if seeds > 1 else None,
    }
    if protocol == "transductive" and (~trained).any() and 0 < truth[~trained].mean() < 1:
        part = inner[~trained].reset_index(drop=True)
        report["heldout"] = {
            "what": "only patients whose pixels the VAE never saw",
            "units": _units(part, truth[~trained], logits[~trained]),
            "baselines": _baselines(part, truth[~trained]),
        }
    last = run.metrics()[-1]["validation"] if run.metrics() else None
    report["reconstruction"] = last and {
        "patients": "held out",
        "scale": "0..1 of the model's HU window",
        **last,
    }
    save_card(run, report)
    return report


@dataclass(frozen=True)
class _Fold:
    """One fold of one seed; rows are those of the labelled slices."""

    repeat: int
    number: int  # among the repeat's
    train: np.ndarray
    test: np.ndarray
    config: ClassifierConfig
    inputs: Inputs


def _fit_fold(codes: np.ndarray, truth: np.ndarray, fold: _Fold) -> tuple[_Fold, Classifier]:
    """In a worker: a classifier of a fold's training rows."""
    return fold, fit_classifier(codes[fold.train], truth[fold.train], fold.config, fold.inputs)


def _splits(
    run: Run,
    inner: pd.DataFrame,
    truth: np.ndarray,
    trained: np.ndarray,
    protocol: str,
    seed: int,
    seeds: int,
) -> tuple[list[list[tuple[np.ndarray, np.ndarray]]], range]:
    """(a list a seed of (training, test) rows of the labelled slices, which of the first seed's are kept).

    The kept ones' classifiers score the patients that they tested, wherever these are shown. After an honest
    joint phase the first split is the test, and the kept ones part the training patients. Raises UserError
    where there is nothing to test on.
    """
    if protocol != "joint":
        folds = [
            list(grouped_folds(inner, FOLDS, seed=seed + repeat, classes=truth.astype(int)))
            for repeat in range(seeds)
        ]
        return folds, range(FOLDS)
    if len(set(truth[~trained])) < 2:
        raise UserError(
            f"The data of {run.folder} lack held-out patients with labels of both classes, and labels of "
            "the others shaped the codes: there is nothing to test on."
        )
    own = np.flatnonzero(trained)
    splits = [[(own, np.flatnonzero(~trained))] for _ in range(seeds)]
    if inner["patient_id"].iloc[own].nunique() >= FOLDS:
        parts = grouped_folds(inner.iloc[own], FOLDS, seed=seed, classes=truth[own].astype(int))
        splits[0] += [(own[train], own[test]) for train, test in parts if len(set(truth[own[train]])) == 2]
    return splits, range(1, len(splits[0]))


def _strangers(patients: np.ndarray, of_folds: dict[int, tuple[_Fold, Classifier]]) -> Ensemble | None:
    """The folds' classifiers, each a stranger to the patients that it tested; `patients` (N,) of the rows."""
    if not of_folds:
        return None
    kept = [of_folds[number] for number in sorted(of_folds)]
    names = np.unique(np.concatenate([patients[fold.test] for fold, _ in kept]))
    drew = np.stack([~np.isin(names, patients[fold.test]) for fold, _ in kept])
    return Ensemble(tuple(classifier for _, classifier in kept), tuple(names.tolist()), drew)


def _attentions(
    inner: pd.DataFrame,
    codes: np.ndarray,
    truth: np.ndarray,
    learned: np.ndarray,
    of_folds: dict[int, tuple[_Fold, Classifier]],
    seed: int,
    inputs: Inputs,
) -> Attentions | None:
    """Attention over a nodule's slices, fitted as the classifiers are; None where slices' labels are torn."""
    if inner.assign(truth=truth).groupby(NODULE)["truth"].nunique().max() > 1:
        return None

    def fit(rows: np.ndarray) -> Attention:
        part = inner.iloc[rows].reset_index(drop=True)
        return fit_attention(codes[rows], part, truth[rows], seed=seed, inputs=inputs)

    kept = [of_folds[number][0] for number in sorted(of_folds)]
    patients = inner["patient_id"].astype(str).to_numpy()
    fold_of = {patient: at for at, fold in enumerate(kept) for patient in np.unique(patients[fold.test])}
    return Attentions(fit(learned), tuple(fit(fold.train) for fold in kept), fold_of)


def _nodule_rules(
    inner: pd.DataFrame,
    truth: np.ndarray,
    logits: np.ndarray,
    codes: np.ndarray,
    attentions: Attentions | None,
) -> dict[str, Any]:
    """The AUC per nodule by each rule from slices to nodules, on the slices that were tested."""
    label = by_nodule(inner, label=(truth, "first"))
    results = {}
    for rule in RULES:
        if rule == "attention" and attentions is not None:
            nodules = attentions.logits(codes, inner)
        elif rule == "attention" or (rule == "largest" and not _filled(inner, "area_px")):
            continue
        else:
            nodules = nodule_logits(rule, inner, logits)
        both = label.merge(nodules, on=NODULE, validate="one_to_one")
        results[rule] = {
            "auc": auc_interval(
                both["label"].to_numpy(), both["logit"].to_numpy(), both["patient_id"].to_numpy()
            )
        }
    return results


def _filled(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().all())


def _viewed(run: Run, data: SliceSet | None, table: pd.DataFrame, views: int) -> np.ndarray:
    """(N, views, K) codes of the slices in the run's table; UserError unless `data` has them."""
    if data is None or not data.table[KEY].astype(str).equals(table[KEY].astype(str)):
        raise UserError(
            f"Views of slices are encoded anew: name the data set that {run.folder} has encoded with --data."
        )
    slices = at_spacing(data.slices, data.table, run.config.model.spacing_mm)
    return encode_views(run.load_model(), slices, views)


def _confirmed(
    table: pd.DataFrame, logits: np.ndarray, unshaped: np.ndarray, diagnoses: Diagnoses, seed: int
) -> dict[str, Any] | None:
    """The section `diagnosis`, of slices whose patient's label the encoder has not seen; mean of slices."""
    part = table[unshaped].reset_index(drop=True)
    return against_diagnosis(nodule_logits("mean", part, logits[unshaped]), part, diagnoses, seed=seed)


def _judged(
    table: pd.DataFrame, codes: np.ndarray, final: Classifier, folds: Ensemble | None, protocol: str
) -> tuple[np.ndarray, np.ndarray]:
    """(logits (N,) float64 of all slices, what stands behind each (N,)): see `Ensemble.stranger_to`.

    `codes` are (N, V, K); the logits of a slice's V views are averaged.
    """
    logits = over_views(final, codes)
    patients = table["patient_id"].astype(str)
    of_folds = np.zeros(len(table), bool)
    if folds is not None:
        for member, drew in zip(folds.members, folds.drew, strict=True):
            rows = patients.isin(set(np.array(folds.patients)[~drew])).to_numpy()
            if rows.any():
                logits[rows] = over_views(member, codes[rows])
            of_folds |= rows
    if protocol == "joint":
        return logits, np.where(table["split"].to_numpy() == TRAINED, SHAPED, TESTED).astype(object)
    return logits, np.where(of_folds, CROSS_VALIDATED, FITTED).astype(object)


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
