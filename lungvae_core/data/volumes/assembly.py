"""DICOM files as one stack: which belong together, in which order, and what is left out.

One series can hold several stacks: phases, kernels, dual energy, reformats, an overview. They never mix.
Differences in the last decimals do not split a stack.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from lungvae_core.data.volumes.dicom import FACTORS, PHASES, Header, read_ct
from lungvae_core.data.volumes.formats import natural
from lungvae_core.data.volumes.grid import Grid
from lungvae_core.data.volumes.volume import File
from lungvae_core.errors import UserError
from lungvae_core.number_text import plural

MOST_BYTES = 768 * 2**20  # of a stack in HU: 1,500 slices of 512x512
SAME_PLACE_MM = 0.1  # slices nearer than that lie at one place; the finest scanners' lie 0.2 mm apart
MOST_DOUBLES = 0.2  # doubles for each place that are left out without knowing what they are
_SAME_TURN = 2e-3  # by which one stack's direction cosines may differ: 0.1 degrees
_SAME_SIDE = 1e-3  # share by which its pixels' sides may differ
_UNEVEN = 0.1  # of the usual distance between slices, by which one may differ


@dataclass(frozen=True)
class Slice(File):
    """One file of a series."""

    header: Header


@dataclass(frozen=True)
class Stack:
    """The slices of one stack in order, rising where the files state positions; pixels as stored."""

    slices: list[Slice]
    hu: np.ndarray  # (slices, rows, columns) int16
    grid: Grid | None
    spacing_mm: float | None


def assemble(files: Sequence[Slice], notes: list[str]) -> Stack:
    """The stack with the most slices among CT files; what was left out, and why, is added to `notes`."""
    ordered = _placed(_doubles(_largest(list(files), notes), notes), notes)
    stack = _read(ordered, notes)
    if stack.grid is not None:
        _say_gaps(stack.grid.places_mm, notes)
    return stack


def place_of(header: Header) -> float | None:
    """A slice's place along its normal in mm, rising along the axis that the normal is nearest to."""
    if header.position_mm is None:
        return None
    normal = np.array([0.0, 0.0, 1.0])
    if header.orientation is not None:
        across = np.cross(header.orientation[:3], header.orientation[3:])
        if (length := float(np.linalg.norm(across))) > 1e-6:
            normal = across / length
    if normal[np.abs(normal).argmax()] < 0:
        normal = -normal
    return float(np.dot(normal, header.position_mm))


# --- which belong together ----------------------------------------------------


def _largest(files: list[Slice], notes: list[str]) -> list[Slice]:
    """The stack with the most slices; of several as large, the one with the lowest acquisition and number."""
    stacks, reasons = [_largest_series(files, notes)], []
    for part, reason in _parts():
        split = [part(stack) for stack in stacks]
        if any(len(one) > 1 for one in split):
            reasons.append(reason)
        stacks = [stack for one in split for stack in one]
    stacks.sort(key=lambda stack: (-len(stack), stack[0].header.phases, _number(stack[0])))
    if len(stacks) > 1:
        left = [len(stack) for stack in stacks[1:]]
        notes.append(
            f"The series holds {len(stacks)} stacks that differ in {', '.join(dict.fromkeys(reasons))}; they "
            f"are not mixed: {len(stacks[0]):,} slices are shown, {sum(left):,} left out ({_sizes(left)})."
        )
    return stacks[0]


def _largest_series(files: list[Slice], notes: list[str]) -> list[Slice]:
    series: dict[tuple[str, str], list[Slice]] = defaultdict(list)
    for file in _without_copies(files, notes):
        series[file.header.patient_id, file.header.series_uid].append(file)
    groups = sorted(series.values(), key=len, reverse=True)
    if len(groups) > 1:
        notes.append(
            f"The upload holds {len(groups)} series; the one with the most slices ({len(groups[0]):,}) is "
            f"shown. The others have {_sizes([len(group) for group in groups[1:]])}."
        )
    return groups[0]


def _sizes(counts: list[int]) -> str:
    """The first five of several sizes."""
    return ", ".join(f"{count:,}" for count in counts[:5]) + (" and so on" if len(counts) > 5 else "")


