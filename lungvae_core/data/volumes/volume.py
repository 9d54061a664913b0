"""A file, and the numbers in it before they are checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from lungvae_core.data.volumes.grid import Grid
from lungvae_core.data.volumes.inflate import check_size
from lungvae_core.errors import UserError

MOST_SIDE = 4096  # rows or columns; no CT has more, and a forged header could ask for gigabytes


@dataclass(frozen=True)
class File:
    """One file of several, which can be opened again and again."""

    name: str
    open: Callable[[], BinaryIO]

    def read(self) -> bytes:
        """Its content."""
        return self.open().read()


@dataclass(frozen=True)
class Volume:
    """A file's numbers as stored, with its header data."""

    levels: np.ndarray  # (slices, rows, columns), of any type of number
    grid: Grid | None = None  # where they lie; None if the file does not state it
    spacing_mm: float | None = None  # of square pixels, for a file that states it but no position
    white: float | None = None  # a picture's level of white; None for plain numbers
    notes: tuple[str, ...] = ()  # sentences


def check_shape(shape: tuple[int, ...], itemsize: int, where: str) -> int:
    """The bytes of an array of this shape (slices, rows, columns); UserError for what no scan has."""
    if len(shape) != 3 or min(shape) < 1:
        raise UserError(f"{where} has the shape {shape}; a slice or a stack of slices is needed.")
    if max(shape[1:]) > MOST_SIDE:
        raise UserError(f"{where} is too large: {shape[1]} x {shape[2]} pixels.")
    size = shape[0] * shape[1] * shape[2] * itemsize
    check_size(size, where)
    return size


def as_levels(body: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...], where: str) -> np.ndarray:
    """(slices, rows, columns): the numbers at the start of `body`; UserError where it is too short."""
    count = shape[0] * shape[1] * shape[2]
    if len(body) < count * dtype.itemsize:
        raise UserError(
            f"{where} is truncated: {len(body):,} of {count * dtype.itemsize:,} bytes of pixels are there."
        )
    return np.frombuffer(body, dtype, count).reshape(shape)


def one_volume(shape: list[int], where: str) -> tuple[int, ...]:
    """(columns, rows, slices) of the sizes that a header gives, fastest first; more axes must be of one."""
    if len(shape) < 2 or any(side < 1 for side in shape):
        raise UserError(
            f"{where} has {len(shape)} dimensions of {shape}; a slice or one CT volume is needed."
        )
    further = [side for side in shape[3:] if side > 1]
    if further:
        raise UserError(
            f"{where} holds {np.prod(further)} volumes ({' x '.join(map(str, shape))}), such as phases or "
            "colours. Save the one that is meant."
        )
    return (*shape[:3], 1) if len(shape) == 2 else tuple(shape[:3])
