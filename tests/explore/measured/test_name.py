"""A dimension's name is earned, and claims no more than was measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lungvae_core.explore.measured.name import NOTHING, SURROUNDINGS, UNSTEADY, Moved, name_of


def movement(effect: float, **other: float) -> Moved:
    whole = Moved(
        effect, effect - 0.1, effect + 0.1, effect, np.sign(effect), 1.0, 0.0, effect, np.sign(effect)
    )
    return replace(whole, **other)


def test_a_name_needs_effect_steadiness_and_an_interval_clear_of_0():
    def words(moved: dict[str, Moved]) -> str:
        return name_of(moved, inside_hu=50, outside_hu=40).text

    assert words({"diameter_px": movement(0.4)}) == "grows"
    assert words({"diameter_px": movement(-0.4)}) == "shrinks"
    assert words({"diameter_px": movement(0.29)}) == UNSTEADY
    assert words({"diameter_px": movement(0.4, spearman=0.69)}) == UNSTEADY
    assert words({"diameter_px": movement(0.4, low=-0.1)}) == UNSTEADY
    # Area follows from the diameter: alone it names nothing, and it does not share in the movement.
    assert words({"area_px": movement(0.9)}) == UNSTEADY
    both = {"diameter_px": movement(0.4), "area_px": movement(0.9)}
    assert name_of(both, inside_hu=50, outside_hu=40).selectivity == 1


def test_a_name_does_not_claim_more_than_was_found():
    clean = {"diameter_px": movement(1.0), "mean_hu": movement(0.4)}
    assert name_of(clean, inside_hu=9, outside_hu=9).text == "grows"
    mixed = clean | {"edge_px": movement(-0.8)}
    name = name_of(mixed, inside_hu=9, outside_hu=9)
    assert name.text == "grows and sharpens"
    assert name.others == ("mean_hu",)
    unsteady = {"diameter_px": movement(1.0)} | {
        key: movement(0.9, spearman=0.2) for key in ("mean_hu", "edge_px")
    }
    assert name_of(unsteady, inside_hu=9, outside_hu=9).text == "grows, among others"
    solid = movement(1.0, start=-600.0, end=-100.0)
    assert name_of({"mean_hu": solid}, inside_hu=9, outside_hu=9).text == "becomes solid"
    assert name_of({"mean_hu": movement(1.0)}, inside_hu=9, outside_hu=9).text == "becomes denser"


def test_without_a_name_the_pixels_say_why():
    assert name_of({}, inside_hu=3, outside_hu=2).text == NOTHING
    assert name_of({}, inside_hu=30, outside_hu=60).text == SURROUNDINGS
    assert name_of({}, inside_hu=30, outside_hu=30).text == UNSTEADY
