"""Numbers, counts and durations in words."""

from __future__ import annotations

import math

import pytest

from lungvae_core.number_text import (
    duration,
    first_few,
    interval,
    latent_value,
    number,
    plural,
    with_interval,
)


@pytest.mark.parametrize(
    ("value", "text", "signed"),
    [
        (0.9432, "0.943", "+0.943"),
        (-0.012, "−0.012", "−0.012"),
        (-0.0001, "0.000", "0.000"),
        (0.0, "0.000", "0.000"),
        (None, "–", "–"),
        (math.nan, "–", "–"),
    ],
)
def test_number(value: float | None, text: str, signed: str) -> None:
    assert number(value) == text
    assert number(value, signed=True) == signed


@pytest.mark.parametrize(
    ("value", "text"),
    [(-1.234, "−1.23"), (0.0, "0.00"), (0.0512, "0.051"), (0.00123, "0.0012"), (-0.00001, "0.0000")],
)
def test_a_latent_value_shows_two_digits_that_are_not_0(value: float, text: str) -> None:
    assert latent_value(value) == text


def test_a_figure_with_its_interval() -> None:
    assert interval({"value": 0.9432, "low": 0.927, "high": 0.958, "p": 0.1}) == "0.943 (0.927 to 0.958)"
    assert interval({"value": 0.9432, "low": 0.927, "high": 0.958}, 2) == "0.94 (0.93 to 0.96)"
    assert interval({"value": 0.9432, "low": None, "high": None}) == "0.943"
    assert interval({"value": None, "low": None, "high": None}) == interval({}) == interval(None) == "–"
    assert with_interval(-0.02, -0.05, 0.01, signed=True) == "−0.020 (−0.050 to +0.010)"


def test_a_count_with_its_noun() -> None:
    assert [plural(count, "fold") for count in (0, 1, 1200)] == ["0 folds", "1 fold", "1,200 folds"]
    assert [plural(count, "copy", "copies") for count in (1, 2)] == ["1 copy", "2 copies"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (40, "40 s"), (89.9, "90 s"), (90, "2 min"), (720, "12 min"), (5400, "1.5 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_first_few_of_a_list() -> None:
    assert first_few(["a", "b"]) == "a; b"
    assert first_few(["a", "b", "c"], 2, ", ") == "a, b and 1 more"
