"""The Train page's form: words, a group and a range for every setting that there is."""

from __future__ import annotations

import pytest

from lungvae_core.serving.form import GROUPS, settings_of
from lungvae_core.vae.config import PARTS, PRESETS, preset


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


def test_steps_are_of_the_size_of_the_value():
    steps = {setting.name: setting.step for setting in settings_of(preset("gvae"))}
    assert steps["epochs"] == 1
    assert steps["learning_rate"] == pytest.approx(1e-4)
    assert steps["hu_low"] == 100
    assert steps["rotate_degrees"] == 1  # of 15
    from_none = {setting.name: setting.step for setting in settings_of(preset("paper-gvae"))}
    assert from_none["rotate_degrees"] == 5
