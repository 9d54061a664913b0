"""NIfTI: scale, unit of length and place; what contradicts itself is refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from lungvae_core.data.series import read_series
from lungvae_core.data.volumes.nifti import read_nifti
from lungvae_core.errors import UserError
from tests.made_volumes import CORNER, GAP, HU, SPACING, affine, nifti


def test_niftis_scale_is_read() -> None:
    image = nibabel.Nifti1Image(((HU.transpose(2, 1, 0) + 10) * 2).astype(np.int16), affine())
    image.header.set_slope_inter(0.5, -10)
    np.testing.assert_array_equal(read_series([("a.nii", image.to_bytes())]).hu, HU)


def placed(stack: np.ndarray = HU, *, qform: int = 0, unit: str = "mm") -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(stack.transpose(2, 1, 0), affine())
    image.header.set_qform(affine(), qform)
    image.header.set_xyzt_units(unit)
    return image


def test_the_place_is_dicoms_in_mm() -> None:
    volume = read_nifti(nifti(HU), "a.nii")
    assert volume.grid is not None
    np.testing.assert_allclose(volume.grid.corners_mm[0], CORNER, atol=1e-4)
    np.testing.assert_allclose(volume.grid.slice_mm, [0, 0, GAP], atol=1e-4)
    metres = read_nifti(nifti(HU, affine(unit=0.001), mm="meter"), "a.nii")
    assert metres.grid is not None
    np.testing.assert_allclose(metres.grid.corners_mm, volume.grid.corners_mm, rtol=1e-4)


def test_without_a_place_the_pixels_side_and_the_way_of_rows_are_reported() -> None:
    content = nifti(HU)
    without_codes = content[:252] + bytes(4) + content[256:]  # of qform and sform
    volume = read_nifti(without_codes, "a.nii")
    assert volume.grid is None
    assert volume.spacing_mm == pytest.approx(SPACING)
    assert "does not say how it lies in the patient" in volume.notes[0]
    np.testing.assert_array_equal(volume.levels, HU[:, ::-1])
    unknown = read_nifti(nifti(HU, np.eye(4)), "a.nii")
    assert unknown.spacing_mm is None
    assert unknown.notes[-1] == "The file does not say how far apart its pixels are."


def test_sform_and_qform_that_differ_are_refused() -> None:
    assert read_nifti(placed(qform=1).to_bytes(), "a.nii").grid is not None
    image = placed()
    image.header.set_qform(affine(corner=(-30.0, -20.0, 101.0)), 1)
    with pytest.raises(
        UserError, match="states its place twice, by sform and by qform, and they differ by 1"
    ):
        read_nifti(image.to_bytes(), "a.nii")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "cannot be read as NIfTI"),
        (nifti(HU)[:-1], "cannot be read as NIfTI"),
        (nifti(np.zeros((3, 4, 5), np.complex64)), "holds no grey values"),
        (nifti(HU)[:280] + bytes(48) + nifti(HU)[328:], "its affine is zero or damaged"),
        (nifti(HU).replace(b"n+1\0", b"ni1\0"), "half of a pair"),
        (nifti(HU)[:123] + b"\7" + nifti(HU)[124:], "in an unknown unit"),
    ],
    ids=["empty", "cut", "complex", "flat", "pair", "unit"],
)
def test_what_cannot_be_used_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(UserError, match=rf"^a\.nii .*{why}"):
        read_nifti(content, "a.nii")
