"""Factors: their ranges, their page, and how ratings become factors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungvae_core.data.phantom import FACTORS, Factors, render
from lungvae_core.data.phantom.factors import draw_from_ratings
from lungvae_core.data.slices import RATINGS
from lungvae_core.errors import UserError
from tests.conftest import ROOT


@pytest.mark.parametrize("name", list(FACTORS))
@pytest.mark.parametrize("value", [-1e4, 1e4, float("nan")])
def test_a_factor_out_of_range_is_refused(name, value):
    with pytest.raises(UserError, match=name):
        Factors(**{name: value})


@settings(max_examples=60, deadline=None)
@given(
    radius=st.floats(1.2, 16.5),
    seed=st.integers(0, 10_000),
    ratings=st.lists(st.integers(1, 5), min_size=len(RATINGS), max_size=len(RATINGS)),
)
def test_whatever_the_ratings_say_fits_the_crop(radius, seed, ratings):
    row = {f"{name}_all": str(value) for name, value in zip(RATINGS, ratings, strict=True)}
    factors = draw_from_ratings(row, radius, 0.7, np.random.default_rng(seed))
    hu, mask = render(factors.replace(diameter_mm=2 * radius), seed=seed)
    assert mask.sum() == mask[1:-1, 1:-1].sum() > 0
    assert -1024 <= hu.min() <= hu.max() <= 3071


def test_the_page_has_every_factor():
    page = (ROOT / "docs" / "phantom.md").read_text(encoding="utf-8")
    for name, span in FACTORS.items():
        unit = f" {span.unit} " if span.unit else " "
        row = f"| `factor_{name}` | {span.low:g} to {span.high:g} |{unit}| {span.meaning} |"
        assert row in page


def test_ratings_become_factors():
    rng = np.random.default_rng(0)

    def mean(name, column, rating):
        row = {f"{other}_all": "3" for other in RATINGS} | {"calcification_all": "6"}
        drawn = [draw_from_ratings(row | {f"{name}_all": rating}, 6, 0.7, rng) for _ in range(60)]
        return np.mean([getattr(factors, column) for factors in drawn])

    assert mean("texture", "density_hu", "1|1") < -500 < -100 < mean("texture", "density_hu", "5|5")
    assert mean("margin", "margin_mm", "1") > 2 * mean("margin", "margin_mm", "5")
    assert mean("lobulation", "lobulation", "5") > 0.8 > 0.2 > mean("lobulation", "lobulation", "1")
    assert mean("spiculation", "spiculation", "4|5") > 0.6 > 0.2 > mean("spiculation", "spiculation", "1")
    assert mean("sphericity", "elongation", "2") > 1.4 > mean("sphericity", "elongation", "5")
    assert mean("calcification", "calcification", "6|6") == 0 < mean("calcification", "calcification", "3")
