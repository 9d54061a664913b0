"""A lesion's mask beside its image: read, fitted to the image's slices, and where it puts the 64x64 box."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from scipy import ndimage

from lungvae_core.data.images import read_levels
from lungvae_core.data.series import SEGMENTATION, Series
from lungvae_core.errors import UserError

LEAST_PIXELS = 9  # slices with 8 mask pixels or fewer are left out of the paper's cohort
_CLOSE = 0.51  # pixels, or slice distances, by which a segmentation may lie beside the image's grid


def read_mask(content: bytes, name: str, series: Series) -> np.ndarray:
    """(slices, rows, columns) bool: a mask file on the slices of `series`.

    npy, NIfTI and png hold a mask of the image's own shape, in its order; whatever is not 0 is lesion, in a
    picture what is lighter than the middle. DICOM-SEG says by itself where it lies. Raises UserError for
    another shape, an empty mask and what cannot be read.
    """
    if content[128:132] == b"DICM":
        mask = _segmentation(content, name, series)
    else:
        levels = read_levels(content, name)
        if levels.dtype.kind not in "biuf":
            raise UserError(f"{name} holds {levels.dtype}, not a mask of numbers.")
        levels = levels[None] if levels.ndim == 2 else levels
        if levels.shape != series.hu.shape:
            raise UserError(
                f"{name} has the shape {_shape(levels)}, its image {_shape(series.hu)}. Give a mask of the "
                "image's own slices, rows and columns."
            )
        picture = name.lower().endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"))
        mask = levels > (levels.max() / 2 if picture else 0) if levels.size else levels > 0
    if not mask.any():
        raise UserError(f"{name} marks no pixel of this image. Choose the mask that belongs to it.")
    if mask.all():
        raise UserError(f"{name} marks every pixel. Choose a mask that outlines the lesion.")
    return mask


def lesion_of(mask: np.ndarray, at: tuple[int, int, int] | None = None) -> np.ndarray:
    """(slices, rows, columns) bool: one connected lesion of a mask, nearest to `at` (slice, row, column).

    The largest where `at` is None.
    """
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(mask))
    parts, count = ndimage.label(mask[box], np.ones((3, 3, 3)))
    if count < 2:
        return mask
    if at is None:
        wanted = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    else:
        corner = np.array([side.start for side in box])
        voxels = np.argwhere(parts)
        nearest = voxels[((voxels + corner - np.array(at)) ** 2).sum(1).argmin()]
        wanted = int(parts[tuple(nearest)])
    lesion = np.zeros_like(mask)
    lesion[box] = parts == wanted
    return lesion


def centres(mask: np.ndarray) -> dict[int, tuple[float, float]]:
    """For each slice with 9 pixels of lesion or more, the middle (row, column) of their bounding box.

    That is the paper's rule for the box. Where no slice has as many, those that have any.
    """
    counts = mask.sum(axis=(1, 2))
    found = np.flatnonzero(counts >= LEAST_PIXELS)
    if not len(found):
        found = np.flatnonzero(counts)
    places = {}
    for number in found:
        rows, columns = np.nonzero(mask[number])
        places[int(number)] = (
            (int(rows.min()) + int(rows.max())) / 2,
            (int(columns.min()) + int(columns.max())) / 2,
        )
    return places


def _segmentation(content: bytes, name: str, series: Series) -> np.ndarray:
    """All segments of a DICOM-SEG on the slices of `series`."""
    from pydicom import dcmread

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = dcmread(io.BytesIO(content))
            if data.SOPClassUID != SEGMENTATION:
                raise UserError(f"{name} is no DICOM segmentation. Give a mask as DICOM-SEG, NIfTI or npy.")
            rows, columns = int(data.Rows), int(data.Columns)
            frames = int(data.get("NumberOfFrames", 1))
            if (rows, columns) != series.hu.shape[1:]:
                raise UserError(
                    f"{name} has {rows}x{columns} pixels a slice, its image "
                    f"{series.hu.shape[1]}x{series.hu.shape[2]}. Export the segmentation on the image's grid."
                )
            if frames > 100 * len(series.hu):
                raise UserError(f"{name} has {frames:,} frames, far more than its image has slices.")
            places = [_slice_of(data, frame, series, name) for frame in range(frames)]
            pixels = np.asarray(data.pixel_array).reshape(frames, rows, columns)
    except UserError:
        raise
    except Exception as error:  # pydicom raises whatever a damaged file leads it to
        raise UserError(f"{name} is a damaged DICOM segmentation. Export it again.") from error
    mask = np.zeros(series.hu.shape, bool)
    for frame, place in enumerate(places):
        if place is not None:
            mask[place] |= pixels[frame] > (pixels.max() / 2 if pixels.max() > 1 else 0)
    return mask


def _slice_of(data: Any, frame: int, series: Series, name: str) -> int | None:
    """Which slice a frame belongs to, by the image it refers to, else by its place; None if to none."""
    own = data.PerFrameFunctionalGroupsSequence[frame]
    for derivation in own.get("DerivationImageSequence", []):
        for source in derivation.get("SourceImageSequence", []):
            uid = str(source.get("ReferencedSOPInstanceUID", ""))
            if uid in series.sop_uids:
                return series.sop_uids.index(uid)
    if series.corners_mm is None or "PlanePositionSequence" not in own:
        return None
    shared = data.SharedFunctionalGroupsSequence[0]
    holder = own if "PlaneOrientationSequence" in own else shared
    if "PlaneOrientationSequence" in holder and series.orientation is not None:
        turned = np.array(holder.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        if np.abs(turned - np.array(series.orientation)).max() > 1e-2:
            raise UserError(f"{name} lies turned against its image. Export it on the image's grid.")
    corner = np.array(own.PlanePositionSequence[0].ImagePositionPatient, float)
    away = np.linalg.norm(series.corners_mm - corner, axis=1)
    nearest = int(away.argmin())
    return nearest if away[nearest] <= _CLOSE * (series.spacing_mm or 1.0) else None


def _shape(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape))
