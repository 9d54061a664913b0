"""The configuration of each training, and which patients fit, calibrate and test in each fold.

Every fold has three disjoint sets of patients: `fit` trains everything (VAE, joint phase, classifier);
`calibration`, a part of the outer training patients, settles the threshold, the calibration and the choice of
nodule rule; `test` is only tested. The folds do not depend on the task or the label rule, so reports with
different ones share their trainings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.data.splits import check_apart, grouped_folds, holdout
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.config import EvaluationConfig
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.vae.config import PRESETS, Config, override, preset

QUICK = {"width": 8, "batch_size": 64}  # settings of --quick, with a few epochs; minutes on two cores


@dataclass(frozen=True)
class Fold:
    """One outer fold: rows of the data's table, with all slices of its patients regardless of label."""

    number: int
    fit: np.ndarray
    calibration: np.ndarray
    test: np.ndarray

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The rows of each part: fit, calibration and test."""
        return {"fit": self.fit, "calibration": self.calibration, "test": self.test}

    def only(self, kept: np.ndarray) -> Fold:
        """The fold with only the rows of the data where `kept` (N,) is True."""
        return Fold(self.number, **{name: rows[kept[rows]] for name, rows in self.parts.items()})


def plan_folds(table: pd.DataFrame, evaluation: EvaluationConfig) -> list[Fold]:
    """The outer folds, each with its inner split by patient; every row is tested in one of them.

    Raises UserError if there are too few patients or a patient is in two parts of a fold.
    """
    trainings = []
    for number, (outer, test) in enumerate(grouped_folds(table, evaluation.folds, seed=evaluation.seed)):
        inner = table.iloc[outer].reset_index(drop=True)
        fit, calibration = holdout(
            inner, fraction=evaluation.calibration_share, seed=evaluation.seed + number
        )
        fold = Fold(number, outer[fit], outer[calibration], test)
        check_apart(table, **fold.parts)
        trainings.append(fold)
    tested = np.sort(np.concatenate([fold.test for fold in trainings]))
    if not np.array_equal(tested, np.arange(len(table))):
        raise UserError("The folds do not test every slice exactly once.")
    return trainings


def presets(evaluation: EvaluationConfig) -> list[str]:
    """The presets of an evaluation; UserError if one occurs twice."""
    names = [name.strip() for name in evaluation.preset.split("+")]
    if len(set(names)) < len(names):
        raise UserError(f"A preset stands twice in {evaluation.preset}. More trainings of one: --seeds.")
    return names


def configure(evaluation: EvaluationConfig, seed: int, name: str | None = None) -> Config:
    """The configuration of a fold's training with this seed; `name` is a preset (default: the first).

    `nested` and `paper` need a joint phase: if the preset has none, its variant with one is used.
    """
    name = name or presets(evaluation)[0]
    protocol = PROTOCOLS[evaluation.protocol]
    config = preset(name)
    if protocol.labels_of and not config.joint.rounds:
        with_labels = f"{name}-joint"
        if with_labels not in PRESETS:
            raise UserError(
                f"The preset {name} has no joint phase, which the protocol {evaluation.protocol} needs. "
                "Give it one with --set rounds=1."
            )
        config = preset(with_labels)
    if evaluation.quick:
        joint = {"round_epochs": 3, "rounds": 1} if config.joint.rounds else {}
        config = override(config, {**QUICK, "epochs": 2 if joint else 4, **joint})
    changes = {**protocol.starts_with, **evaluation.changes, "seed": seed, **protocol.fixes}
    if protocol.labels_of:
        changes |= {"task": evaluation.task, "label_rule": evaluation.label_rule}
    config = override(config, changes)
    if protocol.labels_of and not config.joint.rounds:
        raise UserError(f"The protocol {evaluation.protocol} needs a joint phase: rounds is 0.")
    if protocol.labels_of and config.joint.labels_of != protocol.labels_of:
        raise UserError(protocol.labels_rule)
    if config.joint.rounds and config.joint.soft_labels:
        # Such a training sees the readers' mean, whatever the task and label rule of the evaluation.
        config = override(config, {"task": "mvb", "label_rule": "median_high"})
    return config
