"""NIfTI-1 and -2 in memory, by nibabel: numbers, scale, unit of length and place."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from lungvae_core.data.volumes.grid import UNEQUAL, Grid, check_square
from lungvae_core.data.volumes.inflate import GZIP, inflate, start
from lungvae_core.data.volumes.volume import Volume, check_shape, one_volume
from lungvae_core.errors import UserError
from lungvae_core.quiet import silence

SUFFIXES = (".nii", ".nii.gz")
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by NIFTI_UNITS; a file that states none is taken to be in mm
_HEADER = 544  # bytes of the longer of the two headers, with the flag behind it
_TO_LPS = np.diag([-1.0, -1.0, 1.0])
_APART = 0.5  # of a pixel, by which the header's two ways to say the place may differ


def read_nifti(content: bytes, where: str) -> Volume:
    """One CT volume or slice; UserError for several volumes, damaged content and contradicting places."""
    import nibabel

    silence(module="nibabel")
    packed = content[:2] == GZIP
    head = start(content, _HEADER, where) if packed else content[:_HEADER]
    try:
        kind = nibabel.Nifti2Image if _is_two(head) else nibabel.Nifti1Image
        # Before nibabel's checks, which make sides of 0 and below into plausible ones.
        sides = np.array(kind.header_class.from_fileobj(io.BytesIO(head), check=False)["pixdim"][1:4])
        header = kind.header_class.from_fileobj(io.BytesIO(head), check=True)
        shape = one_volume([int(side) for side in header.get_data_shape()], where)
        dtype, offset = header.get_data_dtype(), int(header["vox_offset"])
        if header["magic"].item()[:2] != b"n+":
            raise UserError(f"{where} is half of a pair of .hdr and .img. Save it as one .nii file.")
        size = check_shape(shape[::-1], dtype.itemsize, where)
        if packed:
            content = inflate(content, offset + size, where)
        image = kind.from_bytes(content)
        levels = _numbers(image.dataobj).reshape(shape, order="F").transpose(2, 1, 0)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # nibabel raises many kinds on damaged input
        raise UserError(
            f"{where} cannot be read as NIfTI: it is damaged or of another kind. Export it again."
        ) from error
    if levels.dtype.kind not in "biuf":
        raise UserError(f"{where} holds no grey values; a CT volume in HU is needed.")
    return _placed(levels, header, sides.astype(float)[: int(header["dim"][0])], where)


def _numbers(proxy: Any) -> np.ndarray:
    """The stored numbers where the header scales by 1, else scaled, in 32 bits: exact for any HU."""
    if (proxy.slope, proxy.inter) == (1.0, 0.0):
        return np.asarray(proxy.get_unscaled())
    return np.asarray(proxy, dtype=np.float32)


def _is_two(head: bytes) -> bool:
    return 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))


def _placed(levels: np.ndarray, header: Any, sides: np.ndarray, where: str) -> Volume:
    """The numbers with their position, or with their pixels' side if the header has no position.

    `sides` (2 or 3,) are pixdim as the file has it, in the file's unit.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM:
        raise UserError(f"{where} gives its lengths in an unknown unit (code {unit}). Export it again.")
    mm = _MM[unit]
    if not (int(header["sform_code"]) or int(header["qform_code"])):
        return _unplaced(levels, sides * mm, where)
    affine = _affine(header, levels.shape, sides, where)
    if (affine == np.eye(4)).all():
        note = "The file states an affine of 1 and 0 alone, as programs write that do not know one."
        return _unplaced(levels, np.zeros(2), where, note)
    affine = affine * mm
    to_lps = _TO_LPS @ affine[:3]
    grid = Grid.even(to_lps[:, 3], to_lps[:, 2], to_lps[:, 1], to_lps[:, 0], len(levels))
    return Volume(levels, grid)


def _unplaced(levels: np.ndarray, sides_mm: np.ndarray, where: str, *notes: str) -> Volume:
    """The numbers of a file without a position, with their pixels' side if it states that."""
    spacing = None
    if sides_mm[:2].any():
        spacing = check_square(float(sides_mm[1]), float(sides_mm[0]), where)
    else:
        notes += ("The file does not say how far apart its pixels are.",)
    # As nibabel and SPM take it: the patient's left is first, and rows run from back to front.
    note = "The file does not say how it lies in the patient; rows are taken to run from back to front."
    return Volume(levels[:, ::-1], spacing_mm=spacing, notes=(note, *notes))


def _way(header: Any, name: str) -> np.ndarray:
    """(4, 4) the header's sform or qform; NaN where the qform's rotation is none."""
    try:
        return getattr(header, f"get_{name}")()
    except ValueError:  # a quaternion longer than 1
        return np.full((4, 4), np.nan)


def _affine(header: Any, shape: tuple[int, ...], sides: np.ndarray, where: str) -> np.ndarray:
    """(4, 4) from (column, row, slice) to right, front, head; all statements in the file must agree.

    `sides` are pixdim as the file has it: the sides that the qform stands on, and a copy of the sform's.
    """
    ways = [_way(header, name) for name in ("sform", "qform") if int(header[f"{name}_code"])]
    for way in ways:
        if not np.isfinite(way).all() or abs(np.linalg.det(way[:3, :3])) < 1e-12:
            raise UserError(
                f"{where} does not say how it lies: its affine is zero or damaged. Export it again."
            )
    if int(header["qform_code"]) and not (np.isfinite(sides).all() and (sides > 0).all()):
        raise UserError(
            f"{where} does not say how far apart its pixels are: its pixdim is "
            f"{' x '.join(f'{side:g}' for side in sides)}. Export it again."
        )
    lengths = np.linalg.norm(ways[0][:3, : len(sides)], axis=0)
    stated = np.isfinite(sides) & (sides != 0) & (sides != 1)  # those of programs that leave pixdim as it was
    if (np.abs(np.abs(sides) - lengths)[stated] > UNEQUAL * lengths[stated]).any():
        raise UserError(
            f"{where} states its spacing twice, as {' x '.join(f'{side:g}' for side in sides)} by pixdim and "
            f"as {' x '.join(f'{side:g}' for side in lengths)} by its affine. Export it again."
        )
    if len(ways) == 2:
        far = np.array(np.meshgrid(*[(0, side - 1) for side in shape[::-1]])).reshape(3, -1)
        apart = np.abs((ways[0] - ways[1])[:3] @ np.vstack([far, np.ones(far.shape[1])])).max()
        if apart > _APART * np.linalg.norm(ways[0][:3, :3], axis=0).min():
            raise UserError(
                f"{where} states its place twice, by sform and by qform, and they differ by {apart:.3g}. "
                "Export it again with one of them."
            )
    return ways[0]
