"""Share of fine detail at the ends of walks."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.explore.measured.detail import fine_share, growth


def waves(hu: float, period: float = 3) -> np.ndarray:
    """(1, 64, 64) waves of 12 pixels and 100 HU, and of that period in pixels and that height in HU."""
    columns = 2 * np.pi * np.arange(64) * np.ones((1, 64, 1))
    return 100 * np.cos(columns / 12) + hu * np.cos(columns / period) - 500


def test_it_is_the_power_under_four_pixels_over_that_of_8_to_16() -> None:
    assert fine_share(waves(50))[0] == pytest.approx(0.25, rel=0.1)
    assert fine_share(waves(50, period=5))[0] < 0.01


def test_a_brighter_lesion_has_the_same_share() -> None:
    assert fine_share(3 * waves(50)) == pytest.approx(fine_share(waves(50)), rel=0.01)


def test_detail_at_the_rim_of_a_slice_does_not_count() -> None:
    rim = waves(50)
    rim[:, 16:48, 16:48] = waves(0)[:, 16:48, 16:48]
    assert fine_share(rim)[0] < 0.01


def test_growth_is_that_of_the_typical_start_at_both_ends() -> None:
    starts = np.concatenate([waves(50), waves(20), waves(30)])
    ends = np.concatenate([waves(100), waves(40), waves(30)])
    walks = np.stack([starts, starts, ends], axis=1).reshape(-1, 64, 64)
    assert growth(walks, fine_share(starts), 3) == pytest.approx([1, 4], rel=0.02)
