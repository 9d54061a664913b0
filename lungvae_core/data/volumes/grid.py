"""Positions and orientation of a stack's pixels, and resampling of labels onto another stack.

Positions are DICOM's (PS3.3, C.7.6.2.1.1): millimetres, x to the patient's left, y to the back, z to the
head. Which axis is nearest to which is decided by SimpleITK's DICOMOrient; labels are resampled by its
nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lungvae_core.errors import UserError

LEAST_MM, MOST_MM = 0.05, 10.0  # pixel spacings beyond these are slips of the pen or of the unit
MOST_GAP_MM = 1000.0  # between slices; no scan of a body is longer
UNEQUAL = 0.01  # by which share pixels may differ from squares
MOST_TILT, NOTED_TILT = 30.0, 2.0  # degrees off the body's axes, beyond which a stack is refused, or noted


@dataclass(frozen=True)
class Grid:
    """The positions of a stack's pixels (slices, rows, columns)."""

    corners_mm: np.ndarray  # (slices, 3) the middle of each slice's first pixel
    row_mm: np.ndarray  # (3,) from a row to the next
    column_mm: np.ndarray  # (3,) from a column to the next

    @staticmethod
    def even(
        origin: np.ndarray, slice_mm: np.ndarray, row_mm: np.ndarray, column_mm: np.ndarray, count: int
    ) -> Grid:
        """A grid of `count` slices that lie `slice_mm` (3,) apart."""
        corners = np.asarray(origin, float) + np.arange(count)[:, None] * np.asarray(slice_mm, float)
        return Grid(corners, np.asarray(row_mm, float), np.asarray(column_mm, float))

    @property
    def normal(self) -> np.ndarray:
        """(3,) of length 1, across the slices, in the order of their numbers."""
        across = np.cross(self.column_mm, self.row_mm)
        across = across / np.linalg.norm(across)
        along = self.corners_mm[-1] - self.corners_mm[0]
        return -across if np.dot(across, along) < 0 else across

    @property
    def places_mm(self) -> np.ndarray:
        """(slices,) along the slices' normal."""
        return self.corners_mm @ self.normal

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Between rows, between columns; to the nanometre, beyond which files are not exact."""
        return round(float(np.linalg.norm(self.row_mm)), 6), round(float(np.linalg.norm(self.column_mm)), 6)

    @property
    def slice_mm(self) -> np.ndarray:
        """(3,) from a slice to the next, on average; of a single one, its normal times its pixels' side."""
        if len(self.corners_mm) == 1:
            return self.normal * self.spacing_mm[0]
        return (self.corners_mm[-1] - self.corners_mm[0]) / (len(self.corners_mm) - 1)

    @property
    def is_even(self) -> bool:
        """Whether the slices lie equally far apart, exactly behind one another."""
        steps = np.diff(self.corners_mm, axis=0)
        size = float(np.linalg.norm(self.slice_mm))
        straight = abs(float(np.dot(self.slice_mm, self.normal))) > 0.999 * size
        return straight and bool(np.abs(steps - self.slice_mm).max(initial=0.0) <= 0.1 * size)


@dataclass(frozen=True)
class Turn:
    """How a stack was turned upright: the stored axes in their new order, and which are flipped."""

    order: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)
    shape: tuple[int, int, int] = (1, 1, 1)  # as stored

    @property
    def within(self) -> bool:
        """Whether rows or columns differ from those stored."""
        return self.order != (0, 1, 2) or any(self.flips[1:])

    def of(self, stack: np.ndarray) -> np.ndarray:
        """A stored stack (slices, rows, columns), upright; a view."""
        turned = stack.transpose(self.order)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]

    def place(self, row: float, column: float) -> tuple[float, float]:
        """A stored slice's row and column in the upright picture, for a stack whose slices stayed slices."""
        stored = (0.0, row, column)
        placed = [
            self.shape[axis] - 1 - stored[axis] if flip else stored[axis]
            for axis, flip in zip(self.order, self.flips, strict=True)
        ]
        return placed[1], placed[2]


def upright(grid: Grid, shape: tuple[int, ...], where: str) -> tuple[Turn, Grid, list[str]]:
    """How to turn a stack upright (seen from the feet, the front on top), its new grid, and notes.

    Slices then run from feet to head, rows from front to back, columns from the patient's right to left.
    Raises UserError for a stack that is too oblique, one whose shear would need resampling, and for pixels
    that are not square or of a size that no CT has.
    """
    check_axes(grid, where)
    steps = np.array([grid.slice_mm, grid.row_mm, grid.column_mm])
    axes = np.array([grid.normal, grid.row_mm, grid.column_mm])
    notes = _tilt(axes, where)
    order, flips = _to_lps(axes)
    turn = Turn(order, flips, (shape[0], shape[1], shape[2]))
    if order[0] != 0 and shape[0] < 2:
        raise UserError(f"{where} is no axial slice. Choose an axial CT slice.")
    signed = [-steps[axis] if flip else steps[axis] for axis, flip in zip(order, flips, strict=True)]
    moves = [steps[axis] * (shape[axis] - 1) * flip for axis, flip in zip(order, flips, strict=True)]
    if order[0] == 0:
        corners = grid.corners_mm + (moves[1] + moves[2])
        turned = Grid(corners[::-1] if flips[0] else corners, signed[1], signed[2])
    else:
        if not grid.is_even:
            raise UserError(
                f"{where} has slices that are not axial and unevenly spaced. Export it as axial slices."
            )
        notes.append("The slices were not axial as stored; they are cut anew, as axial ones.")
        origin = sum(moves, grid.corners_mm[0])
        turned = Grid.even(origin, signed[0], signed[1], signed[2], shape[order[0]])
    check_square(*turned.spacing_mm, where)
    return turn, turned, notes


