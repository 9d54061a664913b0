"""Percentile intervals without the resamples that gave no figure, and Wilson's against published ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lungvae_core.statistics.intervals import nan_as_none, percentile_interval, percentiles, wilson


def test_percentiles_leave_out_resamples_without_a_figure() -> None:
    drawn = np.random.default_rng(0).normal(0, 1, (500, 3, 2))
    assert np.array_equal(percentiles(drawn), np.percentile(drawn, [2.5, 97.5], axis=0))
    drawn[::3, 1, 0] = np.nan
    drawn[1, 1, 0] = np.inf
    drawn[:, 2, 1] = np.nan
    ends = percentiles(drawn)
    given = drawn[np.isfinite(drawn[:, 1, 0]), 1, 0]
    assert np.array_equal(ends[:, 1, 0], np.percentile(given, [2.5, 97.5]))
    assert np.isnan(ends[:, 2, 1]).all()
    assert np.isnan(ends).sum() == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("drawn", [np.empty(0), np.full(9, np.nan), np.full(9, np.inf)])
def test_interval_without_a_resample_has_no_ends(drawn: np.ndarray) -> None:
    interval = percentile_interval(0.5, drawn)
    assert nan_as_none(interval) == {"value": 0.5, "low": None, "high": None}


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(1, 500))
def test_wilsons_interval_holds_the_share(share: float, count: int) -> None:
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    assert high > low


def test_wilsons_interval_is_the_published_one() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20.
    for cases, count, expected in (
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0, 0.1611)),
    ):
        assert np.allclose(wilson(cases / count, count), expected, atol=1e-4)
    assert np.isnan(wilson(float("nan"), 5)).all()
    assert np.isnan(wilson(0.5, 0)).all()
