"""`lungvae classify`: one VAE for all folds, a classifier on its codes, patient-grouped folds.

For a VAE without labels the protocol is `transductive`.

The encoder has seen the pixels, never the labels, of the patients in its own training split. So the figures
over all patients are transductive; the report also gives those over the patients that the VAE never saw. The
classifier's settings are fixed in advance, and nothing is chosen on a test fold.

A VAE with a joint phase has seen labels, and cross-validating over their patients would count them twice.
Then the protocol is `joint`: a classifier fitted on the training patients, or the head trained with the VAE,
is tested once on the patients whose pixels and labels neither has seen. If labels of held-out patients
reached the encoder, as in the paper's released code, no honest test is possible: the protocol is `released`,
which cross-validates as that code does and says that it leaks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from lungvae_core.data.columns import NODULE
from lungvae_core.data.counted import labelled_rows
from lungvae_core.data.diagnoses import Diagnoses
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import KEY, SliceSet, malignant
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation.baselines import beside_sizes, filled
from lungvae_core.evaluation.diagnosis import against_diagnosis, check_diagnoses
from lungvae_core.evaluation.figures import auc_of, auc_units, frame_auc, slices_and_nodules
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.provenance import data_part, protocol_part, provenance, run_model
from lungvae_core.evaluation.report import OF_RUN, REPORT_FORMAT, save_report
from lungvae_core.evaluation.units import RULES, by_nodule, nodule_logits
from lungvae_core.training.attention import FILE as ATTENTION_FILE
from lungvae_core.training.attention import Attention, Attentions, fit_attention, save_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import (
    Classifier,
    ClassifierConfig,
    fit_classifier,
    load_classifier,
    over_views,
    save_classifier,
)
from lungvae_core.training.encode import encode_views, left_out_of, trained_rows
from lungvae_core.training.ensemble import FILE, MEMBERS, Ensemble, fit_ensemble, save_ensemble
from lungvae_core.training.ensemble import FOLDS as FOLDS_FILE
from lungvae_core.training.inputs import Inputs
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.training.seen import Seen, keep_apart, same_in_run
from lungvae_core.workers import unordered

FOLDS = 5
# Which classifier a slice's score comes from.
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
    command: str = "",
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Cross-validate a classifier on the run's codes, save it, the scores and the report; return the report.

    The report is that of docs/evaluation.md, in the run's evaluation.json. With more `seeds` the folds are
    drawn and the classifiers fitted again for each seed after the configuration's, and the report gains
    `per_seed`; everything else comes from the first seed. `members` classifiers, fitted on resampled
    patients, are saved beside the final one for the scores' bands (see `training.ensemble`). `seen` says
    what happens to patients that share pictures (see `training.seen.keep_apart`). With `diagnoses` the report
    gains the section `diagnosis`, from scores by classifiers that have not seen the patient; if labels shaped
    the codes, it covers held-out patients only. With more `views` of each slice of `data`, the run's own
    data, it gains `views`: figures of the same classifiers, from logits averaged over the views. `workers`
    and `ray` are those of `workers.unordered`; `command` (default: the running one) is named in the report.

    latents.parquet gains two columns. `score` is the sigmoid of the logit, by the classifier of the fold that
    tested the slice's patient (these classifiers are saved) or, for patients without a label, by the final
    classifier, which is fitted on all labelled slices. `score_kind` says which of these it is. After an
    honest joint phase the final classifier is fitted on the training patients and scores the others; the
    training patients are split into folds for their own scores, of kind SHAPED. Raises UserError without both
    classes, or with fewer than five labelled patients.
    """
    began = time.monotonic()
    config = config or ClassifierConfig()
    if seeds < 1:
        raise UserError(f"{seeds} seeds give no figure; choose 1 or more.")
    cohort = _cohort(run, seen)
    if diagnoses is not None:
        check_diagnoses(cohort.table, diagnoses)
    of_views = None if views == 1 else _viewed(run, data, cohort.table, views)
    head = _learned_head(cohort)
    folds = _folds(cohort, config, seeds, head is None)
    total = len(folds) + 1 + members
    fit = partial(_fit_fold, cohort.labelled_codes, cohort.truth, cohort.inputs)
    fitted = []
    for pair in unordered(fit, folds, workers, ray=ray):
        fitted.append(pair)
        on_progress(len(fitted), total)
    fitted.sort(key=lambda pair: pair[0].number)
    logits = _tested_logits(cohort, head, fitted, seeds)
    judges = _judges(cohort, head, [pair for pair in fitted if pair[0].saved], config)
    everywhere, kind = judges.logits(cohort, cohort.codes[:, None])
    on_progress(len(folds) + 1, total)
    ensemble = fit_ensemble(
        cohort.labelled_codes[cohort.learned],
        cohort.truth[cohort.learned],
        cohort.inner["patient_id"].to_numpy()[cohort.learned],
        config,
        cohort.inputs,
        members=members,
        workers=workers,
        ray=ray,
        on_progress=lambda done, _: on_progress(len(folds) + 1 + done, total),
    )
    _save(run, judges, ensemble)
    score = expit(everywhere)
    run.write_latents(cohort.table.assign(score=score.astype(np.float32), score_kind=kind), cohort.codes)
    report = {
        **_head(cohort, config.seed, judges.final.config),
        **_figures(cohort, logits[0], judges),
        "views": None if of_views is None else _views(cohort, of_views, judges),
        "diagnosis": diagnoses
        and _confirmed(cohort.table, everywhere, kind != SHAPED, diagnoses, config.seed),
        "per_seed": _per_seed(cohort, logits, config.seed) if seeds > 1 else None,
        "validation": run.metrics()[-1]["validation"] if run.metrics() else None,
        **provenance(began, command),
    }
    save_report(run.folder / OF_RUN, report)
    return report


