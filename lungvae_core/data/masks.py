"""A lesion's mask: read, resampled onto the image's pixels, and turned into the box of the crop.

A pixel is lesion where the mask is not 0, whatever its type. A mask with a position is resampled onto the
image's pixels (nearest neighbour), so it may have another grid, spacing, crop or orientation. One without,
such as npy and png, must have the image's own slices, rows and columns, in the image's order.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from scipy import ndimage

from lungvae_core.data.series import Series
from lungvae_core.data.slices import SIZE
from lungvae_core.data.volumes import dicom, formats
from lungvae_core.data.volumes.grid import Grid, check_axes, resample_labels, upright
from lungvae_core.errors import UserError
from lungvae_core.quiet import silence

LEAST_PIXELS = 9  # slices with 8 mask pixels or fewer are left out of the paper's cohort
MOST_OF_CROP, MOST_OF_IMAGE = 0.9, 0.5  # shares that a lesion can cover; crops hold up to 60 x 60 pixels
_CLOSE = 0.51  # slice distances by which a contour may lie off the slice that it is drawn on


def read_mask(content: bytes, name: str, series: Series) -> np.ndarray:
    """(slices, rows, columns) bool: a mask file on the slices of `series`.

    Raises UserError for a mask of another place or shape, an empty one, an image or probabilities instead of
    a mask, and an unreadable file.
    """
    content = formats.unpacked(content, name)
    if content[128:132] == b"DICM":
        mask = _of_dicom(content, name, series)
    else:
        volume = formats.read_volume(content, name, labels=True)
        labels = inside(volume.levels, name)
        if volume.grid is not None and series.grid is not None:
            mask = _by_position(labels, volume.grid, name, series)
        else:
            if series.grid is not None and volume.notes:  # of a format that states a place, and does not
                raise UserError(
                    f"{name} does not say where it lies, as its image does. Export it with its position, or "
                    "as an npy array of the image's own slices, rows and columns."
                )
            turned = labels
            if volume.grid is not None:
                turned = upright(volume.grid, labels.shape, name)[0].of(labels)
            mask = _as_stored(turned, name, series)
    if not mask.any():
        raise UserError(f"{name} marks no pixel of this image. Choose the mask that belongs to it.")
    if mask.all():
        raise UserError(f"{name} marks every pixel. Choose a mask that outlines the lesion.")
    if mask.mean() > (MOST_OF_CROP if mask.shape[1:] == (SIZE, SIZE) else MOST_OF_IMAGE):
        raise UserError(
            f"{name} marks {mask.mean():.0%} of the pixels: it is inside out, or outlines no lesion."
        )
    return mask


def inside(levels: np.ndarray, where: str) -> np.ndarray:
    """bool, of the shape of `levels`: True where not 0. UserError for numbers that are not labels."""
    if levels.dtype == bool:
        return levels
    if levels.dtype.kind not in "iuf":
        raise UserError(f"{where} holds {levels.dtype}, not a mask of numbers.")
    if levels.dtype.kind == "f":
        if not np.isfinite(levels).all():
            raise UserError(f"{where} holds values that are not numbers (NaN or infinite).")
        part = levels[levels != np.rint(levels)]
        if part.size:
            raise UserError(
                f"{where} holds fractions, such as {float(part[0]):.3g}: probabilities, not a mask. Save 1 "
                "where they are high enough for you, and 0 elsewhere."
            )
    if levels.size and float(levels.min()) < 0:
        raise UserError(
            f"{where} holds {float(levels.min()):g}: it is an image, not a mask. Choose the mask."
        )
    return levels != 0


def lesion_of(mask: np.ndarray, at: tuple[int, int, int] | None = None) -> np.ndarray:
    """(slices, rows, columns) bool: the lesion nearest to `at` (slice, row, column), or the largest."""
    box = tuple(slice(int(where.min()), int(where.max()) + 1) for where in np.nonzero(mask))
    parts, count = ndimage.label(mask[box], np.ones((3, 3, 3)))
    if count < 2:
        return mask
    if at is None:
        chosen = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    else:
        corner = np.array([side.start for side in box])
        voxels = np.argwhere(parts)
        nearest = voxels[((voxels + corner - np.array(at)) ** 2).sum(1).argmin()]
        chosen = int(parts[tuple(nearest)])
    lesion = np.zeros_like(mask)
    lesion[box] = parts == chosen
    return lesion


def centres(mask: np.ndarray) -> dict[int, tuple[float, float]]:
    """For each slice with 9 pixels of lesion or more, the middle (row, column) of their bounding box.

    That is the paper's rule for the box. If no slice has 9 pixels, all slices with any.
    """
    counts = mask.sum(axis=(1, 2))
    chosen = np.flatnonzero(counts >= LEAST_PIXELS)
    if not len(chosen):
        chosen = np.flatnonzero(counts)
    return {int(number): middle(mask[number]) for number in chosen}


def middle(mask: np.ndarray) -> tuple[float, float]:
    """(row, column) in the middle of the bounding box of a slice's mask, which is not empty."""
    rows, columns = np.nonzero(mask)
    return (int(rows.min()) + int(rows.max())) / 2, (int(columns.min()) + int(columns.max())) / 2


