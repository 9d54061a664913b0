"""One image file of any supported kind as HU, and the 64x64 crop around a position in it.

npy holds HU, unless a range is stated; png holds grey levels, so a range must be stated; DICOM and NIfTI
carry their own scale. A file may be a path, or bytes that never touch the disk, such as an upload.
"""

from __future__ import annotations

import gzip
import io
import math
import tokenize
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lungvae_core.data.slices import SIZE
from lungvae_core.errors import UserError

AIR = -1000  # HU, what a crop sees beyond the image
MOST_PIXELS = 4096 * 4096
MOST_BYTES = 2**30  # of an unpacked upload; a few megabytes of gzip can hold a terabyte of zeros
GREY_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
KINDS = ".npy, .png, DICOM (.dcm) or NIfTI (.nii, .nii.gz)"


@dataclass(frozen=True)
class ImageFile:
    """An image as read: a slice (rows, columns) or a stack of them (slices, rows, columns)."""

    hu: np.ndarray  # int16
    spacing_mm: float | None = None  # within the slice; None where the file does not tell, as npy and png
    patient_id: str = ""
    series_uid: str = ""
    z_mm: float | None = None


def read_image(
    source: str | Path | bytes | BinaryIO,
    *,
    name: str | None = None,
    hu_range: tuple[float, float] | None = None,
) -> ImageFile:
    """Read an image; `hu_range` says which HU a png's or npy's least and greatest grey level stand for.

    `source` is a path, or the file's bytes, or an open binary file, which stay in memory; `name` tells the
    kind of bytes by its ending and stands for the file in messages.
    Raises UserError for a missing file, an unknown kind, a png without a range, and damaged content.
    """
    file: Path | BinaryIO
    if isinstance(source, (str, Path)):
        file, where = Path(source), str(source)
        if not file.is_file():
            raise UserError(f"There is no image at {where}.")
    else:
        content = source if isinstance(source, bytes) else source.read()
        file, where = io.BytesIO(content), name or str(getattr(source, "name", "The file"))
        if not content:
            raise UserError(f"{where} is empty. Choose another file.")
    kind = where.lower()
    if kind.endswith(".npy"):
        return _read_npy(file, where, hu_range)
    if kind.endswith(GREY_SUFFIXES):
        return _read_png(file, where, hu_range)
    if kind.endswith((".nii", ".nii.gz")):
        return _read_nifti(file, where)
    if kind.endswith((".dcm", ".dicom", ".ima")) or _is_dicom(file):
        from lungvae_core.data.dicom import read_ct

        hu, meta = read_ct(file, name=where)
        return ImageFile(hu, meta.pixel_spacing_mm, meta.patient_id, meta.series_uid, meta.z_mm)
    raise UserError(f"{where} is of no kind that is read here. Give {KINDS}.")


def read_levels(content: bytes, name: str) -> np.ndarray:
    """The numbers of an npy, png or NIfTI file as they are, as of a mask; slices as `read_image` orders them.

    Raises UserError for an unknown kind and damaged content.
    """
    kind, file = name.lower(), io.BytesIO(content)
    if not content:
        raise UserError(f"{name} is empty. Choose another file.")
    if kind.endswith(".npy"):
        return _parse_array(file, name)
    if kind.endswith(GREY_SUFFIXES):
        return _grey_levels(file, name)[0]
    if kind.endswith((".nii", ".nii.gz")):
        return _nifti(file, name)[0]
    raise UserError(f"{name} is of no kind that is read here. Give .npy, .png, NIfTI or DICOM-SEG.")


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
    """HU rounded to int16; scanners' padding, as -2000, stays what it is."""
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(hu), limits.min, limits.max).astype(np.int16)


def load_array(path: Path) -> np.ndarray:
    """An npy file's array, memory-mapped; never a pickle. UserError when missing or damaged."""
    if not path.is_file():
        raise UserError(f"There is no file at {path}.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path} is not a readable npy array: it is damaged or holds objects. Save it again."
        ) from error


def _parse_array(stream: BinaryIO, where: str) -> np.ndarray:
    """An npy file's array from memory; its header is believed only as far as there are bytes behind it."""
    try:
        version = np.lib.format.read_magic(stream)
        header: Any = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            header = np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = header(stream)
        if dtype.hasobject:
            raise ValueError("objects")
        if dtype.subdtype is not None:
            raise ValueError("arrays in an array")
        content = stream.read()
        if math.prod(shape) * dtype.itemsize > len(content):
            raise ValueError("truncated")
        array = np.frombuffer(content, dtype, math.prod(shape))
    # numpy reads the header as Python's own text, and lets its tokeniser's errors through.
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, tokenize.TokenError) as error:
        raise UserError(
            f"{where} is not a readable npy array: it is damaged or holds objects. Save it again."
        ) from error
    return array.reshape(shape, order="F" if columns_first else "C")


