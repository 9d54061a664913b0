"""One image file of any supported kind as HU, and the 64x64 crop around a position in it.

npy holds HU, unless a range is stated; png holds grey levels, so a range must be stated; DICOM and NIfTI
carry their own scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungvae_core.data.slices import SIZE
from lungvae_core.errors import UserError

AIR = -1000  # HU, what a crop sees beyond the image
LOWEST, HIGHEST = -1024, 3071  # HU, what 12 bits of a CT hold
MOST_PIXELS = 4096 * 4096
KINDS = ".npy, .png, DICOM (.dcm) or NIfTI (.nii, .nii.gz)"


@dataclass(frozen=True)
class ImageFile:
    """An image as read: a slice (rows, columns) or a stack of them (slices, rows, columns)."""

    hu: np.ndarray  # int16
    spacing_mm: float | None = None  # within the slice
    patient_id: str = ""
    series_uid: str = ""
    z_mm: float | None = None


def read_image(path: Path, *, hu_range: tuple[float, float] | None = None) -> ImageFile:
    """Read an image; `hu_range` says which HU a png's or npy's least and greatest grey level stand for.

    Raises UserError for a missing file, an unknown kind, a png without a range, and damaged content.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no image at {path}.")
    name = path.name.lower()
    if name.endswith(".npy"):
        return _read_npy(path, hu_range)
    if name.endswith((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")):
        return _read_png(path, hu_range)
    if name.endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    if name.endswith((".dcm", ".dicom", ".ima")) or _is_dicom(path):
        from lungvae_core.data.dicom import read_ct

        hu, meta = read_ct(path)
        return ImageFile(hu, meta.pixel_spacing_mm, meta.patient_id, meta.series_uid, meta.z_mm)
    raise UserError(f"{path} is of no kind that is read here. Give {KINDS}.")


def crop(hu: np.ndarray, row: float, column: float, *, where: str = "The image") -> np.ndarray:
    """(64, 64) int16 around a lesion's centre by the paper's rule, beyond the image filled with air.

    The first row is floor(row - 31), less 1 where row is whole; likewise the columns.
    Raises UserError when the centre is outside the image.
    """
    rows, columns = hu.shape
    if not (0 <= row < rows and 0 <= column < columns):
        raise UserError(
            f"{where} has {rows} rows and {columns} columns; the position ({row:g}, {column:g}) is outside."
        )
    first = [math.floor(c - 31) - (float(c).is_integer()) for c in (row, column)]
    patch = np.full((SIZE, SIZE), AIR, np.int16)
    top, left = max(first[0], 0), max(first[1], 0)
    bottom, right = min(first[0] + SIZE, rows), min(first[1] + SIZE, columns)
    patch[top - first[0] : bottom - first[0], left - first[1] : right - first[1]] = hu[top:bottom, left:right]
    return patch


def patch_of(
    image: ImageFile, *, row: float | None, column: float | None, slice_index: int | None = None, where: str
) -> np.ndarray:
    """(64, 64) int16: the image itself when it is 64x64 and no position is given, else a crop around one.

    `slice_index` chooses from a stack. Raises UserError when the position or index is missing or outside.
    """
    hu = image.hu
    if hu.ndim == 3:
        if len(hu) == 1 and slice_index is None:
            slice_index = 0
        if slice_index is None:
            raise UserError(f"{where} holds {len(hu)} slices. Say which one, counting from 0.")
        if not 0 <= slice_index < len(hu):
            raise UserError(f"{where} holds slices 0 to {len(hu) - 1}; there is no slice {slice_index}.")
        hu = hu[slice_index]
    if row is None and column is None:
        if hu.shape == (SIZE, SIZE):
            return hu
        raise UserError(
            f"{where} is {hu.shape[0]}x{hu.shape[1]} pixels. Give the lesion's position (row and column), "
            f"or an image of {SIZE}x{SIZE} with the lesion in its middle."
        )
    if row is None or column is None:
        raise UserError(f"{where}: the lesion's position needs a row and a column.")
    return crop(hu, row, column, where=where)


def to_hu(levels: np.ndarray, hu_range: tuple[float, float], span: tuple[float, float]) -> np.ndarray:
    """int16 HU of grey levels, the least and greatest of `span` standing for those of `hu_range`."""
    low, high = hu_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"The HU range {low:g} to {high:g} is empty; give the lower value first.")
    scaled = low + (levels.astype(np.float64) - span[0]) * (high - low) / (span[1] - span[0])
    return as_int16(scaled)


def as_int16(hu: np.ndarray) -> np.ndarray:
    """HU rounded to int16 and held to what a CT's 12 bits can say."""
    return np.clip(np.rint(hu), LOWEST, HIGHEST).astype(np.int16)


def load_array(path: Path) -> np.ndarray:
    """An npy file's array, memory-mapped; never a pickle. UserError when missing or damaged."""
    if not path.is_file():
        raise UserError(f"There is no file at {path}.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is not a readable npy array: it is damaged or holds objects.") from error


def _read_npy(path: Path, hu_range: tuple[float, float] | None) -> ImageFile:
    array = load_array(path)
    if array.ndim not in (2, 3) or array.size == 0:
        raise UserError(f"{path} has the shape {array.shape}; a slice or a stack of slices is needed.")
    if array.shape[-1] * array.shape[-2] > MOST_PIXELS or array.size > 64 * MOST_PIXELS:
        raise UserError(f"{path} is too large: {array.shape}.")
    if array.dtype.kind not in "iuf":
        raise UserError(f"{path} holds {array.dtype}, not numbers.")
    values = np.asarray(array)
    if not np.isfinite(values).all():
        raise UserError(f"{path} holds values that are not numbers (NaN or infinite).")
    if hu_range is not None:
        # Floats in 0..1 are normalised images; integers span their type.
        top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
        return ImageFile(to_hu(values, hu_range, (0.0, top)))
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        raise UserError(
            f"{path} holds values between 0 and 1, which are not HU. State the HU range that they stand for."
        )
    if values.dtype == np.uint8:
        raise UserError(f"{path} holds 8-bit grey levels. State the HU range that 0 to 255 stand for.")
    return ImageFile(as_int16(values))


def _read_png(path: Path, hu_range: tuple[float, float] | None) -> ImageFile:
    from PIL import Image, UnidentifiedImageError

    if hu_range is None:
        raise UserError(
            f"{path} holds grey levels, not HU. State the HU range that black and white stand for, "
            "for example -1000 and 400."
        )
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UserError(f"{path} is too large: {picture.width}x{picture.height} pixels.")
            deep = picture.mode in ("I", "I;16", "I;16B", "I;16L")
            levels = np.asarray(picture if deep else picture.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read as an image: it is damaged or of another kind.") from error
    return ImageFile(to_hu(levels, hu_range, (0.0, 65535.0 if deep else 255.0)))


def _read_nifti(path: Path) -> ImageFile:
    try:
        import nibabel
    except ImportError as error:
        raise UserError(
            'Reading NIfTI needs nibabel: install it with pip install "lungvae[nifti]".'
        ) from error
    try:
        volume = nibabel.load(path)
        # Canonical is right-anterior-superior; CT slices are shown with rows to posterior, columns to left.
        volume = nibabel.as_closest_canonical(volume)
        data = np.asarray(volume.dataobj)
        spacing = float(volume.header.get_zooms()[0])
    except Exception as error:  # nibabel raises many kinds on damaged input
        raise UserError(f"{path} cannot be read as NIfTI: it is damaged or of another kind.") from error
    if data.ndim != 3:
        raise UserError(f"{path} has {data.ndim} dimensions; a single CT volume is needed.")
    if not np.isfinite(data).all():
        raise UserError(f"{path} holds values that are not numbers (NaN or infinite).")
    return ImageFile(as_int16(data.transpose(2, 1, 0)[:, ::-1, ::-1]), spacing)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"
