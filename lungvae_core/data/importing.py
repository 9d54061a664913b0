"""Any other data as a SliceSet: arrays with a table, or a manifest of image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lungvae_core.data import slices as slice_set
from lungvae_core.data.images import GREY_SUFFIXES, ImageFile, as_int16, load_array, patch_of, read_image
from lungvae_core.data.slices import KEY, SIZE, DatasetInfo, SliceSet
from lungvae_core.errors import UserError
from lungvae_core.files import refuse_existing

_TEXT = ["patient_id", "series_uid", "annotation_ids"]


def import_arrays(
    slices: Path,
    table: Path,
    out: Path,
    *,
    masks: Path | None = None,
    name: str = "",
    attribution: str = "",
    overwrite: bool = False,
) -> SliceSet:
    """Make a SliceSet of `slices` (N, 64, 64) HU, `masks` and a csv or parquet table of N rows.

    Masks are (N, 64, 64) of 0 and 1, or (N, 512) of packed bits (numpy.packbits). The table needs
    patient_id; nodule and slice are counted up where it lacks them. Raises UserError for anything else.
    """
    refuse_existing(out, overwrite=overwrite)
    rows = read_table(table)
    pixels = load_array(slices)
    if pixels.ndim != 3 or pixels.shape[1:] != (SIZE, SIZE):
        raise UserError(f"{slices} has the shape {pixels.shape}, but (N, {SIZE}, {SIZE}) is needed.")
    if pixels.dtype.kind not in "iuf":
        raise UserError(f"{slices} holds {pixels.dtype}, not numbers.")
    outlines = load_array(masks) if masks else None
    counts = {str(slices): len(pixels), str(table): len(rows)}
    if outlines is not None:
        counts[str(masks)] = len(outlines)
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{path} has {count}" for path, count in counts.items())
        raise UserError(f"The files differ in their number of rows: {told}. Row i of each must be one slice.")

    def fill(into_slices: np.ndarray, into_masks: np.ndarray) -> None:
        for start in range(0, len(rows), 1024):
            part = slice(start, start + 1024)
            block = np.asarray(pixels[part])
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                raise UserError(
                    f"{slices} holds values that are not numbers, between rows {start} and later."
                )
            into_slices[part] = as_int16(block)
            into_masks[part] = 0 if outlines is None else _unpack(outlines[part], masks)

    info = DatasetInfo(
        name=name or out.name,
        source=f"imported from {slices.name} and {table.name}",
        rule="crops and labels as the imported files gave them",
        attribution=attribution,
    )
    return slice_set.write_streaming(out, len(rows), fill, rows, info, overwrite=overwrite)


def import_manifest(
    manifest: Path, out: Path, *, name: str = "", attribution: str = "", overwrite: bool = False
) -> SliceSet:
    """Make a SliceSet of the image files that a csv lists, a row a slice.

    Columns: file (relative to the manifest) and patient_id; where needed row and column (the lesion's
    centre), index (the slice of a NIfTI or stacked npy, from 0), hu_low and hu_high (png, 8-bit npy),
    mask (a file of the same kind and size), pixel_spacing_mm; any other column, such as malignancy (1 to 5)
    or diameter_mm, is kept. Raises UserError naming the row for anything that cannot be read.
    """
    refuse_existing(out, overwrite=overwrite)
    rows = read_table(manifest)
    if "file" not in rows:
        raise UserError(f"{manifest} needs a column named file with the image files' paths.")
    table = rows.drop(columns=["mask"], errors="ignore")
    if "pixel_spacing_mm" not in table:
        table["pixel_spacing_mm"] = np.nan

    def fill(into_slices: np.ndarray, into_masks: np.ndarray) -> None:
        # What the files know beyond their pixels joins the table, which is written after this.
        spacing = table["pixel_spacing_mm"].to_numpy(float, copy=True)
        for index, row in enumerate(rows.to_dict("records")):
            try:
                into_slices[index], into_masks[index], found = _read_row(manifest.parent, row)
            except UserError as error:
                raise UserError(f"{manifest}, row {index + 2}: {row['file']}: {error}") from error
            if found is not None and np.isnan(spacing[index]):
                spacing[index] = found
        table["pixel_spacing_mm"] = spacing
        if "mask" in rows and "area_px" not in table:
            table["area_px"] = into_masks.reshape(len(table), -1).sum(1, dtype=np.int64)

    info = DatasetInfo(
        name=name or out.name,
        source=f"imported from the files listed in {manifest.name}",
        rule="64x64 around the given centres, native spacing",
        attribution=attribution,
    )
    return slice_set.write_streaming(out, len(table), fill, table, info, overwrite=overwrite)


def _read_row(base: Path, row: dict) -> tuple[np.ndarray, np.ndarray, float | None]:
    """(slice (64, 64) HU, mask (64, 64) of 0 and 1, pixel spacing in mm if the file tells it)."""
    low, high, index = (_number(row.get(name)) for name in ("hu_low", "hu_high", "index"))
    centre = {
        "row": _number(row.get("row")),
        "column": _number(row.get("column")),
        "slice_index": None if index is None else int(index),
    }
    image = read_image(base / str(row["file"]), hu_range=None if low is None or high is None else (low, high))
    patch = patch_of(image, where="the image", **centre)  # type: ignore[arg-type]
    inside = np.zeros_like(patch, np.uint8)
    if isinstance(row.get("mask"), str) and row["mask"]:
        outline = patch_of(_read_mask(base / row["mask"]), where="the mask", **centre)  # type: ignore[arg-type]
        inside = (outline == 1).astype(np.uint8)  # beyond the image a crop holds air, not 1
    return patch, inside, image.spacing_mm


def read_table(path: Path) -> pd.DataFrame:
    """A csv or parquet table with the SliceSet's key; nodule and slice are counted up where missing."""
    if not path.is_file():
        raise UserError(f"There is no table at {path}.")
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            table = pd.read_csv(path, dtype=dict.fromkeys(_TEXT, "string"), low_memory=False)
    except Exception as error:  # pandas and pyarrow raise many kinds on damaged input
        raise UserError(f"{path} cannot be read as a table ({error}).") from error
    if "patient_id" not in table:
        raise UserError(f"{path} needs a column patient_id: splits are by patient.")
    if table.empty:
        raise UserError(f"{path} has no rows.")
    if table["patient_id"].isna().any():
        raise UserError(f"{path}: patient_id must be filled in every row: splits are by patient.")
    if "malignancy" in table:
        rating = pd.to_numeric(table["malignancy"], errors="coerce")
        bad = table["malignancy"].notna() & ~rating.between(1, 5)
        if bad.any():
            raise UserError(
                f"{path}: malignancy must be 1 to 5 or empty; row {int(np.flatnonzero(bad)[0]) + 2} has "
                f"{table['malignancy'][bad].iloc[0]}."
            )
        table["malignancy"] = rating.astype("Int64")
    if "nodule" not in table:
        table["nodule"] = 0
    if "slice" not in table:
        table["slice"] = table.groupby(["patient_id", "nodule"]).cumcount()
    ratings = [column for column in table if str(column).endswith("_all")]
    table = table.astype(dict.fromkeys(ratings, "string"))
    return table[[*KEY, *(column for column in table if column not in KEY)]]


def _read_mask(path: Path) -> ImageFile:
    """A mask's file as 0 and 1: anything but 0 is inside."""
    if path.suffix.lower() == ".npy":
        values = np.asarray(load_array(path))
    elif path.suffix.lower() in GREY_SUFFIXES:
        values = read_image(path, hu_range=(0, np.iinfo(np.int16).max)).hu
    else:
        values = read_image(path).hu
    return ImageFile((values != 0).astype(np.int16))


def _unpack(block: np.ndarray, path: Path | None) -> np.ndarray:
    if block.ndim == 2 and block.shape[1] == SIZE * SIZE // 8 and block.dtype == np.uint8:
        return np.unpackbits(block, axis=1).reshape(-1, SIZE, SIZE)
    if block.ndim == 3 and block.shape[1:] == (SIZE, SIZE):
        return (block != 0).astype(np.uint8)
    raise UserError(
        f"{path} has rows of the shape {block.shape[1:]}; masks are ({SIZE}, {SIZE}), or {SIZE * SIZE // 8} "
        "bytes of packed bits (uint8)."
    )


def _number(value: object) -> float | None:
    return None if value is None or pd.isna(value) else float(value)  # type: ignore[call-overload, arg-type]
