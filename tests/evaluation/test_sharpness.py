"""A blurred picture is visible in a number: power of detail, HU inside the lesion, its margin."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import wasserstein_distance

from lungvae_core.evaluation.reconstruction import compare, summarise
from lungvae_core.evaluation.sharpness import BANDS, sharpness
from tests.conftest import blobs

WINDOW = (-1000.0, 400.0)


def slices(count: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """((count, 64, 64) 0..1 of the window, masks) of discs with soft edges in noise."""
    hu, masks, _ = blobs(5 * count)
    soft = gaussian_filter(hu[::5].astype(float), (0, 0.7, 0.7))
    return np.clip((soft + 1000) / 1400, 0, 1).astype(np.float32), masks[::5]


def summary(x: np.ndarray, y: np.ndarray, masks: np.ndarray) -> dict:
    frame = compare(torch.tensor(x)[:, None], torch.tensor(y)[:, None], masks, WINDOW)
    where = {"row": range(len(x)), "patient_id": [f"P{at}" for at in range(len(x))], "diameter_mm": 9.0}
    return summarise(pd.DataFrame(where).join(frame), WINDOW, resamples=20)


def test_a_slice_is_as_sharp_as_itself() -> None:
    x, masks = slices()
    result = summary(x, x, masks)
    assert result["whole"]["fine_power"]["value"] == pytest.approx(1)
    assert result["inside_mask"]["margin"]["value"] == pytest.approx(1)
    assert result["inside_mask"]["histogram_hu"]["value"] == 0
    assert [band["value"] for band in result["spectrum"]] == pytest.approx([1] * len(BANDS))
    assert result["by_size"][0]["inside_margin"]["value"] == pytest.approx(1)
    assert not any(name.startswith("power_") for name in result["by_size"][0])


def test_the_more_blurred_the_lower_and_finest_detail_goes_first() -> None:
    x, masks = slices()
    blurred = [summary(x, gaussian_filter(x, (0, sigma, sigma)), masks) for sigma in (0.6, 1.2, 2.4)]
    for figure in ("fine_power", "margin"):
        values = [(one["whole"] | one["inside_mask"])[figure]["value"] for one in blurred]
        assert 1 > values[0] > values[1] > values[2] > 0
    powers = [band["value"] for band in blurred[1]["spectrum"]]
    assert powers[0] > 0.8
    assert all(first > second for first, second in itertools.pairwise(powers[:6]))
    assert blurred[2]["inside_mask"]["margin"]["value"] < 0.5
    # SSIM alone would not tell it from noise that leaves every edge where it is.
    noise = x + np.random.default_rng(0).normal(0, 0.03, x.shape).astype(np.float32)
    assert summary(x, noise, masks)["inside_mask"]["margin"]["value"] > 0.95
    assert summary(x, noise, masks)["whole"]["fine_power"]["value"] > 1


def test_what_is_not_the_slices_own_detail_is_invented() -> None:
    x = np.random.default_rng(0).normal(0.5, 0.1, (40, 64, 64))
    other = np.random.default_rng(1).normal(0, 0.1, x.shape)

    def invented(y: np.ndarray) -> float:
        columns = sharpness(x, y, np.zeros(x.shape), WINDOW)
        return columns["fine_invented_drawn"].mean() / columns["fine_invented_real"].mean()

    assert invented(x) == pytest.approx(0, abs=1e-9)
    assert invented(0.5 + 0.3 * (x - 0.5)) == pytest.approx(0, abs=1e-9)  # faint, but nothing else
    assert invented(0.5 + other) == pytest.approx(1, abs=0.01)
    for share in (0.2, 0.6):
        mixed = 0.5 + np.sqrt(1 - share) * (x - 0.5) + np.sqrt(share) * other
        assert invented(mixed) == pytest.approx(share, abs=0.03)


def test_a_blur_takes_from_the_spectrum_what_its_formula_says() -> None:
    x = np.random.default_rng(0).normal(0.5, 0.1, (50, 64, 64))
    sigma = 0.8
    result = sharpness(x, gaussian_filter(x, (0, sigma, sigma), mode="wrap"), np.zeros(x.shape), WINDOW)
    for number, (low, high) in enumerate(BANDS[1:6], 1):
        ratio = result[f"power_{number}_drawn"].mean() / result[f"power_{number}_real"].mean()
        at = np.linspace(low, high, 50)
        assert ratio == pytest.approx(np.average(np.exp(-4 * (np.pi * sigma * at) ** 2), weights=at), rel=0.1)
    assert np.isnan(result["inside_histogram"]).all()
    assert np.isnan(result["inside_margin_real"]).all()


def test_the_histogram_distance_is_scipys_and_knows_no_place() -> None:
    x, masks = slices(6)
    y = np.clip(x * 0.8 + 0.1, 0, 1)
    result = sharpness(x, y, masks, WINDOW)["inside_histogram"]
    inside = masks > 0
    expected = [wasserstein_distance(a[m], b[m]) for a, b, m in zip(x, y, inside, strict=True)]
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    turned = np.where(inside, x[:, ::-1], x)  # discs: the same values elsewhere in the lesion
    assert sharpness(x, turned, masks, WINDOW)["inside_histogram"].max() < 0.01


def test_a_lesion_without_lung_beside_it_has_no_margin() -> None:
    x, masks = slices(2)
    x[0] = 0.9
    result = sharpness(x, x, masks, WINDOW)
    assert np.isnan(result["inside_margin_real"][0])
    assert result["inside_margin_real"][1] > 50  # HU a pixel
