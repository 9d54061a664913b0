"""The protocols in words, and the settings that they fix."""

from __future__ import annotations

from typing import get_args

from lungvae_core.evaluation.protocols.config import Protocol
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.vae.config import override, preset


def test_every_protocol_of_evaluate_is_described_in_short_and_full() -> None:
    assert set(get_args(Protocol)) <= set(PROTOCOLS)
    for name, one in PROTOCOLS.items():
        assert one.title, name
        assert one.in_full, name
        assert bool(one.in_short) == (name in get_args(Protocol)), name


def test_a_protocol_that_leaks_says_so_first() -> None:
    leaking = {name for name, one in PROTOCOLS.items() if one.leaks}
    assert leaking == {"paper", "released"}
    for name, one in PROTOCOLS.items():
        assert one.in_full.startswith("LEAKS") == (name in leaking), name


def test_what_they_fix_are_settings_of_a_configuration() -> None:
    for name, one in PROTOCOLS.items():
        changes = {**one.starts_with, **one.fixes}
        config = override(preset("gvae-joint"), changes)
        assert bool(config.joint.rounds) == ("rounds" not in changes), name
        if one.labels_of:
            assert override(config, {"labels_of": one.labels_of}).joint.labels_of == one.labels_of
            assert one.labels_rule.endswith("leave out labels_of.")


def test_a_search_tells_its_trials_and_folds() -> None:
    assert PROTOCOLS["searched"].in_full.format(trials=30, folds=1).startswith("best of 30 trials on 1 ")
