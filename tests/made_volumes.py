"""One synthetic chest as files of every kind that is read, and of many that must not be believed."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from lungvae_core.data.volumes.volume import Volume
from tests.data.conftest import ct
from tests.made_series import written

SIDE, SPACING, GAP = 96, 0.7, 2.5
CORNER = (-30.0, -20.0, 100.0)  # LPS, of the first pixel
CENTRE = (52, 40)  # of the lesion
WINDOW = (-1000.0, 400.0)  # HU of black and white
Files = list[tuple[str, bytes]]


def chest(slices: int = 3, seed: int = 0) -> np.ndarray:
    """(slices, 96, 96) int16 HU: noisy lung, a lesion, a bar of bone that shows flips; brighter by slice."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    hu = -850 + rng.normal(0, 20, (slices, SIDE, SIDE)) + 5 * np.arange(slices)[:, None, None]
    hu[:, (rows - CENTRE[0]) ** 2 + (columns - CENTRE[1]) ** 2 < 64] = 40
    hu[:, 30:34, 20:45] = 300
    return np.rint(hu).astype(np.int16)


HU = chest()
PATCH = HU[1, CENTRE[0] - 32 : CENTRE[0] + 32, CENTRE[1] - 32 : CENTRE[1] + 32]


def check_numbers_and_place(volume: Volume) -> None:
    """Assert that a volume read from one of these files is `HU`, where it lies."""
    np.testing.assert_array_equal(volume.levels, HU)
    assert volume.grid is not None
    np.testing.assert_allclose(volume.grid.corners_mm[:, 2], CORNER[2] + GAP * np.arange(3))
    assert volume.grid.spacing_mm == (SPACING, SPACING)


@dataclass(frozen=True)
class Given:
    """What a person gives: files, or an array of 64x64 crops, and what is stated about them."""

    files: Files
    array: np.ndarray | None = None  # (64, 64), what `import --slices` gets instead
    hu_range: tuple[float | None, float | None] | None = None
    index: Any = 1
    centre: tuple[float, float] | None = CENTRE
    spacing: float | None = None


def npy(array: np.ndarray, **how: Any) -> bytes:
    """An npy file."""
    stream = io.BytesIO()
    np.save(stream, array, **how)
    return stream.getvalue()


