"""A trained model on other data, with its own classifier, calibration and threshold: nothing is refitted.

The model's own cross-validated scores settle how its logits become probabilities and calls
(`calibration.settle`), with one fit per unit. The new data are used only for judging. The report also gives
the thresholds that the new data would have set, and says so: they are optimistic.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from lungvae_core.data.columns import KEY, NODULE, numbers
from lungvae_core.data.counted import chosen_rows, left_out_before
from lungvae_core.data.diagnoses import Diagnoses
from lungvae_core.data.labels import labels
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.baselines import nodule_sizes, size_figures
from lungvae_core.evaluation.classify import CROSS_VALIDATED, SHAPED, TESTED
from lungvae_core.evaluation.diagnosis import against_diagnosis, check_diagnoses
from lungvae_core.evaluation.protocols.base import Protocol
from lungvae_core.evaluation.provenance import run_model
from lungvae_core.evaluation.reconstruction import reconstruction, trained_patients
from lungvae_core.evaluation.report import UNITS, load_run_report
from lungvae_core.evaluation.shift import code_shift
from lungvae_core.evaluation.units import RULES as NODULE_RULES
from lungvae_core.evaluation.units import by_nodule, nodule_logits, patient_logits
from lungvae_core.statistics.calibration import Settled, apply, ece, settle, slope_intercept
from lungvae_core.statistics.intervals import percentile_interval
from lungvae_core.statistics.patients import draw_numbers, patient_rows
from lungvae_core.statistics.rates import share
from lungvae_core.training.attention import Attentions, load_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import Classifier, load_classifier, over_views
from lungvae_core.training.encode import encode_views, encode_with_quality, trained_rows
from lungvae_core.training.seen import Learned, Seen, learned

SPECIFICITIES = (0.80, 0.90, 0.95)
OWN = "the model's own scores of patients that were tested"


@dataclass(frozen=True)
class OwnScores:
    """Slices of a model's own data, each scored by a classifier that had not seen the patient."""

    frames: dict[str, pd.DataFrame]  # by unit: patient_id, (nodule, slice,) label, logit
    notes: list[str]  # remarks on them