@dataclass(frozen=True)
class _Cohort:
    """A run's slices, which of them have a label, and which labelled ones are tested."""

    run: Run
    table: pd.DataFrame  # one row per slice
    codes: np.ndarray  # (N, K)
    labels: np.ndarray  # (N,) 0, 1 or NaN
    labelled: np.ndarray  # (M,) rows that have a label and are not left out
    protocol: str
    leaks: list[str]
    pixels_compared: bool

    @property
    def held_out_only(self) -> bool:
        """Whether an honest joint phase shaped the codes, so that only held-out patients are tested."""
        return PROTOCOLS[self.protocol].held_out_only

    @cached_property
    def inputs(self) -> Inputs:
        """How classifiers read the codes."""
        return LesionSpace.of(self.run, self.table, self.codes).inputs

    @cached_property
    def inner(self) -> pd.DataFrame:
        """The table's M rows with a label."""
        return self.table.iloc[self.labelled].reset_index(drop=True)

    @cached_property
    def labelled_codes(self) -> np.ndarray:
        """(M, K) codes of the rows with a label."""
        return self.codes[self.labelled]

    @cached_property
    def truth(self) -> np.ndarray:
        """(M,) labels of these rows, 0 or 1."""
        return self.labels[self.labelled]

    @cached_property
    def trained(self) -> np.ndarray:
        """(M,) bool: rows that the VAE was trained on."""
        return trained_rows(self.inner)

    @property
    def tested(self) -> np.ndarray:
        """(M,) bool: rows that are tested."""
        return ~self.trained if self.held_out_only else np.ones(len(self.labelled), bool)

    @cached_property
    def tests(self) -> tuple[pd.DataFrame, np.ndarray]:
        """The tested rows and their labels."""
        return self.inner[self.tested].reset_index(drop=True), self.truth[self.tested]

    @property
    def learned(self) -> np.ndarray:
        """Which of the M rows the final classifier learns from."""
        return np.flatnonzero(self.trained) if self.held_out_only else np.arange(len(self.labelled))


