"""From codes to scores: per slice, per nodule by each rule, per patient, calibrated and called.

Everything here learns from a fold's fit patients only and settles the rest on its calibration patients. Of
the test patients it uses the codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.splits import check_apart, grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation import units
from lungvae_core.evaluation.figures import auc_of
from lungvae_core.evaluation.protocols.members import JOINT_STAGE, Member, inputs_at, load_codes
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold
from lungvae_core.statistics.calibration import Settled, apply, ece, settle
from lungvae_core.statistics.roc import auc
from lungvae_core.training.attention import NODULE, fit_attention
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import (
    Classifier,
    ClassifierConfig,
    fit_classifier,
    load_classifier,
    over_views,
)
from lungvae_core.training.inputs import Inputs

# The options that a fold chooses from, on its own fit patients: one choice per fold, so few and far apart.
CLASSIFIERS = {
    "small": ClassifierConfig(hidden=(32,), dropout=0.3, weight_decay=0.05),
    "default": ClassifierConfig(),
    "wide": ClassifierConfig(hidden=(256, 128)),
}
INNER_FOLDS = 3


@dataclass(frozen=True)
class FoldScores:
    """A stage's scores in one fold."""

    frames: dict[str, pd.DataFrame]  # by unit: the judged test units
    rules: dict[str, pd.DataFrame]  # by nodule rule: the judged test nodules
    settled: dict[str, tuple[Settled, float, float]]  # by unit: what was settled; test ECE before and after
    chosen: dict[str, Any]  # what was chosen, and on which patients
    per_seed: list[dict[str, pd.DataFrame]]  # each seed's frames by unit


def score_fold(
    table: pd.DataFrame, fold: Fold, members: list[Member], stage: str, evaluation: EvaluationConfig
) -> FoldScores:
    """The scores of a fold's test patients after a stage; `members` are its trainings by seed."""
    truth = labels_by(table, evaluation.task, evaluation.label_rule)
    parts = {name: rows[~np.isnan(truth[rows])] for name, rows in vars(fold).items() if name != "number"}
    check_apart(table, **parts)
    _both_classes(truth, parts, fold.number)
    rows = np.concatenate([parts["calibration"], parts["test"]])
    inner = table.iloc[rows].reset_index(drop=True)
    calibrating = np.arange(len(rows)) < len(parts["calibration"])  # rows of the calibration part
    slice_logits, attended, chosen = [], [], []
    for member in members:
        logits, attention, how = _member_scores(table, truth, parts["fit"], rows, member, stage, evaluation)
        slice_logits.append(logits)
        attended.append(attention)
        chosen.append({"preset": member.config.preset, "seed": member.seed, **how})
    both = _judge(
        inner, truth[rows], calibrating, slice_logits, attended, fold.number, evaluation.nodule_rule
    )
    frames, rules, settled, rule = both
    per_seed = []
    for seed in dict.fromkeys(member.seed for member in members):
        of_seed = [at for at, member in enumerate(members) if member.seed == seed]
        alone = [slice_logits[at] for at in of_seed], [attended[at] for at in of_seed]
        per_seed.append(_judge(inner, truth[rows], calibrating, *alone, fold.number, rule)[0])
    for frame in frames.values():
        if "row" in frame:
            frame["row"] = rows[frame["row"].to_numpy()]
    summary = {
        "fold": fold.number,
        "stage": stage,
        "nodule_rule": rule,
        "members": chosen,
        "fit_patients": int(table.iloc[fold.fit]["patient_id"].nunique()),
        "calibration_patients": int(table.iloc[fold.calibration]["patient_id"].nunique()),
        "test_patients": int(table.iloc[fold.test]["patient_id"].nunique()),
    }
    return FoldScores(frames, rules, settled, summary, per_seed)


def _member_scores(
    table: pd.DataFrame,
    truth: np.ndarray,
    fit_rows: np.ndarray,
    rows: np.ndarray,
    member: Member,
    stage: str,
    evaluation: EvaluationConfig,
) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """(logits of `rows`, their nodules' logits by attention, what was chosen) of one training."""
    codes = load_codes(member, stage)
    inputs = inputs_at(member, stage)
    learned = np.asarray(codes[fit_rows])
    head = member.config.joint.head == "trained" and stage == JOINT_STAGE
    if head:
        model = load_classifier(Run.open(member.folder))
        assert model is not None
        how = {"classifier": "the joint phase's head"}
    else:
        model, how = _fitted(table.iloc[fit_rows], learned, truth[fit_rows], member.seed, inputs, evaluation)
    logits = over_views(model, np.asarray(codes[rows]))
    attention = fit_attention(
        learned.mean(1),
        table.iloc[fit_rows].reset_index(drop=True),
        truth[fit_rows],
        seed=member.seed,
        inputs=inputs,
    )
    inner = table.iloc[rows].reset_index(drop=True)
    return logits, attention.logits(np.asarray(codes[rows]).mean(1), inner), how


