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

from lungvae_core.data.columns import KEY, NODULE
from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.splits import check_apart, grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation import units
from lungvae_core.evaluation.figures import auc_of
from lungvae_core.evaluation.protocols.members import JOINT_STAGE, Member, inputs_at, load_codes
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold
from lungvae_core.statistics.calibration import Settled, apply, ece, settle
from lungvae_core.statistics.roc import auc
from lungvae_core.training.attention import fit_attention
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
    labelled = fold.only(~np.isnan(truth))
    check_apart(table, **labelled.parts)
    _both_classes(truth, labelled)
    inner = unjudged(table, truth, labelled)
    outputs, chosen = [], []
    for member in members:
        logits, attended, how = _member_scores(
            table, truth, labelled.fit, inner[0], member, stage, evaluation
        )
        outputs.append((logits, attended))
        chosen.append({"preset": member.config.preset, "seed": member.seed, **how})
    frames, rules, settled, rule = _judge(table, inner, outputs, fold.number, evaluation.nodule_rule)
    per_seed = []
    for seed in dict.fromkeys(member.seed for member in members):
        of_seed = [output for output, member in zip(outputs, members, strict=True) if member.seed == seed]
        per_seed.append(_judge(table, inner, of_seed, fold.number, rule)[0])
    summary = {
        "fold": fold.number,
        "stage": stage,
        "nodule_rule": rule,
        "members": chosen,
        **{
            f"{name}_patients": int(table.iloc[rows]["patient_id"].nunique())
            for name, rows in fold.parts.items()
        },
    }
    return FoldScores(frames, rules, settled, summary, per_seed)


