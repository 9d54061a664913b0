"""Slices at one pixel spacing: a size in mm is one in pixels, no value is invented, unknowns are named."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.resample import at_spacing, masks_at_spacing, to_spacing
from lungvae_core.errors import UserError
from tests.conftest import blobs

GRID = np.arange(64) - 31.5


def disc(spacing_mm: float, diameter_mm: float = 12, down_mm: float = 0, right_mm: float = 0) -> np.ndarray:
    """(64, 64) int16: a disc of soft tissue in lung, each pixel's share of it taken from 8x8 points."""
    fine = (np.arange(64 * 8) + 0.5) / 8 - 32
    y, x = fine[:, None] * spacing_mm - down_mm, fine * spacing_mm - right_mm
    inside = y**2 + x**2 < (diameter_mm / 2) ** 2
    share = inside.reshape(64, 8, 64, 8).mean((1, 3))
    return np.rint(-850 + 880 * share).astype(np.int16)


def area(hu: np.ndarray) -> float:
    """Pixels of tissue, those at the border by their share."""
    return float(((hu.astype(float) + 850) / 880).sum())


@pytest.mark.parametrize("target", [0.6, 0.7, 1.0])
@pytest.mark.parametrize("native", [0.5, 0.7, 0.95])
def test_a_disc_has_its_size_in_mm_whatever_its_pixels_were(native: float, target: float) -> None:
    resampled = to_spacing(disc(native)[None], np.array([native]), target)[0]
    assert resampled.dtype == np.int16
    reach = min(32, int(32 * native / target))
    resampled = resampled[32 - reach : 32 + reach, 32 - reach : 32 + reach]  # without the crop's mirror image
    expected = np.pi * 6**2 / target**2
    assert area(resampled) == pytest.approx(expected, rel=0.01)
    assert (resampled > -410).sum() == pytest.approx(expected, rel=0.04)  # at half height
    y, x = (axis - reach + 0.5 for axis in np.nonzero(resampled > -410))
    assert (y.mean(), x.mean()) == pytest.approx((0, 0), abs=1e-9)


def test_places_in_mm_stay_where_they_are() -> None:
    resampled = to_spacing(disc(0.5, 8, down_mm=3, right_mm=-5)[None], np.array([0.5]), 0.7)[0] + 850.0
    assert (resampled.sum(1) * GRID).sum() / resampled.sum() * 0.7 == pytest.approx(3, abs=0.02)
    assert (resampled.sum(0) * GRID).sum() / resampled.sum() * 0.7 == pytest.approx(-5, abs=0.02)


def test_the_same_spacing_changes_nothing() -> None:
    hu = blobs(5)[0]
    np.testing.assert_array_equal(to_spacing(hu, np.full(5, 0.7), 0.7), hu)
    assert np.abs(to_spacing(hu, np.full(5, 0.7 * (1 + 1e-5)), 0.7) - hu).max() <= 1  # HU
    table = blobs(5)[2]
    assert at_spacing(hu, table, 0) is hu


@pytest.mark.parametrize("target", [0.3, 0.7, 1.3, 5.0])
def test_no_value_leaves_the_range_and_a_plain_slice_stays_plain(target: float) -> None:
    generator = np.random.default_rng(0)
    hu = generator.integers(-2048, 3072, (3, 64, 64)).astype(np.int16)
    resampled = to_spacing(hu, np.array([0.46, 0.7, 0.98]), target)
    assert (resampled.min((1, 2)) >= hu.min((1, 2))).all()
    assert (resampled.max((1, 2)) <= hu.max((1, 2))).all()
    plain = np.full((1, 64, 64), -876, np.int16)
    np.testing.assert_array_equal(to_spacing(plain, np.array([0.5]), target), plain)


def test_a_pattern_finer_than_the_new_pixels_averages_out() -> None:
    stripes = np.where(np.arange(64) % 2, 400, -1000).astype(np.int16)
    resampled = to_spacing(np.broadcast_to(stripes, (1, 64, 64)), np.array([0.45]), 1.0)
    inside = resampled[:, :, 19:45]  # without the mirror image, where two stripes of one kind meet
    assert np.abs(inside - -300).max() < 60  # with a kernel that does not widen: 700