def picture(array: np.ndarray, form: str) -> bytes:
    """A picture file."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form)
    return stream.getvalue()


def signed_tiff(pages: np.ndarray) -> bytes:
    """A little-endian TIFF of signed 16-bit pages (SampleFormat 2), as ImageJ writes CT."""
    out, link = bytearray(b"II*\0\0\0\0\0"), 4
    for page in pages:
        at = len(out)
        out += page.astype("<i2").tobytes()
        tags = [
            *((256, 4, page.shape[1]), (257, 4, page.shape[0]), (258, 3, 16), (259, 3, 1), (262, 3, 1)),
            *((273, 4, at), (277, 3, 1), (278, 4, page.shape[0]), (279, 4, page.nbytes), (339, 3, 2)),
        ]
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(tags))
        out += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        link = len(out)
        out += b"\0\0\0\0"
    return bytes(out)


def affine(
    axes: np.ndarray | None = None, corner: tuple[float, ...] = CORNER, unit: float = 1.0
) -> np.ndarray:
    """NIfTI's affine of stored (column, row, slice).

    `axes` are their directions (3, 3) in LPS, a row each.
    """
    lps = np.eye(4)
    directions = np.eye(3) if axes is None else np.asarray(axes, float)
    lps[:3, :3] = directions.T * (np.array([SPACING, SPACING, GAP]) * unit)
    lps[:3, 3] = np.asarray(corner, float) * unit
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def nifti(stack: np.ndarray, place: np.ndarray | None = None, *, mm: str = "mm") -> bytes:
    """A NIfTI of a stack (slices, rows, columns)."""
    image = nibabel.Nifti1Image(stack.transpose(2, 1, 0), affine() if place is None else place)
    image.header.set_xyzt_units(mm)
    return image.to_bytes()


def turned(stack: np.ndarray, flips: tuple[bool, bool, bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(the stack stored with flipped slices, rows, columns; its axes in LPS, columns first; its corner)."""
    stored = stack[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    steps = np.array([SPACING, SPACING, GAP])
    signs = np.array([-1.0 if flip else 1.0 for flip in reversed(flips)])
    corner = np.array(CORNER) + (signs < 0) * steps * (np.array(stack.shape[::-1]) - 1)
    return stored, np.diag(signs), corner


def header_of(
    kind: str, stack: np.ndarray, *, packed: bool = False, data: str = "", sides=(SPACING, SPACING, GAP)
) -> bytes:
    """A MetaImage's or NRRD's header."""
    columns, rows, slices = stack.shape[::-1]
    x, y, z = sides
    if kind == "mha":
        return (
            f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            f"CompressedData = {packed}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = "
            f"{' '.join(map(str, CORNER))}\n"
            f"ElementSpacing = {x} {y} {z}\nDimSize = {columns} {rows} {slices}\nElementType = MET_SHORT\n"
            f"ElementDataFile = {data or 'LOCAL'}\n"
        ).encode()
    return (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {columns} {rows} "
        f"{slices}\n"
        f"space directions: ({x},0,0) (0,{y},0) (0,0,{z})\nkinds: domain domain domain\nendian: little\n"
        f"encoding: {'gzip' if packed else 'raw'}\nspace origin: ({','.join(map(str, CORNER))})\n"
        + (f"data file: {data}\n" if data else "\n")
    ).encode()


def metaimage(stack: np.ndarray, *, packed: bool = False, **how: Any) -> bytes:
    """A MetaImage in one file."""
    body = stack.astype("<i2").tobytes()
    return header_of("mha", stack, packed=packed, **how) + (zlib.compress(body) if packed else body)


def nrrd(stack: np.ndarray, *, packed: bool = False, **how: Any) -> bytes:
    """An NRRD in one file."""
    body = stack.astype("<i2").tobytes()
    return header_of("nrrd", stack, packed=packed, **how) + (gzip.compress(body) if packed else body)


def slice_file(hu: np.ndarray = HU[1], **changes: Any) -> bytes:
    """A DICOM file of a slice, at its place in HU."""
    elements = {
        "ImagePositionPatient": [*CORNER[:2], CORNER[2] + GAP],
        "PixelSpacing": [SPACING, SPACING],
        "PatientPosition": "HFS",
        "RescaleType": "HU",
    }
    return written(ct(hu.astype(np.int16) + np.int16(1024), **(elements | changes)))


def without_preamble(content: bytes) -> bytes:
    """A DICOM file as some archives keep it: the data set alone."""
    import pydicom

    data = pydicom.dcmread(io.BytesIO(content))
    stream = io.BytesIO()
    del data.file_meta
    data.preamble = None
    data.save_as(stream, implicit_vr=True, little_endian=True)
    return stream.getvalue()


def unit(stack: np.ndarray) -> np.ndarray:
    """HU -1000..400 as floats from 0 to 1."""
    return np.clip((stack + 1000.0) / 1400, 0, 1).astype(np.float32)


def levels(stack: np.ndarray, white: int = 255) -> np.ndarray:
    """HU -1000..400 as grey levels."""
    return np.rint(unit(stack) * white).astype(np.uint8 if white == 255 else np.uint16)


def _array(make) -> Given:
    return Given([("a.npy", npy(make(HU)))], make(PATCH))


def _mirrored(name: str) -> Given:
    stored, axes, corner = turned(HU, (False, True, True))
    return Given([(name, nifti(stored, affine(axes, tuple(corner))))])


def _pixdim(content: bytes, side: float) -> bytes:
    """A NIfTI with other sides of its pixels than its affine has."""
    return content[:80] + struct.pack("<2f", side, side) + content[88:]


def _quaternion(content: bytes) -> bytes:
    """A NIfTI whose qform's quaternion is longer than 1."""
    return content[:256] + struct.pack("<3f", 3, 1e35, 0) + content[268:]


def _by_qform(side: float) -> bytes:
    """A NIfTI that says its place by its qform alone, with these sides of its pixels."""
    image = nibabel.Nifti1Image(HU.transpose(2, 1, 0), None)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine(), 1)
    return _pixdim(image.to_bytes(), side)