def _cohort(run: Run, seen: Seen) -> _Cohort:
    """The run's slices; UserError without both classes, and for `seen` as in `classify`."""
    table, codes = run.latents()
    table = table.drop(columns=["score", "score_kind"], errors="ignore")
    labels = malignant(table)
    same_as = same_in_run(run, table)
    kept, leaks = keep_apart(table["patient_id"], same_as, seen, where=str(run.folder))
    labels = np.where(kept, labels, np.nan)
    labelled = np.flatnonzero(~np.isnan(labels))
    if len(labelled) == 0 or labels[labelled].min() == labels[labelled].max():
        raise UserError(
            f"The data of {run.folder} lack labels of both classes (malignancy above 3 and below 3)."
        )
    protocol = "joint" if run.config.labels_shape_codes else "transductive"
    if run.config.labels_leak:
        protocol = "released"
    return _Cohort(run, table, codes, labels, labelled, protocol, leaks, same_as is not None)


@dataclass(frozen=True)
class _Judges:
    """The classifiers that score: the final one, those of the folds, and attention over a nodule's slices."""

    final: Classifier
    folds: Ensemble | None
    attentions: Attentions | None

    def logits(self, cohort: _Cohort, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(logits (N,) float64 of all slices, the kind of each score (N,)): see `Ensemble.stranger_to`.

        `codes` are (N, V, K); the logits of a slice's V views are averaged.
        """
        logits = over_views(self.final, codes)
        patients = cohort.table["patient_id"].astype(str)
        of_folds = np.zeros(len(codes), bool)
        if self.folds is not None:
            for member, drew in zip(self.folds.members, self.folds.drew, strict=True):
                rows = patients.isin(set(np.array(self.folds.patients)[~drew])).to_numpy()
                if rows.any():
                    logits[rows] = over_views(member, codes[rows])
                of_folds |= rows
        if cohort.held_out_only:
            return logits, np.where(trained_rows(cohort.table), SHAPED, TESTED).astype(object)
        return logits, np.where(of_folds, CROSS_VALIDATED, FITTED).astype(object)


def _judges(
    cohort: _Cohort, head: Classifier | None, saved: list[tuple[_Fold, Classifier]], config: ClassifierConfig
) -> _Judges:
    """The run's classifiers: `head`, or one fitted on all that may be learned from, and the folds'."""
    codes, truth = cohort.labelled_codes[cohort.learned], cohort.truth[cohort.learned]
    return _Judges(
        head or fit_classifier(codes, truth, config, cohort.inputs),
        _strangers(cohort.inner["patient_id"].astype(str).to_numpy(), saved),
        _attentions(cohort, [fold for fold, _ in saved], config.seed),
    )


def _save(run: Run, judges: _Judges, ensemble: Ensemble | None) -> None:
    """Save the classifiers in the run; delete files of an earlier classifier that this one does not write."""
    save_classifier(run, judges.final)
    parts: tuple[tuple[str, Any, Callable[..., None]], ...] = (
        (ATTENTION_FILE, judges.attentions, save_attentions),
        (FOLDS_FILE, judges.folds, partial(save_ensemble, file=FOLDS_FILE)),
        (FILE, ensemble, save_ensemble),
    )
    for file, part, save in parts:
        if part is None:
            (run.folder / file).unlink(missing_ok=True)
        else:
            save(run, part)


def _head(cohort: _Cohort, seed: int, config: ClassifierConfig) -> dict[str, Any]:
    """What the report says of protocol, data and model."""
    run, table = cohort.run, cohort.table
    counted = labelled_rows(table, cohort.labels, "mvb", "median_high", before=left_out_of(run, table))
    if cohort.held_out_only:
        counted = counted.without(int(cohort.trained.sum()), "of patients whose labels shaped the codes")
    return {
        "format": REPORT_FORMAT,
        **protocol_part(cohort.protocol, "mvb", "median_high", table),
        "leaks": [*PROTOCOLS[cohort.protocol].leaks, *cohort.leaks],
        "transductive": bool(cohort.trained[cohort.tested].any()),
        "data": data_part(table, run.info.data, cohort.labels, counted),
        "model": run_model(run),
        "folds": 0 if cohort.held_out_only else FOLDS,
        "seeds": [seed],
        "nodule_rule": "mean",
        "nodule_rule_in_words": RULES["mean"],
        "classifier": config.model_dump(),
        "pixels_compared": cohort.pixels_compared,
    }


def _figures(cohort: _Cohort, logits: np.ndarray, judges: _Judges) -> dict[str, Any]:
    """Figures, from logits (M,), of the tested slices and of those that the VAE never saw."""

    def of(rows: np.ndarray) -> dict[str, Any]:
        part = cohort.inner[rows].reset_index(drop=True)
        return beside_sizes(part, cohort.truth[rows], logits[rows])

    tested, heldout = cohort.tested, ~cohort.trained
    without_labels = not (cohort.held_out_only or PROTOCOLS[cohort.protocol].leaks)
    return {
        **of(tested),
        "nodule_rules": _nodule_rules(
            *cohort.tests, logits[tested], cohort.labelled_codes[tested], judges.attentions
        ),
        "heldout": {"what": "only patients whose pixels the VAE never saw", **of(heldout)}
        if without_labels and heldout.any() and 0 < cohort.truth[heldout].mean() < 1
        else None,
    }


def _views(cohort: _Cohort, of_views: np.ndarray, judges: _Judges) -> dict[str, Any]:
    """The report's `views`, by the same classifiers on codes (N, V, K) of V views."""
    rows = cohort.labelled[cohort.tested]
    logits = judges.logits(cohort, of_views)[0][rows]
    return {
        "count": of_views.shape[1],
        "units": auc_units(*cohort.tests, logits),
        "nodule_rules": _nodule_rules(*cohort.tests, logits, of_views[rows].mean(1), judges.attentions),
    }


@dataclass(frozen=True)
class _Fold:
    """One fold of one seed; rows count the labelled slices."""

    repeat: int
    number: int
    train: np.ndarray
    test: np.ndarray
    saved: bool  # whether its classifier is saved, to score the patients that it tested on pages
    config: ClassifierConfig


def _fit_fold(codes: np.ndarray, truth: np.ndarray, inputs: Inputs, fold: _Fold) -> tuple[_Fold, Classifier]:
    """In a worker: fit a classifier on a fold's training rows."""
    return fold, fit_classifier(codes[fold.train], truth[fold.train], fold.config, inputs)


def _tested_logits(
    cohort: _Cohort, head: Classifier | None, fitted: list[tuple[_Fold, Classifier]], seeds: int
) -> np.ndarray:
    """(seeds, M) logits of the labelled rows, by `head` or by the classifiers whose folds test them."""
    logits = np.full((seeds, len(cohort.labelled)), np.nan)
    for fold, classifier in fitted:
        logits[fold.repeat, fold.test] = classifier.logits(cohort.labelled_codes[fold.test])
    if head is not None:
        logits[:, cohort.tested] = head.logits(cohort.labelled_codes[cohort.tested])
    return logits


def _learned_head(cohort: _Cohort) -> Classifier | None:
    """The classifier that a joint phase trained, if there is one; it is tested as it is."""
    joint = cohort.run.config.joint
    learned = joint.rounds and joint.head == "trained" and cohort.held_out_only
    return load_classifier(cohort.run) if learned else None


def _folds(cohort: _Cohort, config: ClassifierConfig, seeds: int, tests: bool) -> list[_Fold]:
    """The folds to fit; without `tests` only those that are saved.

    After an honest joint phase one split per seed tests the held-out patients, and the saved folds split the
    training patients. Raises UserError if there is nothing to test on.
    """
    inner, truth, trained = cohort.inner, cohort.truth, cohort.trained

    def grouped(rows: np.ndarray, repeat: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """(repeat, training rows, test rows) of each fold of `rows`."""
        classes = truth[rows].astype(int)
        folds = grouped_folds(inner.iloc[rows], FOLDS, seed=config.seed + repeat, classes=classes)
        return [(repeat, rows[train], rows[test]) for train, test in folds]

    if not cohort.held_out_only:
        everyone = np.arange(len(inner))
        splits = [(split, split[0] == 0) for repeat in range(seeds) for split in grouped(everyone, repeat)]
    elif len(set(truth[~trained])) < 2:
        raise UserError(
            f"The data of {cohort.run.folder} lack held-out patients with labels of both classes, and labels "
            "of the others shaped the codes: there is nothing to test on."
        )
    else:
        own, others = np.flatnonzero(trained), np.flatnonzero(~trained)
        splits = [((repeat, own, others), False) for repeat in range(seeds)] if tests else []
        if inner["patient_id"].iloc[own].nunique() >= FOLDS:
            splits += [(split, True) for split in grouped(own, 0) if len(set(truth[split[1]])) == 2]
    return [
        _Fold(repeat, number, train, test, saved, config.model_copy(update={"seed": config.seed + repeat}))
        for number, ((repeat, train, test), saved) in enumerate(splits)
    ]


def _strangers(patients: np.ndarray, saved: list[tuple[_Fold, Classifier]]) -> Ensemble | None:
    """The folds' classifiers, none fitted on patients that it tested; `patients` (N,) is per row."""
    if not saved:
        return None
    names = np.unique(np.concatenate([patients[fold.test] for fold, _ in saved]))
    drew = np.stack([~np.isin(names, patients[fold.test]) for fold, _ in saved])
    return Ensemble(tuple(classifier for _, classifier in saved), tuple(names.tolist()), drew)


def _attentions(cohort: _Cohort, folds: list[_Fold], seed: int) -> Attentions | None:
    """Attention over a nodule's slices, fitted on the same rows; None if a nodule's labels differ."""
    inner, truth = cohort.inner, cohort.truth
    if inner.assign(truth=truth).groupby(NODULE)["truth"].nunique().max() > 1:
        return None

    def fit(rows: np.ndarray) -> Attention:
        part = inner.iloc[rows].reset_index(drop=True)
        codes = cohort.labelled_codes[rows]
        return fit_attention(codes, part, truth[rows], seed=seed, inputs=cohort.inputs)

    patients = inner["patient_id"].astype(str).to_numpy()
    fold_of = {patient: at for at, fold in enumerate(folds) for patient in np.unique(patients[fold.test])}
    return Attentions(fit(cohort.learned), tuple(fit(fold.train) for fold in folds), fold_of)


def _nodule_rules(
    inner: pd.DataFrame,
    truth: np.ndarray,
    logits: np.ndarray,
    codes: np.ndarray,
    attentions: Attentions | None,
) -> dict[str, Any]:
    """AUC per nodule by each rule from slices to nodules, on the tested slices."""
    label = by_nodule(inner, label=(truth, "first"))
    attended = None if attentions is None else attentions.logits(codes, inner)
    lacking = {"attention": attended is None, "largest": not filled(inner, "area_px")}
    results = {}
    for rule in (rule for rule in RULES if not lacking.get(rule)):
        nodules = nodule_logits(rule, inner, logits, attended=attended)
        results[rule] = {"auc": frame_auc(label.merge(nodules, on=NODULE, validate="one_to_one"))}
    return results


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
    """The section `diagnosis`, by mean logits of slices whose patient's label the encoder has not seen."""
    part = table[unshaped].reset_index(drop=True)
    return against_diagnosis(nodule_logits("mean", part, logits[unshaped]), part, diagnoses, seed=seed)


def _per_seed(cohort: _Cohort, logits: np.ndarray, first: int) -> list[dict[str, Any]]:
    """The AUCs under each seed from `first` on, from logits (seeds, M)."""
    return [
        {
            "seed": seed,
            **{unit: auc_of(frame) for unit, frame in slices_and_nodules(*cohort.tests, scores).items()},
        }
        for seed, scores in enumerate(logits[:, cohort.tested], first)
    ]