def check_axes(grid: Grid, where: str) -> None:
    """UserError for degenerate axes, such as zeros, and for a volume larger than a body."""
    axes = np.array([grid.slice_mm, grid.row_mm, grid.column_mm])
    finite = np.isfinite(axes).all() and np.isfinite(grid.corners_mm).all()
    if not finite or abs(np.linalg.det(_units(axes))) < 0.1:
        raise UserError(f"{where} does not say how it lies: its axes are damaged. Export it again.")
    if (gap := float(np.linalg.norm(axes[0]))) > MOST_GAP_MM:
        raise UserError(
            f"{where} has slices {gap:g} mm apart, which no scan has: check the unit of its spacing, and "
            "export it again."
        )


def check_square(row_mm: float, column_mm: float, where: str) -> float:
    """The pixels' side in mm; UserError where they are not square, or larger or smaller than any CT's."""
    if abs(row_mm - column_mm) > UNEQUAL * row_mm:
        raise UserError(
            f"{where} has pixels of {row_mm:g} x {column_mm:g} mm, which are not square. "
            "Resample it to square pixels first."
        )
    if not LEAST_MM <= row_mm <= MOST_MM:
        raise UserError(
            f"{where} has pixels of {row_mm:g} mm, which no CT has: check the unit of its spacing, and "
            "export it again."
        )
    return round(row_mm, 6)


def resample_labels(labels: np.ndarray, source: Grid, target: Grid, shape: tuple[int, ...]) -> np.ndarray:
    """(slices, rows, columns) bool: labels of one grid, by position, on the pixels of another.

    Each slice of the target is resampled on its own, since slices may lie unevenly. What is beyond the source
    is outside. A single source slice is as thick as its pixels are wide or as the target's slices lie apart,
    whichever is more.
    """
    import SimpleITK as sitk

    moving = sitk.GetImageFromArray(np.ascontiguousarray(labels, np.uint8))
    thick = source.slice_mm
    if len(labels) == 1:
        thick = source.normal * max(np.linalg.norm(thick), abs(np.dot(target.slice_mm, source.normal)))
    _place(moving, source.corners_mm[0], thick, source.row_mm, source.column_mm)
    resampled = np.zeros(shape, bool)
    depth, along = len(labels), thick / np.dot(thick, thick)
    sides = [(0, 0), (shape[1] - 1, 0), (0, shape[2] - 1), (shape[1] - 1, shape[2] - 1)]
    for number, corner in enumerate(target.corners_mm):
        ends = [corner + row * target.row_mm + column * target.column_mm for row, column in sides]
        # Which source slice the target's slice is at, at its four corners.
        at = (np.array(ends) - source.corners_mm[0]) @ along
        if at.max() < -1 or at.min() > depth:
            continue
        one = sitk.Image([shape[2], shape[1], 1], sitk.sitkUInt8)
        _place(one, corner, target.normal, target.row_mm, target.column_mm)
        moved = sitk.Resample(moving, one, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        resampled[number] = sitk.GetArrayViewFromImage(moved)[0] > 0
    return resampled


def _place(
    image: Any, origin: np.ndarray, slice_mm: np.ndarray, row_mm: np.ndarray, column_mm: np.ndarray
) -> None:
    """Set the position of a SimpleITK image; its axes are columns, rows, slices."""
    axes = np.array([column_mm, row_mm, slice_mm])
    image.SetOrigin([float(value) for value in origin])
    image.SetSpacing([float(np.linalg.norm(axis)) for axis in axes])
    image.SetDirection([float(value) for value in _units(axes).T.ravel()])


def _units(axes: np.ndarray) -> np.ndarray:
    return axes / np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)


def _to_lps(axes: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """For axes (3, 3), of slices, rows, columns: the new order of the axes, and the flips after it."""
    nearest = np.abs(axes).argmax(1)
    if nearest.tolist() == [2, 1, 0] and (axes[[0, 1, 2], nearest] > 0).all():
        return (0, 1, 2), (False, False, False)  # as nearly every CT is; saves loading the library
    import SimpleITK as sitk

    probe = sitk.Image([2, 2, 2], sitk.sitkUInt8)
    _place(probe, np.zeros(3), *axes)
    turner = sitk.DICOMOrientImageFilter()
    turner.SetDesiredCoordinateOrientation("LPS")
    turner.Execute(probe)
    # SimpleITK counts columns, rows, slices; arrays count slices, rows, columns.
    order = tuple(2 - axis for axis in reversed(turner.GetPermuteOrder()))
    flips = tuple(bool(flip) for flip in reversed(turner.GetFlipAxes()))
    return order, flips  # type: ignore[return-value]


def _tilt(axes: np.ndarray, where: str) -> list[str]:
    """Notes on axes (3, 3) tilted against the body's; UserError if they are tilted too far."""
    degrees = np.degrees(np.arccos(np.clip(np.abs(_units(axes)).max(1), 0, 1)))
    if degrees.max() > MOST_TILT:
        raise UserError(
            f"{where} lies turned by {degrees.max():.0f} degrees against the body's axes; at most "
            f"{MOST_TILT:.0f} are read. Reformat it as axial slices."
        )
    if degrees.max() <= NOTED_TILT:
        return []
    tilt = f"{degrees.max():.0f} degrees against the body's axes"
    return [f"The slices are tilted by {tilt}; they are kept as they are."]