def validate(
    run: Run,
    data: SliceSet,
    *,
    task: str = "mvb",
    label_rule: str = "median_high",
    seen: Seen = "refuse",
    diagnoses: Diagnoses | None = None,
    nodule_rule: str = "own",
    views: int = 1,
    name: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    quick: bool = False,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """The report (docs/evaluation.md, protocol `external`) of a model on data that it has not seen.

    Patients that the model was trained on, recognised by their ids or by slices that show the same picture,
    are refused; with `seen` "leave_out" they are left out, and with "include" they are tested, which the
    report calls a leak. With `diagnoses`, the patients' scores are also judged against the confirmed
    diagnoses. `nodule_rule` is one of `units.RULES`, or "own": the rule that the model's own report names,
    otherwise the mean. `views` is how many mirrored and turned views of each slice are encoded; their logits
    (for attention, their codes) are averaged. `quick` takes fewer resamples and leaves out the
    reconstruction. `on_progress(done, total)` counts slices.

    Raises UserError for data without both classes under the task and rule, without new patients, or without
    the pixel spacing that the model needs, and for a model without its own classifier or scores.
    """
    began = time.monotonic()
    classifier = load_classifier(run)
    if classifier is None:
        raise UserError(
            f"The model {run.folder} has no classifier, so there is nothing to validate. Make one with "
            f"`lungvae classify {run.folder}`."
        )
    data, of_model, leaks = _choose(run, data, seen)
    truth = _labels_of_both(data, task, label_rule)
    if diagnoses is not None:
        check_diagnoses(data.table, diagnoses)
    attentions = load_attentions(run)
    rule, rule_note = _nodule_rule(run, nodule_rule, attentions is not None)
    own = own_scores(run, task, label_rule, rule, attentions)
    if views > 1:
        own.notes.append(
            f"The logits are means over {views} mirrored and turned views of each slice; the model's own "
            "scores, which settle threshold and calibration, are of one view."
        )
    report = External(
        data=data,
        truth=truth,
        task=task,
        label_rule=label_rule,
        seeds=[seed],
        folds_count=0,
        quick=quick,
        resamples=min(resamples, 200) if quick else resamples,
        leaks=leaks,
        began=began,
        run=run,
        model_name=name or run.folder.name,
        of_model=of_model,
        own=own,
        rule=rule,
        rule_note=rule_note,
        scored=_scored(run, classifier, attentions, data, views, on_progress),
        diagnoses=diagnoses,
    ).report()
    assert report is not None  # nothing stops it early
    return report


def _labels_of_both(data: SliceSet, task: str, label_rule: str) -> np.ndarray:
    """(N,) labels of the slices, NaN for slices left out; UserError unless both classes occur."""
    truth = labels(data.table, task, label_rule)
    if not ((truth == 1).any() and (truth == 0).any()):
        raise UserError(
            f"{data.info.name} ({data.folder}) lacks lesions of both classes under the task {task} and the "
            f"label rule {label_rule}: {int((truth == 1).sum())} malignant and {int((truth == 0).sum())} "
            "other slices. Fill the table's column malignancy, or choose another task or rule."
        )
    return truth


@dataclass(frozen=True)
class Scored:
    """The model's output for every slice of the data."""

    table: pd.DataFrame  # of the data, N rows, with patient_id as text
    codes: np.ndarray  # (N, K)
    quality: pd.DataFrame  # ssim and mse of the reconstructions, N rows
    logits: np.ndarray  # (N,)
    attended: pd.DataFrame | None  # one row per nodule with its logit by attention


def _scored(
    run: Run,
    classifier: Classifier,
    attentions: Attentions | None,
    data: SliceSet,
    views: int,
    on_progress: Callable[[int, int], None],
) -> Scored:
    vae = run.load_model()
    slices = at_spacing(data.slices, data.table, vae.config.spacing_mm)
    parts, figures = [], []
    for start in range(0, len(data), 256):
        part = slices[start : start + 256]
        parts.append(encode_views(vae, part, views))
        figures.append(pd.DataFrame(encode_with_quality(vae, part)[1]))
        on_progress(min(start + 256, len(data)), len(data))
    codes = np.concatenate(parts)  # (N, views, K)
    table = data.table.reset_index(drop=True)
    table["patient_id"] = table["patient_id"].astype(str)
    attended = None if attentions is None else attentions.final.logits(codes.mean(1), table)
    quality = pd.concat(figures, ignore_index=True)
    return Scored(table, codes[:, 0], quality, over_views(classifier, codes), attended)


@dataclass(kw_only=True)
class External(Protocol):
    """A trained model on data that it has not seen; nothing is fitted to them."""

    name = "external"

    run: Run
    model_name: str
    of_model: Learned  # which of the data the model has seen
    own: OwnScores
    rule: str
    rule_note: str
    scored: Scored
    diagnoses: Diagnoses | None

    @property
    def transductive(self) -> bool:
        return bool(self.leaks)

    def model(self) -> dict[str, Any]:
        return run_model(self.run, self.model_name)

    def nodule_rule(self) -> tuple[str, str]:
        return self.rule, NODULE_RULES[self.rule] + self.rule_note

    def sections(self) -> dict[str, Any] | None:
        scored, judged_rows = self.scored, np.flatnonzero(~np.isnan(self.truth))
        table, truth = scored.table.iloc[judged_rows], self.truth[judged_rows]
        raw = by_unit(
            table.reset_index(drop=True), truth, scored.logits[judged_rows], self.rule, scored.attended
        )
        settled = {
            unit: settle(
                frame["label"].to_numpy(), frame["logit"].to_numpy(), patients=frame["patient_id"].to_numpy()
            )
            for unit, frame in self.own.frames.items()
        }
        frames = {unit: judge(raw[unit], settled[unit]) for unit in UNITS}
        baselines = size_figures(table, truth, **self.draws())
        unscored = frames["nodule"].drop(columns="logit")
        others = {
            name: unscored.merge(nodule_sizes(name, table), on=NODULE, validate="one_to_one")
            for name in baselines
        }
        return {
            **self.model_sections(frames, baselines, others, scored.table),
            **self._settled(raw, frames, settled),
            "reconstruction": None if self.quick else self._reconstruction(),
            "diagnosis": self._diagnosis(),
        }

    def _settled(
        self, raw: dict[str, pd.DataFrame], frames: dict[str, pd.DataFrame], settled: dict[str, Settled]
    ) -> dict[str, Any]:
        """The section `external`: what the model's own scores settle, and how it performs on the new data."""
        chosen, calibration = {}, {}
        for unit, frame in frames.items():
            own = judge(self.own.frames[unit], settled[unit])
            calibration[unit] = _calibration(frame, raw[unit], settled[unit], **self.draws(500))
            chosen[unit] = {
                "unit": unit,
                "settled_on": OWN,
                **asdict(settled[unit]),
                "notes": " ".join(self.own.notes),
                "threshold_by_own_scores": _sensitivities(frame, own, **self.draws()),
                "threshold_by_the_new_data_optimistic": _sensitivities(frame, None, **self.draws()),
            }
        return {
            "calibration": calibration,
            "settings_chosen": list(chosen.values()),
            "external": {
                "calibration": {part: calibration["nodule"][part] for part in ("slope", "intercept")},
                "sensitivity_at_specificity": [
                    {part: row[part] for part in ("specificity", "sensitivity", "threshold")}
                    for row in chosen["nodule"]["threshold_by_own_scores"]
                ],
                "code_shift": self._shift(),
                "seen": self.of_model.in_words(),
            },
        }

    def _shift(self) -> dict[str, Any]:
        own_table, own_codes = self.run.latents()
        trained = trained_rows(own_table)
        return code_shift(
            own_codes,
            own_table,
            self.scored.codes,
            self.scored.table.assign(**dict(self.scored.quality)),
            simplex=self.run.config.model.family.simplex,
            trained=trained if trained.any() else np.ones(len(own_table), bool),
            **self.draws(500),
        )

    def _diagnosis(self) -> dict[str, Any] | None:
        if self.diagnoses is None:
            return None
        scored = self.scored
        return against_diagnosis(
            nodule_logits(self.rule, scored.table, scored.logits, attended=scored.attended),
            scored.table,
            self.diagnoses,
            label_rule=self.label_rule,
            **self.draws(),
        )

    def _reconstruction(self) -> dict[str, Any] | None:
        """Figures of slices of patients that the VAE did not train on; None without any."""
        run, data = self.run, self.data
        trained = trained_patients(run, data)
        trained |= {patient for patient, own in self.of_model.by_pixels.items() if own in trained}
        new = ~data.table["patient_id"].astype(str).isin(trained).to_numpy()
        if not new.any():
            return None
        counted = chosen_rows(
            new, "of patients that the model trained on", before=left_out_before(data.info.details)
        )
        figures = reconstruction(run, data, np.flatnonzero(new), **self.draws(500))
        return {**figures, "counted": counted.model_dump()}


def seen_patients(run: Run, data: SliceSet) -> Learned:
    """Patients of `data` that the model learned from: its VAE, its classifier or its threshold.

    They are recognised by their patient_id or by a slice that shows the same picture; all patients count if
    the content of the data is the model's own. Nobody is in both a scanned and a generated data set.
    """
    patients = frozenset(data.table["patient_id"].astype(str))
    if data.info.content_hash and data.info.content_hash == run.info.data.content_hash:
        return Learned(patients, {}, len(data), compared=True)
    if data.info.generated != run.info.data.generated:
        return Learned(frozenset(), {}, 0, compared=True)  # a phantom is no patient, whoever's ratings it has
    return learned(run, data, known_patients(run))


def known_patients(run: Run) -> set[str]:
    """The ids of the patients that the model's VAE, classifier or threshold learned from."""
    trained = set(run.info.trained or [])
    if run.has("latents.parquet"):
        table, _ = run.latents()
        owners = table["patient_id"].astype(str)
        if run.info.trained is None:  # an older run without the list: its own data are those it encoded
            trained |= set(owners)
        elif "score_kind" in table:
            # Held-out patients too: their labels went into the classifier or the threshold.
            trained |= set(owners[table["score_kind"].isin([CROSS_VALIDATED, SHAPED, TESTED])])
    return trained


def own_scores(
    run: Run, task: str, label_rule: str, rule: str, attentions: Attentions | None = None
) -> OwnScores:
    """A model's scores of its own labelled patients, each by a classifier that had not seen the patient.

    `rule` takes slices to nodules; attention uses `attentions`. Raises UserError unless both classes have
    scores.
    """
    remedy = f"Make them with `lungvae classify {run.folder}`, on data with labels."
    table, codes = run.latents()
    if not {"score", "score_kind"} <= set(table):
        raise UserError(
            f"The model {run.folder} has no scores of its own data to settle a threshold. {remedy}"
        )
    tested = table["score_kind"].isin([CROSS_VALIDATED, TESTED]).to_numpy()
    table, codes = table[tested].reset_index(drop=True), codes[tested]
    try:
        truth = labels(table, task, label_rule)
    except UserError as error:
        raise UserError(
            f"The threshold is the model's own and cannot be settled under the label rule {label_rule}: "
            f"{str(error)[0].lower()}{str(error)[1:]} So it is with the model's own data. Choose median_high."
        ) from error
    kept = ~np.isnan(truth)
    table, truth, codes = table[kept].reset_index(drop=True), truth[kept], codes[kept]
    if len(set(truth)) < 2:
        raise UserError(
            f"The model {run.folder} has no cross-validated scores of both classes under the label rule "
            f"{label_rule}, so there is no threshold of its own. {remedy}"
        )
    notes = []
    if task == "mvr" and not ((reading := numbers(table, "malignancy")) == 3).any() and len(reading):
        notes.append(
            "The model's own scores are of malignant and benign lesions alone, so its threshold and "
            "calibration were settled without indeterminate ones."
        )
    if run.config.labels_leak:
        notes.append(
            "The model's own scores leak (labels of their patients shaped its codes), so its threshold and "
            "calibration are over-confident."
        )
    # The sigmoid was stored in single precision, where it rounds to 1 beyond a logit of 16.
    raw = logit(np.clip(table["score"].to_numpy(np.float64), 1e-7, 1 - 1e-7))
    attended = attentions.logits(codes, table) if attentions is not None else None
    return OwnScores(by_unit(table, truth, raw, rule, attended), notes)


def by_unit(
    table: pd.DataFrame, truth: np.ndarray, logits: np.ndarray, rule: str, attended: pd.DataFrame | None
) -> dict[str, pd.DataFrame]:
    """Frames of labelled slices (N rows; labels and logits (N,)) by unit: key, label, raw logit.

    `attended` has the nodules' logits for the rule attention.
    """
    table = table.assign(patient_id=table["patient_id"].astype(str))
    slices = table[KEY].assign(label=truth.astype(int), logit=logits)
    label = by_nodule(table, label=(slices["label"].to_numpy(), "first"))
    of_nodule = nodule_logits(rule, table, logits, attended=attended)
    nodules = label.merge(of_nodule[[*NODULE, "logit"]], on=NODULE, validate="one_to_one")
    return {"slice": slices, "nodule": nodules, "patient": patient_logits(nodules)}


def judge(frame: pd.DataFrame, settled: Settled) -> pd.DataFrame:
    """The judged frame, with probability and call as settled on the model's own scores."""
    probability, called = apply(settled, frame["logit"].to_numpy())
    return frame.assign(fold=0, probability=probability, called=called)


def _choose(run: Run, data: SliceSet, seen: Seen) -> tuple[SliceSet, Learned, list[str]]:
    """(the data to test on, which of the data the model has seen, how the tested data leak)."""
    of_model = seen_patients(run, data)
    if not of_model.patients:
        return data, of_model, []
    patients = data.table["patient_id"].astype(str)
    count = f"{len(of_model.patients):,} of the {patients.nunique():,} patients"
    if seen == "refuse":
        raise UserError(
            f"The model {run.folder} has learned from {count} of {data.info.name}, as "
            f"{min(of_model.patients)}, and would be tested on what it knows ({of_model.in_words()}). Test "
            "only the others with --leave-out-seen, or all with --include-seen, which the report calls a "
            "leak. If they are other people under the same names, give the data patient_ids of their own."
        )
    if seen == "include":
        how = of_model.in_words()
        return data, of_model, [f"The model has learned from {count} that it is tested on here: {how}."]
    kept = np.flatnonzero(~patients.isin(of_model.patients).to_numpy())
    if len(kept) == 0:
        raise UserError(
            f"The model {run.folder} has learned from every patient of {data.info.name}; leaving them out "
            "leaves nothing to test on. Validate it on other data."
        )
    name = f"without {len(of_model.patients):,} patients that the model knows"
    details = data.info.details | {"part": {f"left out: {name}": len(data) - len(kept)}}
    part = replace(
        data,
        slices=data.slices[kept],
        masks=data.masks[kept],
        table=data.table.iloc[kept].reset_index(drop=True),
        info=data.info.model_copy(
            update={"name": f"{data.info.name}, {name}", "count": len(kept), "details": details}
        ),
    )
    return part, of_model, []


def _nodule_rule(run: Run, rule: str, has_attention: bool) -> tuple[str, str]:
    """(`rule`, or for "own" the one of the model's own report; a remark).

    Raises UserError for an unknown rule, and for attention if the run has none.
    """
    if rule not in ("own", *NODULE_RULES):
        raise UserError(f"There is no nodule rule {rule!r}. Choose own or one of: {', '.join(NODULE_RULES)}.")
    if rule == "attention" and not has_attention:
        raise UserError(
            f"The model {run.folder} has no attention over slices. Make it with `lungvae classify "
            f"{run.folder}`, or choose another rule."
        )
    if rule != "own":
        return rule, ""
    report = load_run_report(run)
    own = None if report is None else report.nodule_rule
    if own in ("mean", "max", "top3") or (own == "attention" and has_attention):
        return own, ""
    if own in NODULE_RULES:
        return "mean", f" (the model's own report uses {own}, which needs more than its classifier)"
    return "mean", ""


def _calibration(
    frame: pd.DataFrame, raw: pd.DataFrame, settled: Settled, resamples: int, seed: int
) -> dict[str, Any]:
    """ECE before and after the model's own calibration, and slope and intercept after it, with intervals."""
    truth, probability = frame["label"].to_numpy(), frame["probability"].to_numpy()
    drawn = []
    for rows in patient_rows(frame["patient_id"], resamples, seed=seed):
        if 0 < truth[rows].mean() < 1:
            drawn.append(slope_intercept(truth[rows], probability[rows]))
    slope, intercept = (
        percentile_interval(value, np.array([pair[at] for pair in drawn]))
        for at, value in enumerate(slope_intercept(truth, probability))
    )
    return {
        "before": ece(truth, expit(raw["logit"].to_numpy())),
        "after": ece(truth, probability),
        "temperature": settled.temperature,
        "bias": settled.bias,
        "slope": slope,
        "intercept": intercept,
    }


def _sensitivities(
    frame: pd.DataFrame, own: pd.DataFrame | None, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Sensitivity on `frame` at thresholds that reach a specificity on the model's own scores, `own`.

    Without `own` the thresholds come from `frame` itself and are set again in every resample of patients.
    """
    score, positive = frame["probability"].to_numpy(), frame["label"].to_numpy() == 1
    source = frame if own is None else own
    benign = source["probability"].to_numpy()[source["label"].to_numpy() == 0]
    settled = [threshold_at(benign, np.ones(len(benign)), specificity) for specificity in SPECIFICITIES]
    patient, names = pd.factorize(frame["patient_id"])
    drawn = np.empty((resamples, 2, len(SPECIFICITIES)))  # sensitivity and specificity
    for number, chosen in enumerate(draw_numbers(len(names), resamples, seed=seed)):
        weights, thresholds = np.bincount(chosen, minlength=len(names))[patient], settled
        if own is None:
            thresholds = [threshold_at(score[~positive], weights[~positive], one) for one in SPECIFICITIES]
        above = score[:, None] >= thresholds
        for at, (rows, right) in enumerate(((positive, above), (~positive, ~above))):
            drawn[number, at] = share(weights[rows] @ right[rows], np.full(len(above.T), weights[rows].sum()))
    return [
        {
            "specificity": specificity,
            "threshold": settled[at],
            "sensitivity": percentile_interval(np.mean(score[positive] >= settled[at]), drawn[:, 0, at]),
            "specificity_found": percentile_interval(
                np.mean(score[~positive] < settled[at]), drawn[:, 1, at]
            ),
        }
        for at, specificity in enumerate(SPECIFICITIES)
    ]


def threshold_at(benign: np.ndarray, weights: np.ndarray, specificity: float) -> float:
    """The lowest threshold (called if at or above it) that keeps at least `specificity` of benign (N,) below.

    `weights` (N,) say how often each counts. NaN if all are 0.
    """
    order = np.argsort(benign, kind="stable")
    below = np.cumsum(weights[order])
    if not len(below) or below[-1] <= 0:
        return float("nan")
    last = benign[order][np.searchsorted(below, specificity * below[-1] - 1e-9)]
    return float(np.nextafter(last, np.inf))
