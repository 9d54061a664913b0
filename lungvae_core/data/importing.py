"""Any other data as a SliceSet: arrays with a table, or a manifest of image files."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from lungvae_core.array_file import ArrayFile
from lungvae_core.data import slices as slice_set
from lungvae_core.data.columns import without_own
from lungvae_core.data.crops import agreed_spacing, box_of, cut, patch_of, stated_range
from lungvae_core.data.masks import inside, read_mask
from lungvae_core.data.series import Series, read_file, read_path
from lungvae_core.data.slices import SIZE, DatasetInfo, SliceSet
from lungvae_core.data.tables import NoduleRule, read_table
from lungvae_core.data.volumes.npy import load_array
from lungvae_core.data.volumes.scale import check_numbers, to_hu
from lungvae_core.errors import UserError
from lungvae_core.files import refuse_existing
from lungvae_core.number_text import first_few
from lungvae_core.parameters import LONGEST_NAME, text

_BLOCK = 256  # slices read at a time


def import_arrays(
    slices: Path,
    table: Path,
    out: Path,
    *,
    masks: Path | None = None,
    nodules: NoduleRule = "column",
    hu_range: tuple[float, float] | None = None,
    name: str = "",
    attribution: str = "",
    overwrite: bool = False,
) -> SliceSet:
    """Make a SliceSet of `slices` (N, 64, 64) HU, `masks` and a table of N rows (`tables.read_table`).

    `hu_range` says which HU black and white stand for where `slices` holds grey levels: uint8, uint16, or
    floats from 0 to 1. Masks are (N, 64, 64), lesion where not 0, or (N, 512) packed bits (numpy.packbits).
    Raises UserError for anything else, naming rows whose values cannot be HU.
    """
    refuse_existing(out, overwrite=overwrite)
    set_name = text("The data set's name", name or out.name, LONGEST_NAME)
    checked = read_table(table, nodules=nodules)
    rows, details = checked.frame, checked.details()
    pixels = _pixels(slices)
    outlines = load_array(masks) if masks else None
    counts = {str(slices): len(pixels), str(table): len(rows)}
    counts |= {} if outlines is None else {str(masks): len(outlines)}
    if len(set(counts.values())) != 1:
        listing = ", ".join(f"{path} has {count}" for path, count in counts.items())
        raise UserError(
            f"The files differ in their number of rows: {listing}. Row i of each must be one slice."
        )
    seen = _SamePixels()

    def fill(into_slices: ArrayFile, into_masks: ArrayFile) -> None:
        reasons: dict[int, str] = {}
        outlined = outlines is None
        for start in range(0, len(rows), _BLOCK):
            part = slice(start, start + _BLOCK)
            for row, one in enumerate(np.asarray(pixels[part]), start):
                try:
                    into_slices[row] = hu = to_hu(one, f"{slices}, row {row}", hu_range=hu_range)
                    seen.add(row, hu)
                except UserError as error:
                    reasons[row] = str(error)
            inside = np.uint8(0) if outlines is None else _unpack(outlines[part], masks)
            outlined |= not inside.all()
            into_masks[part] = inside
        if not outlined:
            raise UserError(f"{masks} marks every pixel of every slice. Give masks that outline the lesions.")
        if reasons:
            raise UserError(_in_rows(reasons, len(rows)))
        details["notes"] += seen.notes(rows, checked.lines)

    info = DatasetInfo(
        name=set_name,
        source=f"imported from {slices.name} and {table.name}",
        rule="crops and labels as the imported files gave them",
        attribution=attribution,
        details={"import": details},
    )
    return slice_set.write_streaming(out, len(rows), fill, rows, info, overwrite=overwrite)


def _pixels(path: Path) -> np.ndarray:
    """(N, 64, 64) numbers of an npy file."""
    pixels = load_array(path)
    if pixels.ndim != 3 or pixels.shape[1:] != (SIZE, SIZE):
        raise UserError(f"{path} has the shape {pixels.shape}, but (N, {SIZE}, {SIZE}) is needed.")
    check_numbers(pixels[:1], str(path))
    return pixels


def import_manifest(
    manifest: Path,
    out: Path,
    *,
    nodules: NoduleRule = "column",
    name: str = "",
    attribution: str = "",
    overwrite: bool = False,
) -> SliceSet:
    """Make a SliceSet of the image files listed in a csv, one row per slice.

    Columns: file (relative to the manifest) and patient_id; where needed row and column (the lesion's
    centre), index (the slice of a stack, from 0), hu_low and hu_high (for grey levels), mask (a file of the
    lesion, brought onto the image by its position, or of the image's own shape), pixel_spacing_mm; any other
    column, such as malignancy (1 to 5) or diameter_mm, is kept. Raises UserError naming the row for anything
    that cannot be read. Remarks about the files are in the notes of the set's details, each with its number
    of rows.
    """
    refuse_existing(out, overwrite=overwrite)
    set_name = text("The data set's name", name or out.name, LONGEST_NAME)
    checked = read_table(manifest, manifest=True, nodules=nodules)
    rows, details = checked.frame, checked.details()
    # The manifest's columns on where the pixels are must not collide with our own.
    table = rows.drop(columns=["mask"], errors="ignore").rename(columns=without_own(rows.columns))
    notes: Counter[str] = Counter()

    seen = _SamePixels()

    def fill(into_slices: ArrayFile, into_masks: ArrayFile) -> None:
        # What the files state beyond pixels is added to the table, which is written after this.
        read = lru_cache(maxsize=2)(read_path)  # the rows of one file mostly follow one another
        spacing = np.full(len(rows), np.nan)
        area = np.zeros(len(rows), np.int64)
        for number, row in enumerate(rows.to_dict("records")):
            cells = {name: None if pd.isna(cell) else cell for name, cell in row.items()}
            try:
                hu_range = stated_range(cells.get("hu_low"), cells.get("hu_high"))
                series = read(manifest.parent / str(cells["file"]), hu_range=hu_range)
                patch, outline = _read_row(manifest.parent, cells, series)
                side = agreed_spacing(series, cells.get("pixel_spacing_mm"), "pixel_spacing_mm")
            except UserError as error:
                raise UserError(f"{manifest}, row {checked.lines[number]}: {row['file']}: {error}") from error
            into_slices[number], into_masks[number] = patch, outline
            spacing[number] = side  # NaN if neither states it
            area[number] = outline.sum()
            seen.add(number, patch)
            notes.update(series.notes)
        table["pixel_spacing_mm"] = spacing
        if "mask" in rows and "area_px" not in table:
            table["area_px"] = area
        details["notes"] += [f"In {count:,} of the rows: {note}" for note, count in notes.items()]
        details["notes"] += seen.notes(table, checked.lines)

    info = DatasetInfo(
        name=set_name,
        source=f"imported from the files listed in {manifest.name}",
        rule="64x64 around the given centres, native spacing",
        attribution=attribution,
        details={"import": details},
    )
    return slice_set.write_streaming(out, len(table), fill, table, info, overwrite=overwrite)


def _read_row(base: Path, cells: dict, series: Series) -> tuple[np.ndarray, np.ndarray]:
    """(slice (64, 64) HU, mask (64, 64) of 0 and 1)."""
    box = box_of(
        series, row=cells.get("row"), column=cells.get("column"), index=cells.get("index"), where="the image"
    )
    patch = patch_of(series, box, where="the image")
    if cells.get("mask") is None:
        return patch, np.zeros_like(patch, np.uint8)
    path = base / str(cells["mask"])
    outline = cut(read_mask(read_file(path), str(path), series), box, beyond=0).astype(np.uint8)
    if not outline.any():
        raise UserError(
            f"the mask {cells['mask']} marks nothing in that crop. Check the position and the index."
        )
    return patch, outline


def _in_rows(reasons: dict[int, str], count: int) -> str:
    """A sentence about the rows that cannot be HU, counted from 0."""
    first = next(iter(reasons.values()))
    if len(reasons) == 1:
        return first
    rows = first_few(list(map(str, reasons)), 5, ", ")
    return f"{first} So it is, or similar, with {len(reasons):,} of {count:,} rows: {rows}."


class _SamePixels:
    """Rows whose slices are identical; flat slices do not count."""

    def __init__(self) -> None:
        self._rows: dict[bytes, list[int]] = {}

    def add(self, row: int, pixels: np.ndarray) -> None:
        if pixels.min() != pixels.max():
            content = np.ascontiguousarray(pixels, np.int16).tobytes()
            self._rows.setdefault(hashlib.sha256(content).digest(), []).append(row)

    def notes(self, table: pd.DataFrame, lines: np.ndarray) -> list[str]:
        """Sentences that name them; `lines` (N,) are the rows' numbers in the table's file."""
        patients = table["patient_id"].astype(str).to_numpy()
        several: list[str] = []
        one: list[str] = []
        for rows in (rows for rows in self._rows.values() if len(rows) > 1):
            owners = sorted(set(patients[rows]))
            listing = f"rows {', '.join(map(str, lines[rows][:5]))} ({', '.join(owners[:5])})"
            (one if len(owners) == 1 else several).append(listing)
        notes = []
        if several:
            notes.append(
                f"WARNING: slices of different patients have the same pixels: {first_few(several)}. If "
                "they are one patient, give the patient one id; figures would leak."
            )
        if one:
            notes.append(
                f"Slices of one patient have the same pixels and are counted apart: {first_few(one)}."
            )
        return notes


def _unpack(block: np.ndarray, path: Path | None) -> np.ndarray:
    if block.ndim == 2 and block.shape[1] == SIZE * SIZE // 8 and block.dtype == np.uint8:
        return np.unpackbits(block, axis=1).reshape(-1, SIZE, SIZE)
    if block.ndim == 3 and block.shape[1:] == (SIZE, SIZE):
        return inside(block, str(path)).astype(np.uint8)
    raise UserError(
        f"{path} has rows of the shape {block.shape[1:]}; masks are ({SIZE}, {SIZE}), or {SIZE * SIZE // 8} "
        "bytes of packed bits (uint8)."
    )