def unjudged(table: pd.DataFrame, truth: np.ndarray, fold: Fold) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(slices, nodules) of a fold's calibration and test rows, whose `truth` is not NaN, without a logit.

    Both have label and `calibrating`, whether a unit is of the calibration part; slices also have row.
    """
    rows = np.concatenate([fold.calibration, fold.test])
    slices = table.iloc[rows].reset_index(drop=True)[KEY]
    slices = slices.assign(
        row=rows, label=truth[rows].astype(int), calibrating=np.arange(len(rows)) < len(fold.calibration)
    )
    return slices, slices.groupby(NODULE, as_index=False)[["label", "calibrating"]].first()


def _member_scores(
    table: pd.DataFrame,
    truth: np.ndarray,
    fit_rows: np.ndarray,
    slices: pd.DataFrame,
    member: Member,
    stage: str,
    evaluation: EvaluationConfig,
) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """(logits of `slices`, their nodules' logits by attention, what was chosen) of one training."""
    codes = np.asarray(load_codes(member, stage))
    inputs = inputs_at(member, stage)
    learned, labels, tested = codes[fit_rows], truth[fit_rows], codes[slices["row"].to_numpy()]
    fitted = table.iloc[fit_rows].reset_index(drop=True)
    if member.config.joint.head == "trained" and stage == JOINT_STAGE:
        model = load_classifier(Run.open(member.folder))
        assert model is not None
        how = {"classifier": "the joint phase's head"}
    else:
        model, how = _fitted(fitted, learned, labels, member.seed, inputs, evaluation.quick)
    attention = fit_attention(learned.mean(1), fitted, labels, seed=member.seed, inputs=inputs)
    return over_views(model, tested), attention.logits(tested.mean(1), slices), how


def fit_on_views(
    codes: np.ndarray, labels: np.ndarray, config: ClassifierConfig, inputs: Inputs
) -> Classifier:
    """A classifier fitted on every view of codes (N, 4, K), in as many steps as on one view."""
    shared = config.model_copy(update={"epochs": max(1, round(config.epochs / codes.shape[1]))})
    return fit_classifier(
        codes.reshape(-1, codes.shape[2]), np.repeat(labels, codes.shape[1]), shared, inputs
    )


def _fitted(
    table: pd.DataFrame, codes: np.ndarray, labels: np.ndarray, seed: int, inputs: Inputs, quick: bool
) -> tuple[Classifier, dict[str, Any]]:
    """The classifier that does best in folds of the fit patients, refitted on all of them."""
    aucs = {}
    for name, settings in CLASSIFIERS.items() if not quick else []:
        logits = np.empty(len(labels))
        config = settings.model_copy(update={"seed": seed})
        for train, test in grouped_folds(table, INNER_FOLDS, seed=seed, classes=labels.astype(int)):
            logits[test] = over_views(fit_on_views(codes[train], labels[train], config, inputs), codes[test])
        aucs[name] = auc(labels, logits)
    best = max(aucs, key=lambda name: aucs[name]) if aucs else "default"
    config = CLASSIFIERS[best].model_copy(update={"seed": seed})
    model = fit_on_views(codes, labels, config, inputs)
    return model, {"classifier": best, "inner_auc": {name: round(value, 4) for name, value in aucs.items()}}


def _judge(
    table: pd.DataFrame,
    inner: tuple[pd.DataFrame, pd.DataFrame],
    outputs: list[tuple[np.ndarray, pd.DataFrame]],
    fold: int,
    rule: str,
) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], dict[str, Any], str]:
    """Calibrate on the `unjudged` units that are `calibrating` and judge the others, by unit and by rule.

    `outputs` has, for each training, (logits of the slices, their nodules' logits by attention). Returns
    (frames by unit, nodules by rule, what was settled by unit, the rule used).
    """
    slices, nodules = inner
    logits = np.mean([of_slices for of_slices, _ in outputs], axis=0)
    attended = pd.concat([of_nodules for _, of_nodules in outputs])
    attended = attended.groupby(NODULE, as_index=False)[["logit"]].mean()
    area = None
    if "area_px" in table:
        area = table["area_px"].to_numpy(float)[slices["row"].to_numpy()]
    by_rule = {
        name: nodules.merge(
            units.nodule_logits(name, slices, logits, attended=attended, area=area), on=NODULE
        )
        for name in units.RULES
        if name != "largest" or area is not None
    }
    if rule == "chosen":
        # The largest slice is found from the readers' mask, so this rule is reported but never chosen.
        open_to = [name for name in by_rule if name != "largest"]
        rule = max(open_to, key=lambda name: auc_of(by_rule[name][by_rule[name]["calibrating"]]))
    elif rule not in by_rule:
        raise UserError(f"The nodule rule {rule} needs the column area_px, which the data lack.")
    judged, settled = {}, {}
    judged["slice"], settled["slice"], _ = calibrated(slices.assign(logit=logits), fold)
    rules = {}
    for name, frame in by_rule.items():
        rules[name], of_rule, everyone = calibrated(frame, fold)
        if name == rule:
            judged["nodule"], settled["nodule"] = rules[name], of_rule
            judged["patient"], settled["patient"], _ = calibrated(units.patient_logits(everyone), fold)
    return judged, rules, settled, rule


def calibrated(
    frame: pd.DataFrame, fold: int
) -> tuple[pd.DataFrame, tuple[Settled, float, float], pd.DataFrame]:
    """(judged test rows, (what was settled, test ECE before and after), all rows with calibrated logits).

    From here on `logit` is calibrated, so that several folds can be pooled.
    """
    calibrating = frame["calibrating"].to_numpy()
    raw, label = frame["logit"].to_numpy(float), frame["label"].to_numpy()
    patients = frame["patient_id"].to_numpy()[calibrating]
    settled = settle(label[calibrating], raw[calibrating], patients=patients)
    probability, called = apply(settled, raw)
    everyone = frame.assign(
        logit=logit(np.clip(probability, 1e-12, 1 - 1e-12)), probability=probability, called=called, fold=fold
    )
    test = everyone[~calibrating].drop(columns="calibrating").reset_index(drop=True)
    before, after = (ece(label[~calibrating], each[~calibrating]) for each in (expit(raw), probability))
    return test, (settled, before, after), everyone


def _both_classes(truth: np.ndarray, fold: Fold) -> None:
    for name, rows in fold.parts.items():
        if len(rows) == 0 or truth[rows].min() == truth[rows].max():
            raise UserError(
                f"The {name} patients of fold {fold.number + 1} lack lesions of both classes under this "
                "label rule. Use fewer folds, another seed or a larger calibration_share."
            )
