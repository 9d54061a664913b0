"""The Train page's form: words, a group and a range for every setting that there is."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation.protocols.config import EvaluationConfig
from lungvae_core.serving.jobs.form import GROUPS, describe_preset, setting_of, settings_of
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.search.options import SearchOptions
from lungvae_core.vae.config import PARTS, PRESETS, override, preset


def everything() -> set[str]:
    config = preset("dirvae")
    return {name for part in PARTS for name in type(getattr(config, part)).model_fields} - {"prior"}


def test_every_setting_of_every_part_has_a_label_help_and_one_group():
    settings = settings_of(preset("dirvae"))
    assert {setting.name for setting in settings} == everything()
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(everything())
    for setting in settings:
        assert setting.label != setting.name
        assert setting.help.endswith(".")
    labels = [setting.label for setting in settings]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", PRESETS)
def test_only_settings_that_apply_are_offered(name):
    names = {setting.name for setting in settings_of(PRESETS[name])}
    hidden = {"prior_alpha", "alpha_floor", "sampler", "reversed_kl"}
    assert hidden & names == (hidden if PRESETS[name].model.prior == "dirichlet" else set())


@pytest.mark.parametrize("kind", [*PARTS.values(), ClassifierConfig, EvaluationConfig, SearchOptions])
def test_every_setting_has_a_title_and_a_sentence(kind):
    for name, field in kind.model_fields.items():
        assert field.title, name
        assert field.description, name
        assert field.description.endswith("."), name


def test_ranges_are_in_words():
    spans = {setting.name: setting.span for setting in settings_of(preset("dirvae"))}
    assert spans["epochs"] == "1 to 10000"
    assert spans["prior_alpha"] == "above 0, up to 100"
    assert spans["beta"] == "0 or more"
    assert spans["hu_low"] == "any number"
    assert spans["flips"] == "true, false"
    assert spans["network"] == "lean, released"


def test_a_setting_of_another_configuration_has_its_own_default_or_the_given_one():
    trials, folds = setting_of(SearchOptions, "trials"), setting_of(SearchOptions, "folds", 5)
    assert (trials.label, trials.kind, trials.minimum, trials.default) == ("Trials", "whole", 1, 30)
    assert (folds.default, folds.maximum) == (5, 5)


def test_steps_are_of_the_size_of_the_value():
    turned = override(preset("gvae"), {"rotate_degrees": 15})
    steps = {setting.name: setting.step for setting in settings_of(turned)}
    assert steps["epochs"] == 1
    assert steps["learning_rate"] == pytest.approx(1e-4)
    assert steps["hu_low"] == 100
    assert steps["rotate_degrees"] == 1  # of 15
    from_none = {setting.name: setting.step for setting in settings_of(preset("paper-gvae"))}
    assert from_none["rotate_degrees"] == 5


@pytest.mark.parametrize("name", PRESETS)
def test_form_has_words_and_a_range_for_every_setting(name):
    settings = settings_of(PRESETS[name])
    assert all(setting.help and setting.label != setting.name for setting in settings)
    names = {setting.name for setting in settings}
    assert ("prior_alpha" in names) == (PRESETS[name].model.prior == "dirichlet")
    for setting in settings:
        if setting.kind == "choice":
            assert setting.default in setting.choices
        elif setting.kind != "switch":
            assert setting.minimum is None or setting.minimum <= setting.default
            assert setting.maximum is None or setting.default <= setting.maximum
    assert str(PRESETS[name].model.dimensions) in describe_preset(name)