def _oblique(degrees: float) -> bytes:
    angle = np.radians(degrees)
    rows, slices = [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]
    return nifti(HU, affine(np.array([[1, 0, 0], rows, slices])))


def _dicom(name: str = "a.dcm", hu: np.ndarray = HU[1], centre=CENTRE, **changes: Any) -> Given:
    return Given([(name, slice_file(hu, **changes))], index=0, centre=centre)


def kinds() -> dict[str, Given]:
    """By the names that docs/formats.md gives them."""
    return {**_arrays(), **_pictures_and_places(), **_volumes(), **_dicoms()}


def _arrays() -> dict[str, Given]:
    return {
        "npy of HU": _array(lambda hu: hu),
        "npy of HU as floats": _array(lambda hu: hu.astype(np.float64)),
        "floats 0..1": _array(unit),
        "floats 0..1, range stated": Given([("a.npy", npy(unit(HU)))], unit(PATCH), WINDOW),
        "floats -1..1": _array(lambda hu: unit(hu) * 2 - 1),
        "z-scores": _array(lambda hu: (hu - hu.mean()) / hu.std()),
        "HU in thousands": _array(lambda hu: hu / 1000),
        "8-bit levels": _array(levels),
        "8-bit levels, range stated": Given([("a.npy", npy(levels(HU)))], levels(PATCH), WINDOW),
        "8-bit levels as int16": _array(lambda hu: levels(hu).astype(np.int16)),
        "16-bit levels": _array(lambda hu: levels(hu, 65535)),
        "12 bits with offset": _array(lambda hu: hu + np.int16(1024)),
        "wrapped unsigned": _array(lambda hu: hu.astype(np.uint16)),
        "one value": _array(lambda hu: np.full_like(hu, -1000)),
        "NaN": _array(lambda hu: np.where(hu > 200, np.nan, hu)),
        "HU, range stated": Given([("a.npy", npy(HU))], PATCH, WINDOW),
        "half a range": Given([("a.npy", npy(unit(HU)))], unit(PATCH), (-1000.0, None)),
    }


def _pictures_and_places() -> dict[str, Given]:
    grey = levels(HU[1])
    colour = np.stack([grey, grey, levels(HU[2])], -1)
    return {
        "png": Given([("a.png", picture(grey, "PNG"))], index=None),
        "png, range stated": Given([("a.png", picture(grey, "PNG"))], None, WINDOW, None),
        "colour png": Given([("a.png", picture(colour, "PNG"))], None, WINDOW, None),
        "TIFF of HU, several pages": Given([("a.tif", signed_tiff(HU))]),
        "TIFF of HU, range stated": Given([("a.tif", signed_tiff(HU))], None, WINDOW),
        "an index too high": Given([("a.npy", npy(HU))], index=5),
        "an index between two": Given([("a.npy", npy(HU))], index=1.5),
        "no index of three": Given([("a.npy", npy(HU))], index=None),
        "a place outside": Given([("a.npy", npy(HU))], centre=(52, 400)),
        "text": Given([("a.txt", b"no image")]),
    }


