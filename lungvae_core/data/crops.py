"""The 64x64 pixels around a lesion's centre, at a given slice, row and column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lungvae_core.data.series import Series
from lungvae_core.data.slices import SIZE
from lungvae_core.data.volumes.grid import LEAST_MM, MOST_MM, UNEQUAL
from lungvae_core.data.volumes.scale import check_range
from lungvae_core.errors import UserError

AIR = -1000  # HU, what a crop sees beyond the image


@dataclass(frozen=True)
class Box:
    """A crop's place in a stack; row and column are None for a slice that is the crop itself."""

    index: int
    row: float | None = None
    column: float | None = None


def crop(
    image: np.ndarray, row: float, column: float, *, where: str = "The image", beyond: int = AIR
) -> np.ndarray:
    """(64, 64) of the image's type around a lesion's centre by the paper's rule; `beyond` outside it.

    The first row is floor(row - 31), less 1 where row is whole; likewise the columns.
    Raises UserError when the centre is outside the image.
    """
    rows, columns = image.shape
    if not (0 <= row < rows and 0 <= column < columns):  # NaN is outside, too
        raise UserError(
            f"{where} has {rows} rows and {columns} columns; the position ({row:g}, {column:g}) is outside."
        )
    first = [math.floor(c - 31) - (float(c).is_integer()) for c in (row, column)]
    patch = np.full((SIZE, SIZE), beyond, image.dtype)
    top, left = max(first[0], 0), max(first[1], 0)
    bottom, right = min(first[0] + SIZE, rows), min(first[1] + SIZE, columns)
    patch[top - first[0] : bottom - first[0], left - first[1] : right - first[1]] = image[
        top:bottom, left:right
    ]
    return patch


def box_of(
    series: Series, *, row: object = None, column: object = None, index: object = None, where: str
) -> Box:
    """The crop's place from user input: numbers, text of a table's cell, or nothing (None, "").

    `index` counts a stack's slices from 0, from the feet. Rows and columns refer to the upright image, for
    DICOM files to those stored in the file. Raises UserError for a place outside the image, and for anything
    but whole numbers.
    """
    count, rows, columns = series.hu.shape
    number = _number(index, "index")
    if number is None:
        if count > 1:
            raise UserError(f"{where} holds {count} slices. Say which one, counting from 0.")
        number = 0.0
    if not number.is_integer():
        raise UserError(f"{where}: the index of a slice is a whole number, not {number:g}.")
    if not 0 <= number < count:
        held = "one slice, number 0" if count == 1 else f"slices 0 to {count - 1}"
        raise UserError(f"{where} holds {held}; there is no slice {number:g}.")
    down, across = _number(row, "row"), _number(column, "column")
    if (down is None) != (across is None):
        raise UserError(f"{where}: the lesion's position needs a row and a column.")
    if down is None or across is None:
        if (rows, columns) == (SIZE, SIZE):
            return Box(int(number))
        raise UserError(
            f"{where} is {rows}x{columns} pixels. Give the lesion's position (row and column), "
            f"or an image of {SIZE}x{SIZE} with the lesion in its middle."
        )
    if series.turn is not None:
        if series.turn.order[0] != 0:
            raise UserError(
                f"{where} was stored in slices that are not axial, which have no such row and column."
            )
        down, across = series.turn.place(down, across)
    crop(series.hu[int(number)], down, across, where=where)
    return Box(int(number), down, across)


def patch_of(series: Series, box: Box, *, where: str) -> np.ndarray:
    """(64, 64) int16 HU in a box; UserError if all pixels have one value."""
    patch = cut(series.hu, box, beyond=AIR)
    if patch.min() == patch.max():
        raise UserError(
            f"{where} holds {patch.min()} HU in all pixels at that place: there is nothing to see."
        )
    return patch


def cut(stack: np.ndarray, box: Box, *, beyond: int) -> np.ndarray:
    """(64, 64) of a stack (slices, rows, columns) in a box."""
    image = stack[box.index]
    return image if box.row is None or box.column is None else crop(image, box.row, box.column, beyond=beyond)


def stated_range(low: object, high: object) -> tuple[float, float] | None:
    """The HU of black and white from user input; None if neither is given. UserError if one is missing."""
    down, up = _number(low, "hu_low"), _number(high, "hu_high")
    return None if down is None and up is None else check_range(down, up)


def check_spacing(stated: object, name: str) -> float | None:
    """A pixel spacing in mm from user input, or None. UserError for a value that no CT has."""
    value = _number(stated, name)
    if value is not None and not LEAST_MM <= value <= MOST_MM:
        raise UserError(f"{name} is {value:g} mm; it is to be from {LEAST_MM:g} to {MOST_MM:g}.")
    return value


def agreed_spacing(series: Series, stated: object, name: str) -> float | None:
    """The file's pixel spacing in mm, else the user's; UserError if they differ, or if no CT has it."""
    value, own = check_spacing(stated, name), series.spacing_mm
    if value is None or own is None:
        return own if value is None else value
    if abs(value - own) > UNEQUAL * own:
        raise UserError(
            f"{series.name} says that its pixels are {own:g} mm apart, and {name} says {value:g}. Leave "
            f"{name} out, or correct the file."
        )
    return own


def _number(value: object, name: str) -> float | None:
    """A number from user input; None if there is none."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{name} is to be a number, not {value}.")
    return number
