"""Images and masks lie by position, whatever order and grid their files store."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset

from lungvae_core.data.masks import read_mask
from lungvae_core.data.series import read_series
from lungvae_core.data.volumes.dicom import STRUCTURES
from lungvae_core.errors import UserError
from tests.data.conftest import file_of
from tests.made_series import written
from tests.made_volumes import (
    CORNER,
    GAP,
    HU,
    SIDE,
    SPACING,
    Files,
    affine,
    metaimage,
    nifti,
    npy,
    nrrd,
    slice_file,
    turned,
)  # fmt: skip

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
MASK = np.stack([(ROWS - 52) ** 2 + (COLUMNS - 40) ** 2 < 64] * 3)
AXES = {
    "supine": ("HFS", [1, 0, 0, 0, 1, 0]),
    "prone, feet first": ("FFP", [-1, 0, 0, 0, -1, 0]),
    "columns mirrored": ("HFS", [-1, 0, 0, 0, 1, 0]),
    "rows mirrored": ("HFS", [1, 0, 0, 0, -1, 0]),
}


def files(lies: str = "supine") -> Files:
    """A file a slice, stored as a scanner does for a patient who lies so."""
    position, axes = AXES[lies]
    stored, _, corner = turned(HU, (False, axes[4] < 0, axes[0] < 0))
    return [
        (
            f"{number}.dcm",
            slice_file(
                image,
                SOPInstanceUID=f"1.2.3.{number}",
                PatientPosition=position,
                ImageOrientationPatient=axes,
                ImagePositionPatient=[corner[0], corner[1], CORNER[2] + GAP * number],
            ),
        )
        for number, image in enumerate(stored)
    ]


@pytest.mark.parametrize("lies", AXES)
def test_dicom_and_nifti_of_one_scan_give_the_same_picture_and_the_mask_lies_on_it(lies: str) -> None:
    flips = (False, AXES[lies][1][4] < 0, AXES[lies][1][0] < 0)
    stored, axes, corner = turned(MASK.astype(np.uint8), flips)
    mask = gzip.compress(nifti(stored, affine(axes, tuple(corner))))
    image = nifti(turned(HU, flips)[0], affine(axes, tuple(corner)))
    series = read_series([*files(lies), ("mask.nii.gz", mask)])
    np.testing.assert_array_equal(series.hu, HU)
    np.testing.assert_array_equal(read_series([("a.nii", image)]).hu, HU)
    np.testing.assert_array_equal(read_mask(series.masks[0][1], "mask.nii.gz", series), MASK)
    np.testing.assert_array_equal(read_mask(npy(stored), "m.npy", series), MASK)  # drawn on the stored pixels


def label(volume: np.ndarray, place: np.ndarray) -> bytes:
    return nibabel.Nifti1Image(volume.transpose(2, 1, 0).astype(np.uint8), place).to_bytes()


def finer() -> np.ndarray:
    place = affine()
    place[:3, :2] /= 2
    place[:3, 3] -= (affine()[:3, 0] + affine()[:3, 1]) / 4
    return place


CUT = (CORNER[0] + 20 * SPACING, CORNER[1] + 30 * SPACING, CORNER[2])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.nii", label(MASK[:, 30:80, 20:70], affine(corner=CUT))),
        ("m.nii", label(MASK.repeat(2, 1).repeat(2, 2), finer())),
        ("m.nii", label(MASK.transpose(2, 1, 0), affine()[:, [2, 1, 0, 3]])),
        ("m.nii", label(MASK, affine(corner=(CORNER[0], CORNER[1], CORNER[2] + 1.2)))),
        ("m.nrrd", nrrd(MASK.astype(np.int16), packed=True)),
        ("m.mha", metaimage(MASK.astype(np.int16), packed=True)),
    ],
    ids=["cropped", "finer", "sagittal", "half a slice off", "NRRD", "MetaImage"],
)
def test_a_mask_of_another_grid_is_brought_onto_the_image(name: str, content: bytes) -> None:
    np.testing.assert_array_equal(read_mask(content, name, read_series(files())), MASK)


@pytest.mark.parametrize(
    ("place", "says"),
    [(np.eye(4), "does not say where it lies"), (affine(corner=(500, 500, 500)), "lies elsewhere")],
    ids=["identity", "far"],
)
def test_a_mask_that_lies_elsewhere_is_refused(place: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_mask(label(MASK, place), "m.nii", read_series(files()))


def structures(contours: list[np.ndarray]) -> bytes:
    """An RT structure set of these contours (points, 3) in mm."""
    structure, drawn = Dataset(), []
    for points in contours:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        contour.ContourData = [round(float(value), 3) for value in points.ravel()]
        drawn.append(contour)
    structure.ContourSequence = drawn
    return written(file_of(STRUCTURES, Modality="RTSTRUCT", ROIContourSequence=[structure]))


def circle(number: int, radius: float) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 90, endpoint=False)
    columns, rows = 40 + radius * np.cos(turn), 52 + radius * np.sin(turn)
    z = np.full_like(turn, CORNER[2] + GAP * number)
    return np.stack([CORNER[0] + SPACING * columns, CORNER[1] + SPACING * rows, z], 1)


@pytest.mark.parametrize("lies", AXES)
def test_contours_lie_by_position_with_holes_cut_out(lies: str) -> None:
    content = structures([circle(0, 7.9), circle(2, 7.9), circle(2, 3.9)])
    series = read_series([*files(lies), ("RS.dcm", content)])
    mask = read_mask(series.masks[0][1], "RS.dcm", series)
    assert not mask[1].any()
    assert (mask[0] ^ MASK[0]).sum() <= 4  # pixels on the outline itself
    assert mask[0][52, 40]
    assert not mask[2][52, 40]
    with pytest.raises(UserError, match="no closed contour"):
        read_mask(structures([circle(300, 7.9)]), "RS.dcm", series)