def test_beyond_the_crop_is_its_mirror_image() -> None:
    hu = np.broadcast_to(np.arange(64, dtype=np.int16)[:, None] * 10, (1, 64, 64))
    resampled = to_spacing(hu, np.array([0.5]), 0.75)[0, :, 0]  # the crop's 32 mm are 42.7 of the 64 pixels
    inside = 315 + GRID * 15
    np.testing.assert_allclose(resampled[12:52], inside[12:52], atol=1)
    np.testing.assert_allclose(resampled[:9], -inside[:9] - 10, atol=3)  # mirrored at -0.5
    np.testing.assert_allclose(resampled[-9:], 1270 - inside[-9:], atol=3)  # and at 63.5


def test_a_slice_is_the_same_alone_and_among_others() -> None:
    hu, spacing = blobs(20)[0], np.random.default_rng(1).choice([0.5, 0.61, 0.7, 0.93], 20)
    whole = to_spacing(hu, spacing, 0.7)
    for row in range(20):
        np.testing.assert_array_equal(to_spacing(hu[[row]], spacing[[row]], 0.7)[0], whole[row])
    assert to_spacing(hu[:0], spacing[:0], 0.7).shape == (0, 64, 64)


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, None])
def test_an_unknown_spacing_names_the_slice_and_what_to_do(value: float | None) -> None:
    hu, _, table = blobs(10)
    table["pixel_spacing_mm"] = pd.array([0.7] * 6 + [value] * 2 + [0.6] * 2, dtype="Float64")
    with pytest.raises(
        UserError, match=r"Slice TEST-0001/0/1 .* is not known \(so it is with 1 more\)"
    ) as refused:
        at_spacing(hu, table, 0.7)
    assert "Fill the table's column pixel_spacing_mm, or choose a model of native pixels" in str(
        refused.value
    )
    assert at_spacing(hu, table, 0) is hu
    with pytest.raises(UserError, match="Slice TEST-0000/0/0"):
        at_spacing(hu, table.drop(columns="pixel_spacing_mm"), 0.7)


def test_a_spacing_in_another_unit_is_refused() -> None:
    hu = blobs(1)[0]
    with pytest.raises(UserError, match=r"scan\.npy .* is 700 mm, which is not from 0\.05 to 10"):
        to_spacing(hu, np.array([700.0]), 0.7, names=["scan.npy"])
    with pytest.raises(UserError, match="Slice 0"):
        to_spacing(hu, np.array([0.0007]), 0.7)


def test_a_whole_set_takes_seconds_not_minutes() -> None:
    hu = np.zeros((2000, 64, 64), np.int16)
    spacing = np.random.default_rng(0).uniform(0.46, 0.98, 2000)  # no two alike: the slowest there is
    began = time.process_time()
    to_spacing(hu, spacing, 0.7)
    assert time.process_time() - began < 5


@pytest.mark.parametrize("spacing", [0.5, 0.7, 0.95])
def test_masks_follow_their_slices_to_another_spacing(spacing: float) -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    disc = ((y - 5) ** 2 + (x + 3) ** 2 < 9**2).astype(np.uint8)
    masks, hu = np.stack([disc, disc]), np.where(disc, 0, -900).astype(np.int16)[None].repeat(2, 0)
    own = np.array([spacing, 0.7])
    table = pd.DataFrame({"pixel_spacing_mm": own})
    assert np.array_equal(masks_at_spacing(masks, table, 0), masks)
    resampled = masks_at_spacing(masks, table, 0.7)
    assert np.array_equal(resampled[1], disc)
    seen = to_spacing(hu, own, 0.7) > -450
    assert np.mean(resampled[0] != seen[0]) < 0.005
    assert resampled[0].sum() == pytest.approx(disc.sum() * (spacing / 0.7) ** 2, rel=0.05)


def test_a_lesion_in_the_mirrored_border_counts_once() -> None:
    masks = np.zeros((1, 64, 64), np.uint8)
    masks[0, :, :3] = 1
    resampled = masks_at_spacing(masks, pd.DataFrame({"pixel_spacing_mm": [0.5]}), 0.7)
    assert resampled.sum() < masks.sum()
    inside = np.flatnonzero(resampled[0].any(0))
    assert len(inside) <= 3
    assert inside.min() > 5  # the outer pixels repeat the crop
