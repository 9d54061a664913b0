"""The `paper` protocol: the leak of the released code of arXiv 2311.15719, rebuilt step by step.

There is one VAE. Its joint phase sees the labels of a random 70 % of all patients. Then a classifier on its
codes is cross-validated over all patients, in other folds, with the best threshold on each test fold, and
slices count as cases. Finally these steps are undone one by one on the same weights, the last by testing only
the 30 % of patients whose labels the encoder never saw.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.slices import KEY, SliceSet
from lungvae_core.data.splits import grouped_folds, share_of_patients
from lungvae_core.errors import UserError
from lungvae_core.evaluation import units
from lungvae_core.evaluation.figures import auc_of, frame_auc, unit_figures
from lungvae_core.evaluation.protocols.config import EvaluationConfig
from lungvae_core.evaluation.protocols.folded import Folded
from lungvae_core.evaluation.protocols.members import JOINT_STAGE, load_codes
from lungvae_core.evaluation.protocols.plan import configure, presets
from lungvae_core.evaluation.protocols.scores import fit_on_views, over_views
from lungvae_core.evaluation.report import load_report
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.inputs import inputs_of
from lungvae_core.training.joint import RELEASED_SHARE

THRESHOLDS = np.arange(0.40, 0.601, 0.02)  # as in the released code's search


@dataclass(kw_only=True)
class Paper(Folded):
    """The protocol as released, and the steps that undo it."""

    name = "paper"
    one_vae = True

    def nodule_rule(self) -> tuple[str, str]:
        return "mean", units.RULES["mean"]

    @classmethod
    def report_beside(
        cls, nested: Path | None, evaluation: EvaluationConfig, data: SliceSet
    ) -> dict[str, Any] | None:
        """The honest report with which the leak table begins, checked to be of the same kind."""
        if nested is None:
            return None
        report = load_report(nested).model_dump(mode="json")
        configs = [configure(evaluation, evaluation.seed, name) for name in presets(evaluation)]
        ours = {
            "protocol": "nested",
            "task": evaluation.task,
            "label_rule": evaluation.label_rule,
            "seeds": evaluation.all_seeds,
            "preset": "+".join(config.preset for config in configs),
            "content_hash": data.info.content_hash,
        }
        theirs = {
            **{name: report[name] for name in ("protocol", "task", "label_rule", "seeds")},
            "preset": report["model"]["preset"],
            "content_hash": report["data"]["content_hash"],
        }
        different = [name for name in ours if ours[name] != theirs[name]]
        if different:
            raise UserError(
                f"{nested} cannot stand beside this evaluation: its {', '.join(different)} differ(s)."
            )
        return report

    def judged(self) -> dict[str, Any] | None:
        frames, steps = self._frames_and_steps()
        if self.beside:
            steps = [nested_step(self.beside), *steps]
        return {
            "units": {unit: unit_figures(frame, **self.draws()) for unit, frame in frames.items()},
            "baselines": self.beside["baselines"] if self.beside else {},
            "leak": {"steps": steps, "total": steps[-1]["slice"] - steps[0]["slice"]},
        }

    def _frames_and_steps(self) -> tuple[dict[str, pd.DataFrame], list[dict[str, Any]]]:
        """(judged frames by unit under the protocol as released, the steps that undo it).

        With several seeds the logits of the frames are averaged, and the steps' figures too.
        """
        table, evaluation = self.data.table, self.evaluation
        truth = labels_by(table, evaluation.task, evaluation.label_rule)
        labelled = np.flatnonzero(~np.isnan(truth))
        inner, labels = table.iloc[labelled].reset_index(drop=True), truth[labelled]
        folds = list(grouped_folds(inner, evaluation.folds, seed=evaluation.seed, classes=labels.astype(int)))
        number = np.empty(len(inner), int)
        for at, (_, test) in enumerate(folds):
            number[test] = at
        logits, unseen = [], []
        total = len(self.members) * (len(folds) + 1)
        for done, member in enumerate(self.members):
            # Only the unmirrored view: the released code has one code per slice and memorises it.
            codes = np.asarray(load_codes(member, JOINT_STAGE)[labelled, :1])
            fit = partial(
                fit_on_views, config=ClassifierConfig(seed=member.seed), inputs=inputs_of(member.config)
            )
            of_slices = np.empty(len(inner))
            for at, (train, test) in enumerate(folds):
                of_slices[test] = over_views(fit(codes[train], labels[train]), codes[test])
                self.progress("classifiers", done * (len(folds) + 1) + at + 1, total)
            logits.append(of_slices)
            # The same weights, tested on the patients whose labels the joint phase did not see.
            seen = np.isin(labelled, share_of_patients(table, share=RELEASED_SHARE, seed=member.seed))
            model = fit(codes[seen], labels[seen])
            unseen.append(
                (inner[~seen].reset_index(drop=True), labels[~seen], over_views(model, codes[~seen]))
            )
            self.progress("classifiers", (done + 1) * (len(folds) + 1), total)
        frames = _frames(inner, labels, np.mean(logits, axis=0), number)
        return frames, _steps(inner, labels, logits, unseen, number, evaluation.seed)


def _frames(
    inner: pd.DataFrame, labels: np.ndarray, logits: np.ndarray, fold: np.ndarray
) -> dict[str, pd.DataFrame]:
    """Judged frames, with the threshold for each unit that is best on each test fold."""
    labels = labels.astype(int)
    slices = inner[KEY].assign(label=labels, logit=logits, fold=fold)
    nodules = units.by_nodule(inner, label=(labels, "first"), fold=(fold, "first"), logit=(logits, "mean"))
    frames = {"slice": slices, "nodule": nodules, "patient": units.patient_logits(nodules)}
    for unit, frame in frames.items():
        probability = expit(frame["logit"].to_numpy(float))
        called = np.zeros(len(frame), int)
        for at in np.unique(fold):
            rows = (frame["fold"] == at).to_numpy()
            called[rows] = probability[rows] >= _best(frame["label"].to_numpy()[rows], probability[rows])
        frames[unit] = frame.assign(probability=probability, called=called)
    return frames


def _best(labels: np.ndarray, probability: np.ndarray) -> float:
    """The threshold with the highest accuracy on these same labels."""
    return float(max(THRESHOLDS, key=lambda at: float(((probability >= at) == labels).mean())))


def _steps(
    inner: pd.DataFrame,
    labels: np.ndarray,
    logits: list[np.ndarray],
    unseen: list[tuple[pd.DataFrame, np.ndarray, np.ndarray]],
    fold: np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """AUC and accuracy, from the same weights on unseen labels to the protocol as released."""

    def at_half(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
        return {
            unit: frame.assign(called=(frame["probability"] >= 0.5).astype(int))
            for unit, frame in frames.items()
        }

    by_seed = [_frames(inner, labels, of_seed, fold) for of_seed in logits]
    of_all = [at_half(frames) for frames in by_seed]
    of_rest = [at_half(_frames(*tested, np.zeros(len(tested[0]), int))) for tested in unseen]
    steps = (
        (
            "labels the encoder never saw",
            "the same weights, tested on the 30 % of patients whose labels had no part in the joint phase",
            of_rest,
            "nodule",
        ),
        ("nodules as cases", "a nodule counts once, however many slices it has", of_all, "nodule"),
        (
            "threshold fixed beforehand",
            "the threshold is 0.5, not the best on the test fold",
            of_all,
            "slice",
        ),
        (
            "as released",
            "all four leaks: labels of 70 % of patients in the encoder, threshold picked on the test fold, "
            "slices as cases, pixels of test patients in the VAE",
            by_seed,
            "slice",
        ),
    )
    return [_step(*step, seed) for step in steps]


def _step(
    name: str, description: str, frames: list[dict[str, pd.DataFrame]], cases: str, seed: int
) -> dict[str, Any]:
    """One row of the leak table, from each seed's frames by unit; `cases` are the units of the accuracy.

    The interval is that of the first seed's AUC per slice.
    """
    interval = frame_auc(frames[0]["slice"], seed=seed)
    return {
        "step": name,
        "words": description,
        **{unit: float(np.mean([auc_of(each[unit]) for each in frames])) for unit in ("slice", "nodule")},
        "accuracy": float(
            np.mean([(each[cases]["called"] == each[cases]["label"]).mean() for each in frames])
        ),
        "low": interval["low"],
        "high": interval["high"],
    }


def nested_step(report: dict[str, Any]) -> dict[str, Any]:
    """The first row of the leak table, from an honest report with the same settings and seeds."""
    nodule, slices = report["units"]["nodule"], report["units"]["slice"]
    return {
        "step": "nested",
        "words": "everything fitted on training patients alone, in every fold; all patients tested",
        "slice": slices["auc"]["value"],
        "nodule": nodule["auc"]["value"],
        "accuracy": nodule["accuracy"]["value"],
        "low": slices["auc"]["low"],
        "high": slices["auc"]["high"],
    }
