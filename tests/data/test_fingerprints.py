"""Slices are recognised after what other tools do to them, and other slices are not taken for them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from lungvae_core.data.fingerprints import AGREEMENT, BYTES, fingerprints, same_slices

Change = Callable[[np.ndarray], np.ndarray]


def textures(count: int, seed: int = 0, size: int = 72) -> np.ndarray:
    """Images (N, size, size) int16 HU of lung with vessels, as a smoothed random field."""
    generator = np.random.default_rng(seed)
    fields = sum(
        gaussian_filter(generator.normal(size=(count, size, size)), (0, s, s)) * s for s in (1, 2, 4)
    )
    return np.rint(fields / np.std(fields) * 250 - 600).astype(np.int16)


def crop(images: np.ndarray, rows: int = 0, columns: int = 0) -> np.ndarray:
    """64x64 of images (N, 72, 72), moved from the middle."""
    return images[:, 4 + rows : 68 + rows, 4 + columns : 68 + columns]


def eight_bits(hu: np.ndarray, low: float, high: float) -> np.ndarray:
    grey = np.rint((np.clip(hu, low, high) - low) / (high - low) * 255)
    return np.rint(grey / 255 * (high - low) + low)


def resampled(images: np.ndarray) -> np.ndarray:
    """Images a little magnified, cropped to 64x64."""
    larger = zoom(images.astype(float), (1, 1.03, 1.03), order=1)
    start = (larger.shape[1] - 64) // 2
    return larger[:, start : start + 64, start : start + 64]


CHANGES: dict[str, Change] = {
    "nothing": crop,
    "8 bits of a lung window": lambda images: eight_bits(crop(images), -1350, 150),
    "8 bits of 9 HU a step": lambda images: eight_bits(crop(images), -1000, 1300),
    "an offset": lambda images: crop(images) + 20,
    "noise": lambda images: crop(images) + np.random.default_rng(5).normal(0, 8, (len(images), 64, 64)),
    "another centre": lambda images: crop(images, 1, -2),
    "upside down": lambda images: crop(images)[:, ::-1],
    "left to right": lambda images: crop(images)[:, :, ::-1],
    "turned by a quarter": lambda images: np.rot90(crop(images), 1, (1, 2)),
    "turned by a half": lambda images: np.rot90(crop(images), 2, (1, 2)),
    "axes exchanged": lambda images: crop(images).transpose(0, 2, 1),
    "mirrored, moved and in 8 bits": lambda images: eight_bits(crop(images, 2, 1)[:, ::-1], -1000, 400),
    "resampled": resampled,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_slice_is_found_again(change: str) -> None:
    images = textures(20)
    pairs = same_slices(CHANGES[change](images), fingerprints(crop(images)))
    assert sorted(zip(pairs["row"], pairs["other"], strict=True)) == [(at, at) for at in range(20)]


def test_other_slices_are_not() -> None:
    pairs = same_slices(crop(textures(100)), fingerprints(crop(textures(100, seed=1))), agreement=0.75)
    assert pairs.empty


def test_a_fingerprint_is_64_bytes_and_always_the_same() -> None:
    slices = crop(textures(3))
    prints = fingerprints(slices)
    assert prints.shape == (3, BYTES)
    assert prints.dtype == np.uint8
    assert np.array_equal(prints, fingerprints(slices))


def test_slices_without_structure_are_nobodys() -> None:
    flat = np.stack([np.full((64, 64), -1000, np.int16), np.full((64, 64), 3000, np.int16)])
    assert not fingerprints(flat).any()
    assert same_slices(flat, fingerprints(flat)).empty
    assert same_slices(crop(textures(2)), fingerprints(flat)).empty


def test_nothing_is_compared_with_nothing() -> None:
    none = np.empty((0, 64, 64), np.int16)
    assert fingerprints(none).shape == (0, BYTES)
    assert same_slices(none, fingerprints(crop(textures(2)))).empty
    assert same_slices(crop(textures(2)), fingerprints(none)).empty


@pytest.mark.lidc
def test_no_slice_of_one_patient_is_taken_for_another_patients(lidc) -> None:  # type: ignore[no-untyped-def]
    import pandas as pd

    table = pd.read_csv(lidc / "slices.csv", usecols=["patient_id"])
    rows = np.flatnonzero(table["patient_id"].isin(table["patient_id"].unique()[::6]))
    slices = np.load(lidc / "slices.npy", mmap_mode="r")[rows]
    patients = table["patient_id"].to_numpy()[rows]
    pairs = same_slices(slices, fingerprints(slices), agreement=AGREEMENT)
    assert (patients[pairs["row"]] == patients[pairs["other"]]).all()
    assert set(range(len(rows))) == set(pairs.loc[pairs["row"] == pairs["other"], "row"])