def _without_copies(files: list[Slice], notes: list[str]) -> list[Slice]:
    """The files without copies, which have the same identity, place and bytes as another."""
    kept: list[Slice] = []
    seen: dict[tuple, list[Slice]] = defaultdict(list)
    contents: dict[str, str] = {}
    copies = 0

    def content(file: Slice) -> str:
        if file.name not in contents:
            contents[file.name] = hashlib.sha256(file.open().read()).hexdigest()
        return contents[file.name]

    for file in files:
        header = file.header
        key = (header.series_uid, header.sop_uid, header.position_mm, header.instance)
        if header.sop_uid and any(content(file) == content(other) for other in seen[key]):
            copies += 1
            continue
        seen[key].append(file)
        kept.append(file)
    if copies:
        notes.append(f"{plural(copies, 'copy', 'copies')} of the same file left out.")
    identities = Counter(file.header.sop_uid for file in kept if file.header.sop_uid)
    if shared := sum(count for count in identities.values() if count > 1):
        notes.append(f"{shared:,} slices share their identity (SOP Instance UID) with others; all are kept.")
    return kept


def _parts() -> Iterator[tuple[Callable[[list[Slice]], list[list[Slice]]], str]]:
    """The ways in which a series can fall into stacks, each with its name."""
    yield partial(_alike, key=attrgetter("orientation"), most=_SAME_TURN), "orientation"
    yield partial(_alike, key=attrgetter("spacing_mm"), share=_SAME_SIDE), "pixel spacing"
    for at, name in enumerate(FACTORS.values()):
        yield partial(_by, key=_entry("factors", at)), name
    for at, name in enumerate(PHASES.values()):
        yield partial(_apart, key=_entry("phases", at)), name


def _entry(field: str, at: int) -> Callable[[Header], Any]:
    """What reads one entry of a header's tuple `field`."""
    return lambda header: getattr(header, field)[at]


def _alike(
    stack: list[Slice], key: Callable[[Header], Any], *, most: float = 0.0, share: float = 0.0
) -> list[list[Slice]]:
    """Slices whose numbers agree with those of the first of their group, up to last decimals."""
    groups: list[tuple[tuple[float, ...] | None, list[Slice]]] = []
    for file in stack:
        own = key(file.header)
        for first, members in groups:
            if own == first or (own and first and np.allclose(own, first, rtol=share, atol=most)):
                members.append(file)
                break
        else:
            groups.append((own, [file]))
    return [members for _, members in groups]


