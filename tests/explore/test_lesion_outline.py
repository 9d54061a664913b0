"""Outlines from a click: on a made lesion, through its slices, and on real ones beside the readers'."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.explore.lesion_outline import outline_nodule, outline_slice
from tests.made_series import MIDDLE, lesion


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize("off", [(0, 0), (3, 0), (-2, 2)])
def test_a_click_outlines_the_lesion_in_its_slice(off):
    hu, mask = lesion()
    at, row, column = MIDDLE
    outline = outline_slice(hu[at], row + off[0], column + off[1])
    assert outline.trusted
    assert outline.agreement > 0.9
    assert dice(outline.mask, mask[at]) > 0.9


def test_it_is_followed_through_the_slices_and_no_farther():
    hu, mask = lesion()
    hu[:, 51:54, 56:59] = 0  # a vessel beside it, that goes on
    outline = outline_nodule(hu, *MIDDLE, places_mm=2.5 * np.arange(len(hu)))
    inside = np.flatnonzero(mask.any((1, 2)))
    assert abs(outline.slices[0] - inside[0]) <= 1
    assert abs(outline.slices[-1] - inside[-1]) <= 1
    assert dice(outline.mask, mask) > 0.8
    assert f"slices {outline.slices[0] + 1} to {outline.slices[-1] + 1}" in outline.caption


def test_it_is_not_followed_across_missing_slices():
    hu, _ = lesion()
    places = 2.5 * np.arange(len(hu))
    places[MIDDLE[0] + 1 :] += 10
    assert outline_nodule(hu, *MIDDLE, places_mm=places).slices[-1] == MIDDLE[0]


def test_the_images_border_does_not_matter():
    hu, mask = lesion()
    cut = hu[MIDDLE[0], MIDDLE[1] - 12 :, MIDDLE[2] - 12 :]
    assert dice(outline_slice(cut, 12, 12).mask, mask[MIDDLE[0], MIDDLE[1] - 12 :, MIDDLE[2] - 12 :]) > 0.9


def test_where_nothing_stands_out_that_is_said():
    empty = np.random.default_rng(0).normal(-850, 5, (3, 128, 128)).astype(np.int16)
    with pytest.raises(UserError, match="No outline was found"):
        outline_nodule(empty, 1, 60, 60)


@pytest.mark.lidc
@pytest.mark.parametrize(("pixels", "least", "tenth"), [(0, 0.76, 0.52), (3, 0.72, 0.38)])
@pytest.mark.long
def test_on_real_slices_it_agrees_with_the_readers(lidc, pixels, least, tenth):
    """A Dice of 0.79 and 0.76 was measured on 800 slices, in one of ten below 0.59 and 0.45."""
    slices = np.load(lidc / "slices.npy", mmap_mode="r")
    masks = np.load(lidc / "masks.npy", mmap_mode="r")
    generator = np.random.default_rng(0)
    scores = []
    for row in np.sort(generator.choice(len(slices), 250, replace=False)):
        mask = np.unpackbits(masks[row]).reshape(64, 64).astype(bool)
        turn = generator.uniform(0, 2 * np.pi)
        middle = np.argwhere(mask).mean(0) + pixels * np.array([np.sin(turn), np.cos(turn)])
        scores.append(dice(outline_slice(np.asarray(slices[row]), *middle).mask, mask))
    assert np.mean(scores) > least
    assert np.quantile(scores, 0.1) > tenth