def _read_npy(file: Path | BinaryIO, where: str, hu_range: tuple[float, float] | None) -> ImageFile:
    array = load_array(file) if isinstance(file, Path) else _parse_array(file, where)
    if array.ndim not in (2, 3) or array.size == 0:
        raise UserError(f"{where} has the shape {array.shape}; a slice or a stack of slices is needed.")
    if array.shape[-1] * array.shape[-2] > MOST_PIXELS or array.size > 64 * MOST_PIXELS:
        raise UserError(f"{where} is too large: {array.shape}.")
    if array.dtype.kind not in "iuf":
        raise UserError(f"{where} holds {array.dtype}, not numbers.")
    values = np.asarray(array)
    if not np.isfinite(values).all():
        raise UserError(f"{where} holds values that are not numbers (NaN or infinite).")
    if hu_range is not None:
        # Floats in 0..1 are normalised images; integers span their type.
        top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
        return ImageFile(to_hu(values, hu_range, (0.0, top)))
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        raise UserError(
            f"{where} holds values between 0 and 1, which are not HU. State the HU range that they stand for."
        )
    if values.dtype == np.uint8:
        raise UserError(f"{where} holds 8-bit grey levels. State the HU range that 0 to 255 stand for.")
    return ImageFile(as_int16(values))


def _read_png(file: Path | BinaryIO, where: str, hu_range: tuple[float, float] | None) -> ImageFile:
    if hu_range is None:
        raise UserError(
            f"{where} holds grey levels, not HU. State the HU range that black and white stand for, "
            "for example -1000 and 400."
        )
    levels, top = _grey_levels(file, where)
    return ImageFile(to_hu(levels, hu_range, (0.0, top)))


def _grey_levels(file: Path | BinaryIO, where: str) -> tuple[np.ndarray, float]:
    """A picture's grey levels (rows, columns), and that of white."""
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UserError(f"{where} is too large: {picture.width}x{picture.height} pixels.")
            deep = picture.mode in ("I", "I;16", "I;16B", "I;16L")
            levels = np.asarray(picture if deep else picture.convert("L"))
    except (UserError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file makes them trip over
        raise UserError(
            f"{where} cannot be read as an image: it is damaged or of another kind. Save it again."
        ) from error
    return levels, 65535.0 if deep else 255.0


def _read_nifti(file: Path | BinaryIO, where: str) -> ImageFile:
    data, zooms = _nifti(file, where)
    known = all(math.isfinite(zoom) and zoom > 0 for zoom in zooms)
    if known and abs(zooms[0] - zooms[1]) > 0.01 * zooms[0]:
        raise UserError(
            f"{where} has pixels of {zooms[0]:g} x {zooms[1]:g} mm, which are not square. "
            "Resample it to square pixels first."
        )
    return ImageFile(as_int16(data), zooms[0] if known else None)


def _nifti(file: Path | BinaryIO, where: str) -> tuple[np.ndarray, list[float]]:
    """A volume's numbers (slices, rows, columns), from feet to head, and its pixels' sides in mm."""
    try:
        import nibabel
    except ImportError as error:
        raise UserError(
            'Reading NIfTI needs nibabel: install it with pip install "lungvae[nifti]".'
        ) from error
    try:
        if isinstance(file, Path):
            volume = nibabel.load(file)
        else:
            volume = nibabel.Nifti1Image.from_bytes(_unpack(file.read(), where))
        # Canonical is right-anterior-superior; CT slices are shown with rows to posterior, columns to left.
        volume = nibabel.as_closest_canonical(volume)
        data = np.asarray(volume.dataobj)
        zooms = [float(zoom) for zoom in volume.header.get_zooms()[:2]]
    except UserError:
        raise
    except Exception as error:  # nibabel raises many kinds on damaged input
        raise UserError(
            f"{where} cannot be read as NIfTI: it is damaged or of another kind. Export it again."
        ) from error
    if data.ndim != 3:
        raise UserError(f"{where} has {data.ndim} dimensions; a single CT volume is needed.")
    if data.size == 0 or data.dtype.kind not in "iuf":
        raise UserError(f"{where} holds no grey values; a CT volume in HU is needed.")
    if not np.isfinite(data).all():
        raise UserError(f"{where} holds values that are not numbers (NaN or infinite).")
    return data.transpose(2, 1, 0)[:, ::-1, ::-1], zooms


def _unpack(content: bytes, where: str) -> bytes:
    """gzip's content where it is gzip, else as it is; UserError when it is damaged or grows too large."""
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            unpacked = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{where} is damaged and cannot be unpacked. Export or download it again.") from error
    if len(unpacked) > MOST_BYTES:
        raise UserError(f"{where} unpacks to more than 1 GiB. Cut the lesion's slices out of it.")
    return unpacked


def _is_dicom(file: Path | BinaryIO) -> bool:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return _is_dicom(stream)
    start = file.read(132)
    file.seek(0)
    return start[128:] == b"DICM"