def _by(stack: list[Slice], key: Callable[[Header], str]) -> list[list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for file in stack:
        groups[key(file.header)].append(file)
    return list(groups.values())


def _apart(stack: list[Slice], key: Callable[[Header], str]) -> list[list[Slice]]:
    """Parts by a value that one scan may count on as it goes: only where they overlap in place."""
    groups = _by(stack, key)
    # If each slice has a value of its own, it does not say which belong together.
    if len(groups) < 2 or max(map(len, groups)) == 1:
        return [stack]
    spans: list[tuple[float, float]] = []
    for group in groups:
        places = [place for file in group if (place := place_of(file.header)) is not None]
        if len(places) < len(group):
            return groups
        spans.append((min(places), max(places)))
    spans.sort()
    overlap = any(later[0] < earlier[1] + SAME_PLACE_MM for earlier, later in itertools.pairwise(spans))
    return groups if overlap else [stack]


def _doubles(stack: list[Slice], notes: list[str]) -> list[Slice]:
    """The stack with one slice per place, the first by number.

    Whole repeats, one after another or slice by slice, are recognised by the slices' numbers. Otherwise only
    a few doubles are left out: UserError for more, since unrelated slices would be mixed.
    """
    if any(file.header.position_mm is None for file in stack):
        return stack
    numbered = sorted(stack, key=lambda file: (_number(file), natural(file.name)))
    places = np.array([place_of(file.header) for file in numbered], float)
    order = np.argsort(places, kind="stable")
    place = np.empty(len(stack), int)  # which place each slice is at
    place[order] = np.cumsum(np.diff(places[order], prepend=-np.inf) > SAME_PLACE_MM) - 1
    counts = np.bincount(place)
    if counts.max() == 1:
        return stack
    # How many slices of the same place come before each.
    turn = np.array([int((place[:at] == own).sum()) for at, own in enumerate(place)])
    one_by_one = (np.diff(turn) >= 0).all()
    place_by_place = (np.diff(place) >= 0).all() or (np.diff(place) <= 0).all()
    doubles = int((turn > 0).sum())
    repeats = counts.min() == counts.max() and (one_by_one or place_by_place)
    if not repeats and doubles > MOST_DOUBLES * len(counts):
        raise UserError(
            f"{doubles:,} of the series' {len(stack):,} slices lie at the place of another, and nothing in "
            "the files says which belong together. Upload one phase or reconstruction."
        )
    notes.append(
        f"{plural(doubles, 'slice')} at the place of another left out: the series may have several phases. "
        "The first of each place, by number, is shown."
    )
    return [file for file, own in zip(numbered, turn, strict=True) if own == 0]


def _number(file: Slice) -> int:
    return file.header.instance or 0


# --- in which order -----------------------------------------------------------


def _placed(slices: list[Slice], notes: list[str]) -> list[Slice]:
    """Slices by their place along the normal; by their numbers where places are unknown."""
    if any(file.header.position_mm is None for file in slices):
        notes.append("The files do not say where their slices lie; they are in the order of their numbers.")
        return sorted(slices, key=lambda file: (_number(file), natural(file.name)))
    return sorted(slices, key=lambda file: (place_of(file.header), _number(file)))


def _say_gaps(places: np.ndarray, notes: list[str]) -> None:
    gaps = np.diff(places)
    if len(gaps) < 2:
        return
    usual = float(np.median(gaps))
    if missing := int(sum(round(gap / usual) - 1 for gap in gaps if gap > 1.5 * usual)):
        notes.append(
            f"About {missing:,} slices are missing: they lie {usual:.4g} mm apart, and the largest gap is "
            f"{gaps.max():.4g} mm. Outlines are not followed across a gap."
        )
    even = gaps[gaps <= 1.5 * usual]
    if np.abs(even - usual).max(initial=0) > _UNEVEN * usual:
        notes.append(f"The slices are unevenly spaced: {even.min():.3g} to {even.max():.3g} mm.")


# --- their pixels -------------------------------------------------------------


def _read(slices: list[Slice], notes: list[str]) -> Stack:
    kept, metas, failed = [], [], []
    images: list[np.ndarray] = []
    for file in slices:
        try:
            hu, meta = read_ct(file.open(), name=file.name)
        except UserError as error:
            failed.append(error)
            if len(failed) > len(slices) / 2:
                raise failed[0] from error
            continue
        _check_size(hu, images, len(slices))
        kept.append(file)
        images.append(hu)
        metas.append(meta)
    if failed:
        notes.append(f"{plural(len(failed), 'slice')} left out: {failed[0]}")
    if lossy := sum(meta.lossy for meta in metas):
        notes.append(
            f"{plural(lossy, 'slice')} compressed with loss: small differences in HU are not the patient's."
        )
    grids = [meta.grid for meta in metas if meta.grid is not None]
    grid = None
    if len(grids) == len(metas):
        corners = np.concatenate([each.corners_mm for each in grids])
        grid = Grid(corners, grids[0].row_mm, grids[0].column_mm)
    return Stack(kept, np.stack(images), grid, metas[0].pixel_spacing_mm)


def _check_size(hu: np.ndarray, before: list[np.ndarray], count: int) -> None:
    """UserError where a slice is not of the size of those before it, or `count` of its size are too many."""
    rows, columns = hu.shape
    if not before and hu.nbytes * count > MOST_BYTES:
        raise UserError(
            f"The series is too large: {count:,} slices of {rows}x{columns}. "
            "Upload the slices around the lesion."
        )
    if before and hu.shape != before[0].shape:
        raise UserError(
            f"The series has slices of {before[0].shape[0]}x{before[0].shape[1]} and of "
            f"{rows}x{columns} pixels. Upload slices of one size."
        )
