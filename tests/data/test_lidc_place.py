"""LIDC's outlines lie on a slice only where its scanner put it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from lungvae_core.data.lidc_place import untouched
from lungvae_core.data.volumes.dicom import read_ct
from lungvae_core.errors import UserError
from tests.made_volumes import slice_file

SIDE = 128
DOWN, ACROSS = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
ROUND = DOWN**2 + ACROSS**2 <= (SIDE / 2) ** 2


def body(is_round: bool = True) -> np.ndarray:
    hu = np.random.default_rng(0).integers(-900, 300, (SIDE, SIDE)).astype(np.int16)
    return np.where(ROUND, hu, -2000).astype(np.int16) if is_round else hu


def read(hu: np.ndarray, **elements):
    return read_ct(io.BytesIO(slice_file(hu, **elements)), name="it")


SUPINE, PRONE = [1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]


@pytest.mark.parametrize(
    ("position", "axes", "tool"),
    [
        ("HFS", SUPINE, lambda hu: hu),
        ("FFS", SUPINE, lambda hu: hu),
        ("HFP", PRONE, lambda hu: hu),
        ("", SUPINE, lambda hu: hu),
        ("", PRONE, lambda hu: hu),
        ("HFS", [1, 0, 0, 0, -1, 0], lambda hu: hu[::-1]),
        ("HFS", [-1, 0, 0, 0, 1, 0], lambda hu: hu[:, ::-1]),
        ("", [-1, 0, 0, 0, 1, 0], lambda hu: hu[:, ::-1]),
        ("HFS", PRONE, lambda hu: hu[::-1, ::-1]),
        ("HFP", SUPINE, lambda hu: hu[::-1, ::-1]),
        ("HFS", [0, 1, 0, 1, 0, 0], lambda hu: hu.T),
    ],
)
def test_what_a_tool_turned_is_turned_back(position: str, axes: list[int], tool) -> None:
    hu = body()
    changed = read(np.ascontiguousarray(tool(hu)), PatientPosition=position, ImageOrientationPatient=axes)
    np.testing.assert_array_equal(untouched(*changed, "it"), hu)


@pytest.mark.parametrize("shift", [(40, 25), (-9, 3), (0, 64), (3, 0)])
def test_a_shifted_field_of_view_is_refused(shift: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="field of view shifted"):
        untouched(*read(np.roll(body(), shift, (0, 1))), "it")


def test_a_square_field_of_view_says_nothing_of_a_shift() -> None:
    hu = body(is_round=False)
    hu[:30] = -1024
    np.testing.assert_array_equal(untouched(*read(hu), "it"), hu)


def test_a_patient_on_a_side_is_refused() -> None:
    with pytest.raises(UserError, match="on a side"):
        untouched(*read(body(), PatientPosition="HFDL", ImageOrientationPatient=[0, 1, 0, -1, 0, 0]), "it")
