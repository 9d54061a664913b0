"""Who fits, who calibrates, who is tested; and which configuration a protocol trains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols import members, plan, scores
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold, configure, plan_folds

Make = Callable[..., EvaluationConfig]


def test_every_slice_is_tested_once_and_no_patient_has_two_parts(discs: SliceSet, make_config: Make) -> None:
    folds = plan_folds(discs.table, make_config())
    assert len(folds) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate([fold.test for fold in folds])), np.arange(300))
    patients = discs.table["patient_id"].to_numpy()
    for fold in folds:
        fit, calibration, test = (set(patients[part]) for part in (fold.fit, fold.calibration, fold.test))
        assert not (fit & calibration)
        assert not (fit & test)
        assert not (calibration & test)
        assert fit | calibration | test == set(patients)
        assert 0.1 < len(calibration) / len(fit | calibration) < 0.2


def test_folds_are_those_of_the_seed_whatever_is_asked_of_them(discs: SliceSet, make_config: Make) -> None:
    first, same, other = (
        plan_folds(discs.table, make_config(**more))
        for more in ({}, {"task": "mvr", "label_rule": "strict"}, {"seed": 1})
    )
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a.fit, b.fit)
        np.testing.assert_array_equal(a.test, b.test)
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("parts", [("fit", "test"), ("calibration", "test"), ("fit", "calibration")])
def test_a_planted_leak_is_caught(
    discs: SliceSet, make_config: Make, parts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A patient with slices on two sides of a fold: planning and scoring both refuse."""
    whole = plan_folds(discs.table, make_config())[0]
    leaky = {name: getattr(whole, name) for name in ("fit", "calibration", "test")}
    moved = leaky[parts[0]][:1]
    leaky[parts[1]] = np.concatenate([leaky[parts[1]], moved])
    leaky[parts[0]] = leaky[parts[0]][1:]  # its other slices stay
    patient = discs.table["patient_id"].iloc[moved[0]]
    with pytest.raises(UserError, match=f"Patient {patient} is in both"):
        scores.score_fold(discs.table, Fold(number=0, **leaky), [], members.VAE_STAGE, make_config())
    monkeypatch.setattr(plan, "holdout", lambda table, **_: (np.arange(len(table) - 1), np.array([0])))
    with pytest.raises(UserError, match="is in both fit and calibration"):
        plan_folds(discs.table, make_config())


def test_protocols_train_what_they_say(make_config: Make) -> None:
    nested = configure(make_config(), 3)
    assert nested.preset == "gvae-joint"
    assert (nested.joint.rounds, nested.joint.labels_of, nested.training.seed) == (1, "training", 3)
    assert configure(make_config("frozen"), 0).joint.rounds == 0
    assert configure(make_config("frozen"), 0).preset == "gvae"
    assert configure(make_config("paper"), 0).joint.labels_of == "released"
    hard = configure(make_config(changes={"soft_labels": False}, task="mvr", label_rule="mean"), 0)
    assert (hard.joint.task, hard.joint.label_rule) == ("mvr", "mean")
    # Trained on the readers' mean, it is the same training whatever is asked.
    assert configure(make_config(task="mvr", label_rule="mean"), 0) == configure(make_config(), 0)


def test_what_cannot_be_planned_is_said(make_config: Make) -> None:
    with pytest.raises(UserError, match="needs a joint phase: rounds is 0"):
        configure(make_config(changes={"rounds": 0}), 0)
    with pytest.raises(UserError, match="labels of training patients alone"):
        configure(make_config(changes={"labels_of": "released"}), 0)
    with pytest.raises(UserError, match=r"no joint phase.*--set rounds=1"):
        configure(make_config(preset="paper-gvae"), 0)
    with pytest.raises(UserError, match="no preset"):
        configure(make_config(preset="bigvae"), 0)
