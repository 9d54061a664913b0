"""Volumes lie where an independent reader says."""

from __future__ import annotations

import numpy as np

from lungvae_core.data.series import read_series
from tests.made_volumes import CORNER, GAP, HU, SPACING


def test_volumes_lie_where_simpleitk_says(tmp_path) -> None:
    """An independent reader of MetaImage and NRRD, written and read by the library itself."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(HU)
    image.SetSpacing((SPACING, SPACING, GAP))
    image.SetOrigin(CORNER)
    for direction in (
        (1, 0, 0, 0, 1, 0, 0, 0, 1),
        (-1, 0, 0, 0, -1, 0, 0, 0, 1),
        (0, 1, 0, 1, 0, 0, 0, 0, -1),
    ):
        image.SetDirection(direction)
        oriented = sitk.DICOMOrient(image, "LPS")
        upright = sitk.GetArrayFromImage(oriented)
        for name in ("a.mha", "a.nrrd", "a.nii.gz"):
            sitk.WriteImage(image, tmp_path / name, useCompression=True)
            series = read_series([(name, (tmp_path / name).read_bytes())])
            np.testing.assert_array_equal(series.hu, upright)
            np.testing.assert_allclose(series.grid.corners_mm[0], oriented.GetOrigin(), atol=1e-4)
        sitk.WriteImage(image, tmp_path / "b.mhd")
        two = [(name, (tmp_path / name).read_bytes()) for name in ("b.mhd", "b.raw")]
        np.testing.assert_array_equal(read_series(two).hu, upright)