def _as_stored(labels: np.ndarray, name: str, series: Series) -> np.ndarray:
    """A mask that does not say where it lies: of the image's own shape."""
    shape = series.hu.shape if series.turn is None else series.turn.shape
    if labels.shape != shape:
        raise UserError(
            f"{name} has the shape {_shape(labels.shape)}, its image {_shape(shape)}. Give a mask of the "
            "image's own slices, rows and columns."
        )
    # On DICOM files a mask is drawn on the pixels that they store, which were turned.
    return labels if series.turn is None else series.turn.of(labels)


def _by_position(labels: np.ndarray, grid: Grid, name: str, series: Series) -> np.ndarray:
    """A mask on the image's pixels by where both lie; UserError where none of it lies on the image."""
    assert series.grid is not None
    if not labels.any():
        return labels
    check_axes(grid, name)
    mask = resample_labels(labels, grid, series.grid, series.hu.shape)
    if not mask.any():
        raise UserError(
            f"{name} lies elsewhere than its image: by their positions, none of it is on the image's slices. "
            "Choose the mask of this scan, or export it with its image's geometry."
        )
    return mask


# --- DICOM --------------------------------------------------------------------


def _of_dicom(content: bytes, name: str, series: Series) -> np.ndarray:
    """A DICOM segmentation or structure set on the slices of `series`."""
    from pydicom import dcmread

    silence(module="pydicom")
    try:
        data = dcmread(io.BytesIO(content))
        if data.SOPClassUID == dicom.STRUCTURES:
            return _structures(data, name, series)
        if data.SOPClassUID == dicom.SEGMENTATION:
            return _segmentation(data, name, series)
    except UserError:
        raise
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise UserError(f"{name} is a damaged DICOM segmentation. Export it again.") from error
    raise UserError(f"{name} is no DICOM segmentation. Give a mask as {formats.MASKS}.")


