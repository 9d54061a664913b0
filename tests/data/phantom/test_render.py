"""A rendered slice: what a factor moves, and what it leaves alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from skimage.measure import regionprops

from lungvae_core.data.phantom import FACTORS, INDEPENDENT, Factors, render
from lungvae_core.errors import UserError

SEEDS = [0, 1, 2, 3]
CLEAR = Factors(diameter_mm=14, pleura_mm=12)  # in the open lung


def properties(mask):
    return regionprops(mask.astype(int))[0]


def sweep(name, values, seed=0, base=CLEAR):
    return [render(base.replace(**{name: float(value)}), seed=seed) for value in values]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slice_is_int16_hu_with_a_mask_and_the_same_by_seed(seed):
    hu, mask = render(CLEAR, seed=seed)
    again, again_mask = render(CLEAR, seed=seed)
    other, _ = render(CLEAR, seed=seed + 100)
    assert hu.dtype == np.int16
    assert mask.dtype == np.uint8
    assert hu.shape == mask.shape == (64, 64)
    assert hu.min() >= -1024
    assert hu.max() <= 3071
    assert set(np.unique(mask)) == {0, 1}
    assert np.array_equal(hu, again)
    assert np.array_equal(mask, again_mask)
    assert not np.array_equal(hu, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_diameter_is_the_masks(seed):
    values = np.linspace(4, 24, 21)
    masks = [mask for _, mask in sweep("diameter_mm", values, seed)]
    area = np.array([mask.sum() for mask in masks])
    assert (np.diff(area) > 0).all()
    assert np.abs(2 * np.sqrt(area / np.pi) * 0.7 - values).max() < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_density_is_the_hu_inside(seed):
    values = np.linspace(-650, 80, 9)
    slices = sweep("density_hu", values, seed)
    inside = [np.median(hu[mask > 0]) for hu, mask in slices]
    assert (np.diff(inside) > 0).all()
    assert inside[0] < -500
    assert inside[-1] > -30
    outside = slices[0][1] == 0
    # Beyond the blur of the edge, nothing moves.
    far = np.hypot(*(np.mgrid[:64, :64] - 31.75)) > 20
    assert np.array_equal(slices[0][0][far & outside], slices[-1][0][far & outside])
    assert all(np.array_equal(mask, slices[0][1]) for _, mask in slices)


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_softens_the_edge_and_leaves_the_mask(seed):
    slices = sweep("margin_mm", np.linspace(0, 2.5, 6), seed)
    mask = slices[0][1]
    assert all(np.array_equal(other, mask) for _, other in slices)
    grown = np.roll(mask, 1, 0) | np.roll(mask, -1, 0) | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
    shrunk = np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    step = [hu[(mask & ~shrunk) > 0].mean() - hu[(grown & ~mask) > 0].mean() for hu, _ in slices]
    assert (np.diff(step) < 0).all()
    assert step[-1] < 0.5 * step[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_elongation_and_angle_are_those_of_the_mask(seed):
    for value in (1.0, 1.4, 1.8, 2.2):
        outline = properties(render(CLEAR.replace(elongation=value, angle_deg=30), seed=seed)[1])
        assert outline.major_axis_length / outline.minor_axis_length == pytest.approx(value, rel=0.12)
    for angle in (0, 30, 75, 120, 165):
        outline = properties(render(CLEAR.replace(elongation=2, angle_deg=angle), seed=seed)[1])
        # scikit-image measures counter-clockwise from the axis of rows, which runs down the image.
        measured = np.rad2deg(outline.orientation) + 90
        assert abs((measured - angle + 90) % 180 - 90) < 8


@pytest.mark.parametrize("seed", SEEDS)
def test_lobulation_makes_the_outline_less_convex_and_keeps_its_area(seed):
    masks = [mask for _, mask in sweep("lobulation", [0, 0.5, 1], seed, CLEAR.replace(diameter_mm=20))]
    solidity = [properties(mask).solidity for mask in masks]
    assert solidity[0] > solidity[1] > solidity[2]
    area = np.array([mask.sum() for mask in masks])
    assert np.ptp(area) / area.mean() < 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_spiculation_brightens_the_rim_only(seed):
    slices = sweep("spiculation", [0, 0.3, 0.6, 1], seed)
    mask = slices[0][1]
    away = np.hypot(*(np.mgrid[:64, :64] - 31.75))
    ring = (away > 12) & (away < 18) & (mask == 0)
    brightness = [hu[ring].mean() for hu, _ in slices]
    assert (np.diff(brightness) > 0).all()
    assert all(np.array_equal(other, mask) for _, other in slices)
    inner = away < 7
    assert np.abs(slices[0][0][inner].astype(int) - slices[-1][0][inner]).max() < 12


@pytest.mark.parametrize("seed", SEEDS)
def test_calcification_raises_the_peak(seed):
    slices = sweep("calcification", [0, 0.2, 0.5, 1], seed)
    peak = [np.percentile(hu[mask > 0], 90) for hu, mask in slices]
    assert (np.diff(peak) > 0).all()
    assert peak[0] < 250
    assert peak[-1] > 900
    assert all(np.array_equal(mask, slices[0][1]) for _, mask in slices)


@pytest.mark.parametrize("seed", SEEDS)
def test_pleura_moves_the_wall_and_not_the_nodule(seed):
    slices = sweep("pleura_mm", [0, 5, 10, 14], seed)
    assert all(np.array_equal(mask, slices[0][1]) for _, mask in slices)
    wall = [(hu > -300).sum() for hu, _ in slices]
    assert (np.diff(wall) < 0).all()


@pytest.mark.parametrize("name", list(FACTORS))
@pytest.mark.long
def test_small_steps_make_small_changes(name):
    low, high = INDEPENDENT[name]
    base = CLEAR.replace(elongation=1.5, lobulation=0.4, spiculation=0.4, calcification=0.3)
    slices = [hu.astype(float) for hu, _ in sweep(name, np.linspace(low, high, 201), 5, base)]
    steps = np.array([np.abs(a - b).mean() for a, b in pairwise(slices)])
    whole = np.abs(slices[-1] - slices[0]).mean() if name != "angle_deg" else steps.sum() / 10
    assert whole > 2
    # No step of 200 does much of what all do together, and none stands out.
    assert steps.max() < max(0.06 * whole, 1.5)


def test_an_angle_of_180_degrees_is_one_of_0():
    base = CLEAR.replace(elongation=2)
    first, last = render(base.replace(angle_deg=0), seed=1), render(base.replace(angle_deg=180), seed=1)
    assert np.abs(first[0].astype(int) - last[0]).max() <= 1


def test_a_nodule_too_large_for_the_crop_is_refused():
    with pytest.raises(UserError, match="does not fit"):
        render(Factors(diameter_mm=44, elongation=2.5), seed=0)
