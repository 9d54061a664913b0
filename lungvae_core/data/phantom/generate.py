"""Make a whole SliceSet of phantoms, in parallel, the same by seed however many processes work on it."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.array_file import ArrayFile
from lungvae_core.data import cohort as paper
from lungvae_core.data.columns import NODULE
from lungvae_core.data.phantom.factors import COLUMNS, Factors, draw_from_ratings, draw_independent
from lungvae_core.data.phantom.render import render_slab
from lungvae_core.data.phantom.scene import Scanner, Slab
from lungvae_core.data.slices import KEY, RATINGS, DatasetInfo, SliceSet, write_streaming
from lungvae_core.errors import UserError
from lungvae_core.files import refuse_existing
from lungvae_core.workers import unordered

COHORT_SLICES = 13_852  # the paper's cohort; also the size of an independent set when no count is given
SLICES_PER_NODULE = 4  # of the independent draw, so that every draw of factors weighs the same
INDEPENDENT_SPACING_MM, INDEPENDENT_THICKNESS_MM = 0.7, 1.25
ATTRIBUTION = (
    "Readers' ratings, malignancy, sizes and positions: LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0 "
    "(Armato et al. 2011, doi 10.1118/1.3528204). The pixels are generated."
)
# Ways to draw factors, and how the set's description states them.
_RULES = {
    "lidc": "Nodules, slices, areas and ratings of the LIDC-IDRI cohort; pixels drawn from factors that "
    "follow the ratings. The mask is where the nodule fills at least half of a pixel.",
    "independent": "Factors uniform and independent of each other, four slices a nodule. The mask is where "
    "the nodule fills at least half of a pixel.",
}
_LIDC_COLUMNS = [
    *(*KEY, "malignancy", "z_mm", "row0", "col0", "area_px"),
    *("pixel_spacing_mm", "slice_thickness_mm", "slice_spacing_mm", "diameter_mm", "volume_mm3", "n_readers"),
    *(f"{rating}_all" for rating in RATINGS),
]
_CHUNK = 24  # nodules that a process renders at a time


@dataclass(frozen=True)
class _Job:
    """One nodule to render: what its slices are, and where they go."""

    patient: str
    nodule: int
    slab: Slab
    rating: dict[str, Any] | None  # None: factors are drawn independently
    rows: np.ndarray  # (n,) rows of the set that this nodule's slices fill; -1 is rendered but not kept


def make_phantom(
    out: str | Path,
    *,
    seed: int = 0,
    factors: str = "lidc",
    count: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    cohort: Callable[[], pd.DataFrame] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SliceSet:
    """Write a SliceSet of generated nodules to the folder `out` and open it.

    `factors` is "lidc" (drawn from the readers' ratings of the real nodules; patient ids, malignancy and
    sizes are LIDC's own) or "independent" (every factor uniform and independent of the others; no
    malignancy). `seed` is a whole number, 0 or more; the result depends on it alone, not on `workers`
    (processes; default: as many as the machine has cores). `count` is the number of slices (default 13,852,
    the paper's cohort); a smaller LIDC set is a random choice of nodules, the last of them cut short.
    `cohort()` returns the table of real nodules (default: `lungvae_core.data.cohort.cohort`).
    `progress(done, total)` is called with slices.

    Raises UserError for an unknown `factors`, a `count` or `workers` below 1, a negative seed, more slices
    than the cohort has, or an `out` that exists (unless `overwrite`); nothing is left behind then.
    """
    if factors not in _RULES:
        raise UserError(f"There is no way to draw factors called {factors!r}. Use {' or '.join(_RULES)}.")
    limits = (("number of slices", count, 1), ("number of workers", workers, 1), ("seed", seed, 0))
    for what, value, least in limits:
        if value is not None and value < least:
            raise UserError(f"The {what} is {value}, but must be {least} or more.")
    refuse_existing(Path(out), overwrite=overwrite)
    if factors == "lidc":
        table, jobs = _plan_lidc((cohort or paper.cohort)(), seed, count)
    else:
        table, jobs = _plan_independent(seed, COHORT_SLICES if count is None else count)
    values = np.zeros((len(table), len(COLUMNS)))
    area = np.zeros(len(table), int)  # in a LIDC set, what its table says already

    def fill(into_slices: ArrayFile, into_masks: ArrayFile) -> None:
        done = 0
        chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
        # One chunk is not worth starting processes for.
        parts = unordered(partial(_render_chunk, seed=seed), chunks, 1 if len(chunks) == 1 else workers)
        for rows, hu, masks, columns in parts:
            into_slices[rows], into_masks[rows], values[rows] = hu, masks, columns
            area[rows] = masks.sum(axis=(1, 2))
            done += len(rows)
            if progress is not None:
                progress(done, len(table))
        table[COLUMNS] = values
        table["area_px"] = area

    info = DatasetInfo(
        name="phantom" if factors == "lidc" else "phantom-independent",
        source=f"lungvae phantom, factors {factors}, seed {seed}",
        rule=_RULES[factors],
        attribution=ATTRIBUTION if factors == "lidc" else "",
        generated=True,
        details={"seed": seed, "factors": factors, "count": len(table)},
    )
    return write_streaming(out, len(table), fill, table, info, overwrite=overwrite)


def _plan_lidc(cohort: pd.DataFrame, seed: int, count: int | None) -> tuple[pd.DataFrame, list[_Job]]:
    """The table of the set and the nodules to render for it."""
    whole = cohort.sort_values(KEY, kind="stable").reset_index(drop=True)
    if count is not None and count > len(whole):
        raise UserError(
            f"The LIDC cohort has {len(whole)} slices, but {count} are asked for. Ask for fewer, or use "
            "--factors independent."
        )
    groups = list(whole.groupby(NODULE, sort=True).indices.values())
    kept = np.ones(len(whole), bool)
    if count is not None:
        # Nodules in an order that the seed alone decides: a smaller set is part of a larger one.
        order = np.concatenate([groups[i] for i in np.random.default_rng(seed).permutation(len(groups))])
        kept[order[count:]] = False
    place = np.where(kept, np.cumsum(kept) - 1, -1)
    jobs = []
    for rows in groups:
        if (place[rows] >= 0).any():
            # All of a nodule is rendered even where only part is kept: no slice depends on `count`.
            part = whole.iloc[rows]
            first = part.iloc[0]
            rating = {f"{name}_all": first[f"{name}_all"] for name in RATINGS}
            job = _Job(str(first["patient_id"]), int(first["nodule"]), _slab(part), rating, place[rows])
            jobs.append(job)
    columns = [name for name in _LIDC_COLUMNS if name in whole]
    return whole.loc[kept, columns].reset_index(drop=True), jobs


def _slab(part: pd.DataFrame) -> Slab:
    """Where the slices of one real nodule lie and how large its consensus mask is in each."""
    spacing = float(part["pixel_spacing_mm"].iloc[0])
    z = part["z_mm"].to_numpy(float)
    z = z - (z.min() + z.max()) / 2
    area = part["area_px"].to_numpy(float)
    radius = np.sqrt(area / np.pi) * spacing
    gap = float(part["slice_spacing_mm"].iloc[0])
    # Beyond its last slices the nodule is gone. What the radius does to either side gives the caps' blur.
    closed = np.concatenate([[0.0], radius, [0.0]])
    step = np.diff(closed) / max(gap, 0.1)
    slope = 0.9 * np.abs(step[1:] + step[:-1]) / 2 + 0.5 * (np.abs(step[1:]) + np.abs(step[:-1])) / 2
    middle = len(part) // 2
    shift = part[["col0", "row0"]].to_numpy(float)
    shift = np.clip(shift - shift[middle], -24, 24) * spacing
    thickness = float(part["slice_thickness_mm"].iloc[0])
    return Slab(z, shift, radius, slope, spacing, thickness, area_px=area.astype(int))


def _plan_independent(seed: int, count: int) -> tuple[pd.DataFrame, list[_Job]]:
    """Nodules of four slices, one a patient, each with factors of its own."""
    jobs, rows = [], []
    z = (np.arange(SLICES_PER_NODULE) - (SLICES_PER_NODULE - 1) / 2) * INDEPENDENT_THICKNESS_MM
    for start in range(0, count, SLICES_PER_NODULE):
        number = start // SLICES_PER_NODULE
        patient = f"PHANTOM-{number + 1:05d}"
        place = np.arange(start, start + SLICES_PER_NODULE)
        slab = Slab.at(z, INDEPENDENT_SPACING_MM, INDEPENDENT_THICKNESS_MM)
        jobs.append(_Job(patient, 0, slab, None, np.where(place < count, place, -1)))
        diameter = _draw_factors(jobs[-1], seed).diameter_mm
        rows += [
            {
                "patient_id": patient,
                "nodule": 0,
                "slice": i,
                "z_mm": float(z[i]),
                "area_px": 0,
                "pixel_spacing_mm": INDEPENDENT_SPACING_MM,
                "slice_thickness_mm": INDEPENDENT_THICKNESS_MM,
                "slice_spacing_mm": INDEPENDENT_THICKNESS_MM,
                "diameter_mm": diameter,
                "volume_mm3": float(np.pi / 6 * diameter**3),
            }
            for i in range(min(SLICES_PER_NODULE, count - start))
        ]
    return pd.DataFrame(rows), jobs


def _draw_factors(job: _Job, seed: int) -> Factors:
    rng = np.random.default_rng(_sequence(seed, job.patient, job.nodule, 1))
    if job.rating is None:
        return draw_independent(rng)
    return draw_from_ratings(job.rating, float(job.slab.radius.max()), job.slab.spacing_mm, rng)


def _sequence(seed: int, patient: str, *parts: int) -> np.random.SeedSequence:
    """The random stream of one patient, or of one part of one nodule: no other nodule has a say in it."""
    return np.random.SeedSequence([seed, zlib.crc32(patient.encode()), *parts])


def _render_job(job: _Job, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows (n,), HU (n, 64, 64), masks (n, 64, 64) and factor columns (n, 9) of one nodule's kept slices."""
    factors = _draw_factors(job, seed)
    slab = job.slab
    if job.rating is None:
        # A ball, cut off the middle.
        half = factors.diameter_mm / 2
        radius = np.sqrt(half**2 - slab.z**2)
        slab = replace(slab, radius=radius, slope=np.abs(slab.z) / radius)
    scanner = Scanner.draw(np.random.default_rng(_sequence(seed, job.patient)))
    hu, masks, diameters, distances = render_slab(
        factors, slab, scanner, _sequence(seed, job.patient, job.nodule, 2)
    )
    columns = np.repeat([list(factors.columns().values())], len(hu), axis=0)
    columns[:, COLUMNS.index("factor_diameter_mm")] = diameters
    columns[:, COLUMNS.index("factor_pleura_mm")] = distances
    kept = job.rows >= 0
    return job.rows[kept], hu[kept], masks[kept], columns[kept]


def _render_chunk(jobs: list[_Job], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from threadpoolctl import threadpool_limits

    # One thread: the matrices are small, and how a product is split among threads could change its last bit.
    with threadpool_limits(1, user_api="blas"):
        parts = zip(*(_render_job(job, seed) for job in jobs), strict=True)
        rows, hu, masks, columns = map(np.concatenate, parts)
    return rows, hu, masks, columns