def _segmentation(data: Any, name: str, series: Series) -> np.ndarray:
    """All segments of a DICOM-SEG on the slices of `series`, by position or by the images named."""
    rows, columns = int(data.Rows), int(data.Columns)
    frames = int(data.get("NumberOfFrames", 1))
    if frames > 100 * len(series.hu):
        raise UserError(f"{name} has {frames:,} frames, far more than its image has slices.")
    if str(data.get("SegmentationType", "BINARY")) == "FRACTIONAL":
        raise UserError(f"{name} holds fractions, not a mask. Export it as a binary segmentation.")
    pixels = np.asarray(data.pixel_array).reshape(frames, rows, columns) != 0
    own = data.PerFrameFunctionalGroupsSequence
    shared = data.SharedFunctionalGroupsSequence[0] if "SharedFunctionalGroupsSequence" in data else {}
    placed = series.grid is not None and all("PlanePositionSequence" in frame for frame in own)
    if placed:
        mask = np.zeros(series.hu.shape, bool)
        for number, grid in enumerate(_frame_grids(own, shared, series, frames)):
            mask |= resample_labels(pixels[[number]], grid, series.grid, series.hu.shape)  # type: ignore[arg-type]
        if not mask.any() and pixels.any():
            raise UserError(f"{name} lies elsewhere than its image. Choose the segmentation of this scan.")
        return mask
    shape = series.hu.shape if series.turn is None else series.turn.shape
    if (rows, columns) != shape[1:]:
        raise UserError(
            f"{name} has {rows}x{columns} pixels a slice, its image "
            f"{shape[1]}x{shape[2]}. Export the segmentation with positions."
        )
    mask = np.zeros(shape, bool)
    for number, frame in enumerate(own):
        place = _referred(frame, series)
        if place is not None:
            mask[place] |= pixels[number]
    return _as_stored(mask, name, series)


def _frame_grids(own: Any, shared: Any, series: Series, frames: int) -> list[Grid]:
    """Each frame's own grid, one slice thick."""

    def group(frame: Any, name: str) -> Any:
        """A group of the frame's own, or of all frames; None where there is none."""
        holder = frame if name in frame else shared
        return holder[name][0] if name in holder else None

    assert series.grid is not None
    grids = []
    for frame in (own[number] for number in range(frames)):
        corner = np.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
        spacing = series.grid.spacing_mm
        axes = np.concatenate([series.grid.column_mm, series.grid.row_mm]) / spacing[0]
        if (orientation := group(frame, "PlaneOrientationSequence")) is not None:
            axes = np.array(orientation.ImageOrientationPatient, float)
        if (measures := group(frame, "PixelMeasuresSequence")) is not None:
            spacing = tuple(float(side) for side in measures.PixelSpacing)  # type: ignore[assignment]
        grids.append(Grid(corner[None], axes[3:] * spacing[0], axes[:3] * spacing[1]))
    return grids


def _referred(frame: Any, series: Series) -> int | None:
    """The slice whose image a frame refers to, or None."""
    for derivation in frame.get("DerivationImageSequence", []):
        for source in derivation.get("SourceImageSequence", []):
            uid = str(source.get("ReferencedSOPInstanceUID", ""))
            if series.sop_uids.count(uid) == 1:
                return series.sop_uids.index(uid)
    return None


def _structures(data: Any, name: str, series: Series) -> np.ndarray:
    """The closed contours of an RT structure set, by position, on the slices of `series`, less holes."""
    from skimage.draw import polygon2mask

    if series.grid is None:
        raise UserError(f"The image does not say where it lies, so that {name} cannot be put onto it.")
    grid = series.grid
    axes = np.array([grid.row_mm, grid.column_mm])
    places = grid.places_mm
    apart = float(np.median(np.diff(places))) if len(places) > 1 else grid.spacing_mm[0]
    mask = np.zeros(series.hu.shape, bool)
    for structure in data.get("ROIContourSequence", []):
        own = np.zeros_like(mask)
        for contour in structure.get("ContourSequence", []):
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            if len(points) < 3 or not str(contour.get("ContourGeometricType", "")).startswith("CLOSED"):
                continue
            away = points @ grid.normal
            if np.ptp(away) > apart:
                raise UserError(
                    f"{name} is drawn across the image's slices. Export it on the image's own slices."
                )
            at = int(np.abs(places - away.mean()).argmin())
            if abs(places[at] - away.mean()) > _CLOSE * apart:
                continue
            pixels = (points - grid.corners_mm[at]) @ np.linalg.pinv(axes)
            own[at] ^= polygon2mask(mask.shape[1:], pixels)
        mask |= own
    if not mask.any():
        raise UserError(
            f"{name} has no closed contour on the slices of this image. Choose the one that belongs to it."
        )
    return mask


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
