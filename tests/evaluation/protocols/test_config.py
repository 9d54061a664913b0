"""The settings of an evaluation: their bounds, and what follows from them."""

from __future__ import annotations

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.config import EvaluationConfig, evaluation_of


def test_a_preset_is_enough() -> None:
    evaluation = evaluation_of(preset="gvae")
    assert (evaluation.protocol, evaluation.task, evaluation.label_rule) == ("nested", "mvb", "median_high")
    assert evaluation.all_seeds == [0]
    assert evaluation_of(preset="gvae", seed=3, seeds=2).all_seeds == [3, 4]
    assert evaluation_of(preset="gvae", quick=True).resamples < evaluation.resamples


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "external"},  # `lungvae validate` has it
        {"folds": 1},
        {"seeds": 0},
        {"calibration_share": 0.6},
        {"nodule_rule": "median"},
        {"task": "bvm"},
        {"epochs": 3},  # a setting of the preset, which goes into `changes`
    ],
)
def test_bad_settings_are_named(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"This evaluation cannot be made: {next(iter(change))}: "):
        evaluation_of(preset="gvae", **change)


def test_all_bad_settings_are_named_at_once() -> None:
    with pytest.raises(UserError, match=r"preset: .*folds: .*seed: "):
        evaluation_of(folds=1, seed=-1)


def test_every_setting_of_its_own_is_described() -> None:
    for name, field in EvaluationConfig.model_fields.items():
        if name not in ("task", "label_rule"):  # described where they are declared
            assert field.title, name
            assert field.description, name
    assert "nested: " in str(EvaluationConfig.model_fields["protocol"].description)