def _volumes() -> dict[str, Given]:
    raw = HU.astype("<i2").tobytes()
    zeros = nifti(HU)
    zeros = zeros[:280] + bytes(48) + zeros[328:]  # the sform's three rows
    four = HU.transpose(2, 1, 0)[..., None]
    return {
        "NIfTI": Given([("a.nii.gz", gzip.compress(nifti(HU)))]),
        "NIfTI, mirrored": _mirrored("a.nii"),
        "NIfTI, micrometres": Given([("a.nii", nifti(HU, affine(unit=1000.0), mm="micron"))]),
        "NIfTI, 10 degrees oblique": Given([("a.nii", _oblique(10))]),
        "NIfTI, 40 degrees oblique": Given([("a.nii", _oblique(40))]),
        "NIfTI, not square": Given([("a.nii", nifti(HU, affine() @ np.diag([1, 2, 1, 1.0])))]),
        "NIfTI, affine of zeros": Given([("a.nii", zeros)]),
        "NIfTI, affine of 1 and 0": Given([("a.nii", nifti(HU[:, ::-1], np.eye(4)))]),
        "NIfTI, pixdim of zeros": Given([("a.nii", _by_qform(0.0))]),
        "NIfTI, pixdim below 0": Given([("a.nii", _by_qform(-SPACING))]),
        "NIfTI, pixdim of kilometres": Given([("a.nii", _by_qform(1e6))]),
        "NIfTI, pixdim no number": Given([("a.nii", _by_qform(float("nan")))]),
        "NIfTI, quaternion of no rotation": Given([("a.nii", _quaternion(_by_qform(SPACING)))]),
        "NIfTI, quaternion unused": Given([("a.nii", _quaternion(nifti(HU)))]),
        "NIfTI, two spacings": Given([("a.nii", _pixdim(nifti(HU), 2 * SPACING))]),
        "NIfTI, range stated": Given([("a.nii", nifti(HU))], hu_range=WINDOW),
        "NIfTI, another spacing stated": Given([("a.nii", nifti(HU))], spacing=2 * SPACING),
        "NIfTI, its spacing stated": Given([("a.nii", nifti(HU))], spacing=0.703),
        "NIfTI of 8-bit levels, range stated": Given([("a.nii", nifti(levels(HU)))], hu_range=WINDOW),
        "NIfTI of one volume in 4D": Given([("a.nii", nibabel.Nifti1Image(four, affine()).to_bytes())]),
        "NIfTI of two volumes": Given(
            [("a.nii", nibabel.Nifti1Image(np.concatenate([four, four], -1), affine()).to_bytes())]
        ),
        "MetaImage": Given([("a.mha", metaimage(HU, packed=True))]),
        "MetaImage in two files": Given([("a.mhd", header_of("mha", HU, data="a.raw")), ("a.raw", raw)]),
        "MetaImage without its numbers": Given([("a.mhd", header_of("mha", HU, data="b.raw"))]),
        "MetaImage, not square": Given([("a.mha", metaimage(HU, sides=(0.7, 0.9, 2.5)))]),
        "MetaImage, spacing below 0": Given([("a.mha", metaimage(HU, sides=(-0.7, 0.7, 2.5)))]),
        "MetaImage, slices kilometres apart": Given([("a.mha", metaimage(HU, sides=(0.7, 0.7, 1e6)))]),
        "MetaImage, range stated": Given([("a.mha", metaimage(HU))], hu_range=WINDOW),
        "NRRD": Given([("a.nrrd", nrrd(HU, packed=True))]),
        "NRRD in two files": Given([("a.nhdr", header_of("nrrd", HU, data="a.raw")), ("a.raw", raw)]),
        "NRRD, cut off": Given([("a.nrrd", nrrd(HU)[:-100])]),
    }


def _dicoms() -> dict[str, Given]:
    stored, _, _ = turned(HU, (False, True, False))
    mirrored = {
        "ImageOrientationPatient": [1, 0, 0, 0, -1, 0],
        "ImagePositionPatient": [CORNER[0], CORNER[1] + SPACING * (SIDE - 1), CORNER[2] + GAP],
    }
    return {
        "DICOM": _dicom(),
        "DICOM, mirrored": _dicom(hu=stored[1], centre=(SIDE - 1 - CENTRE[0], CENTRE[1]), **mirrored),
        "DICOM without a preamble": Given([("a.dcm", without_preamble(slice_file()))], index=0),
        "DICOM, gzipped": Given([("a.dcm.gz", gzip.compress(slice_file()))], index=0),
        "DICOM without slope": _dicom(RescaleSlope=None),
        "DICOM, inverted": _dicom(PhotometricInterpretation="MONOCHROME1"),
        "DICOM, wrong offset": _dicom(RescaleIntercept=0),
        "DICOM, range stated": Given([("a.dcm", slice_file())], hu_range=WINDOW, index=0),
        "DICOM, another spacing stated": Given([("a.dcm", slice_file())], index=0, spacing=2 * SPACING),
        "DICOM, not square": _dicom(PixelSpacing=[0.7, 0.9]),
    }
