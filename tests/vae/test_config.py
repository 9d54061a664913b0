"""Settings: which are refused, how they are named, and what a configuration tells of itself."""

from __future__ import annotations

import pytest

from lungvae_core.errors import UserError
from lungvae_core.vae.config import PRESETS, override, parse, preset


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nonsense": 1}, "no setting 'nonsense'"),
        ({"beta": -1}, "objective.beta"),
        ({"hu_low": 500}, "hu_low must be below hu_high"),
        ({"epochs": "many"}, "training.epochs"),
        ({"ema": 0.9, "rounds": 1, "head": "trained"}, "ema averages the VAE alone"),
        ({"guided": "diameter,size"}, "objective.guided"),
        ({"guided": "diameter,diameter"}, "each guide can be named once"),
        ({"guided": "diameter,edge", "dimensions": 2}, "at least one must be free"),
        ({"linear_path": False, "linear_rank": 4}, "linear_rank needs linear_path"),
        ({"linear_rank": 256}, "linear_rank must be below dimensions"),
    ],
)
def test_bad_settings_are_named(changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        override(preset("gvae"), changes)


def test_guides_are_named_in_a_list_or_a_line() -> None:
    config = override(preset("gvae"), {"guided": "edge, texture"})
    assert config.objective.guided == ("edge", "texture")
    assert override(preset("gvae"), {"guided": ["edge", "texture"]}) == config
    assert parse(config.model_dump(mode="json")) == config
    assert override(config, {"guided": ""}).objective.guided == ()


def test_configurations_say_whether_labels_shape_codes() -> None:
    shaped = {name for name, config in PRESETS.items() if config.labels_shape_codes}
    assert shaped == {"gvae-joint", "dirvae-joint", "gvae-guided", "dirvae-guided"}
    assert not any(config.labels_leak for config in PRESETS.values())
    leaking = override(preset("gvae-joint"), {"labels_of": "released"})
    assert leaking.labels_leak
    assert not override(leaking, {"rounds": 0}).labels_leak


def test_unknown_presets_and_keys_are_named() -> None:
    with pytest.raises(UserError, match="Choose one of: gvae, dirvae"):
        preset("gave")
    with pytest.raises(UserError, match=r"training\.spare"):
        parse({**preset("gvae").model_dump(), "training": {"spare": 1}})
    assert parse(preset("dirvae").model_dump(mode="json")) == preset("dirvae")