def fit_on_views(
    codes: np.ndarray, labels: np.ndarray, config: ClassifierConfig, inputs: Inputs
) -> Classifier:
    """A classifier fitted on every view of codes (N, 4, K), in as many steps as on one view."""
    shared = config.model_copy(update={"epochs": max(1, round(config.epochs / codes.shape[1]))})
    return fit_classifier(
        codes.reshape(-1, codes.shape[2]), np.repeat(labels, codes.shape[1]), shared, inputs
    )


def _fitted(
    table: pd.DataFrame,
    codes: np.ndarray,
    labels: np.ndarray,
    seed: int,
    inputs: Inputs,
    evaluation: EvaluationConfig,
) -> tuple[Classifier, dict[str, Any]]:
    """The classifier that does best in folds of the fit patients, refitted on all of them."""
    inner = table.reset_index(drop=True)
    aucs = {}
    for name, settings in CLASSIFIERS.items() if not evaluation.quick else []:
        logits = np.empty(len(labels))
        config = settings.model_copy(update={"seed": seed})
        for train, test in grouped_folds(inner, INNER_FOLDS, seed=seed, classes=labels.astype(int)):
            logits[test] = over_views(fit_on_views(codes[train], labels[train], config, inputs), codes[test])
        aucs[name] = auc(labels, logits)
    best = max(aucs, key=lambda name: aucs[name]) if aucs else "default"
    config = CLASSIFIERS[best].model_copy(update={"seed": seed})
    model = fit_on_views(codes, labels, config, inputs)
    return model, {"classifier": best, "inner_auc": {name: round(value, 4) for name, value in aucs.items()}}


def _judge(
    inner: pd.DataFrame,
    truth: np.ndarray,
    calibrating: np.ndarray,
    slice_logits: list[np.ndarray],
    attended: list[pd.DataFrame],
    fold: int,
    asked_rule: str,
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], dict[str, Any], str]:
    """Calibrate on the rows that are `known` and judge the others, by unit and by nodule rule."""
    logits = np.mean(slice_logits, axis=0)
    area = inner["area_px"].to_numpy(float) if "area_px" in inner else None
    nodules: dict[str, pd.DataFrame] = {}
    for rule in units.RULES:
        if rule == "attention":
            nodules[rule] = pd.concat(attended).groupby(NODULE, as_index=False)[["logit"]].mean()
        elif rule != "largest" or area is not None:
            nodules[rule] = units.nodule_logits(rule, inner, logits, area=area)
    of_nodule = units.by_nodule(inner, label=(truth.astype(int), "first"), known=(calibrating, "first"))
    nodules = {rule: of_nodule.merge(frame, on=NODULE) for rule, frame in nodules.items()}
    rule = asked_rule
    if rule == "chosen":
        # The largest slice is found from the readers' mask, so this rule is reported but never chosen.
        open_to = [name for name in nodules if name != "largest"]
        rule = max(open_to, key=lambda name: auc_of(nodules[name][nodules[name]["known"]]))
    elif rule not in nodules:
        raise UserError(f"The nodule rule {rule} needs the column area_px, which the data lack.")
    slices = inner[["patient_id", "nodule", "slice"]].assign(
        row=np.arange(len(inner)), label=truth.astype(int), logit=logits, known=calibrating
    )
    judged, settled = {}, {}
    judged["slice"], settled["slice"], _ = calibrated(slices, fold)
    by_rule = {}
    for name, frame in nodules.items():
        by_rule[name], of_rule, everyone = calibrated(frame, fold)
        if name == rule:
            judged["nodule"], settled["nodule"] = by_rule[name], of_rule
            judged["patient"], settled["patient"], _ = calibrated(units.patient_logits(everyone), fold)
    return judged, by_rule, settled, rule


def calibrated(
    frame: pd.DataFrame, fold: int
) -> tuple[pd.DataFrame, tuple[Settled, float, float], pd.DataFrame]:
    """(judged test rows, (what was settled, test ECE before and after), all rows with calibrated logits).

    From here on `logit` is calibrated, so that several folds can be pooled.
    """
    calibrating = frame["known"].to_numpy()
    raw, label = frame["logit"].to_numpy(float), frame["label"].to_numpy()
    settled = settle(
        label[calibrating], raw[calibrating], patients=frame["patient_id"].to_numpy()[calibrating]
    )
    probability, called = apply(settled, raw)
    everyone = frame.assign(
        logit=logit(np.clip(probability, 1e-12, 1 - 1e-12)), probability=probability, called=called, fold=fold
    )
    test = everyone[~calibrating].drop(columns="known").reset_index(drop=True)
    before, after = (
        ece(label[~calibrating], expit(raw[~calibrating])),
        ece(label[~calibrating], probability[~calibrating]),
    )
    return test, (settled, before, after), everyone


def _both_classes(truth: np.ndarray, parts: dict[str, np.ndarray], number: int) -> None:
    for name, rows in parts.items():
        if len(rows) == 0 or truth[rows].min() == truth[rows].max():
            raise UserError(
                f"The {name} patients of fold {number + 1} lack lesions of both classes under this label "
                "rule. Use fewer folds, another seed or a larger calibration_share."
            )
