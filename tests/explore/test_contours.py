"""Density regions hold the shares that they are said to hold, and clusters are outlined where they are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.measure import points_in_poly

from lungvae_core.explore.contours import SHARES, Density, contours


def inside(lines: list, xy: np.ndarray) -> np.ndarray:
    """(N,) bool, by the even-odd rule over all lines."""
    return np.sum([points_in_poly(xy, np.array(line)) for line in lines], axis=0) % 2 == 1


@pytest.mark.parametrize("humps", [1, 3])
def test_a_region_holds_about_its_share_of_the_points(humps):
    generator = np.random.default_rng(0)
    centres = generator.normal(0, 3, (humps, 2))
    xy = centres[generator.integers(0, humps, 4000)] + generator.normal(0, 0.5, (4000, 2))
    regions = contours(xy)
    assert [level["share"] for level in regions] == sorted(SHARES, reverse=True)
    for level in regions:
        assert inside(level["lines"], xy).mean() == pytest.approx(level["share"], abs=0.05)


def test_regions_lie_within_one_another():
    xy = np.random.default_rng(1).normal(size=(2000, 2))
    grid = np.stack(np.meshgrid(*[np.linspace(-3, 3, 40)] * 2), -1).reshape(-1, 2)
    held = [inside(level["lines"], grid) for level in contours(xy)]
    for wide, narrow in itertools.pairwise(held):
        assert (narrow & ~wide).mean() < 0.01


def test_few_points_have_no_density():
    assert contours(np.zeros((5, 2))) == []


def test_points_on_one_place_do_not_break_it():
    density = Density(np.zeros((50, 2)))
    assert np.isfinite(density.grid).all()
