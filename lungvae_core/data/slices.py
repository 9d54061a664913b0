"""SliceSet: 64x64 CT slices of lesions with masks and a table, on disk, memory-mapped and checked.

The folder holds `slices.npy` (int16 HU, N x 64 x 64), `masks.npy` (uint8 0 or 1, N x 64 x 64),
`table.parquet` (a row a slice; key patient_id, nodule, slice) and `dataset.json` (where it came from, the
rule, a content hash). Everything that trains, encodes or evaluates takes a SliceSet.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lungvae_core.array_file import ArrayFile
from lungvae_core.data.columns import KEY as KEY
from lungvae_core.data.columns import RATINGS as RATINGS
from lungvae_core.data.labels import labels
from lungvae_core.data.parquet import read_parquet
from lungvae_core.data.tables import CheckedTable, checked
from lungvae_core.errors import UserError
from lungvae_core.files import atomic_folder, read_json, sha256, write_json
from lungvae_core.parameters import LONGEST_NAME

SIZE = 64
# LIDC's own words for the malignancy rating.
MALIGNANCY_WORDS = {
    1: "highly unlikely",
    2: "moderately unlikely",
    3: "indeterminate",
    4: "moderately suspicious",
    5: "highly suspicious",
}


def rating_text(rating: float) -> str:
    """A rating as text: "4", or for a mean "2.67"."""
    return f"{float(rating):.2f}".rstrip("0").rstrip(".")


def malignancy_meaning(rating: float) -> str:
    """LIDC's description of a malignancy rating from 1 to 5; for a mean, the two around it."""
    below, above = math.floor(rating), math.ceil(rating)
    if below == above:
        return MALIGNANCY_WORDS[below]
    return f"between {MALIGNANCY_WORDS[below]} and {MALIGNANCY_WORDS[above]}"


def malignancy_grade(ratings: np.ndarray) -> np.ndarray:
    """(N,) float: the nearest of 1 to 5 on a rating's own side of 3; 3 is 3 exactly, and NaN stays.

    So a mean counts as in the label rules: 2.67 is benign, 3.5 malignant.
    """
    return np.where(
        ratings > 3, np.maximum(np.rint(ratings), 4), np.minimum(np.rint(ratings), 2 + (ratings == 3))
    )


FACTOR = "factor_"  # begins the columns of a phantom's known factors
FORMAT = 1
_Array = np.ndarray | ArrayFile
_FILES = ("slices.npy", "masks.npy", "table.parquet")


class DatasetInfo(BaseModel):
    """dataset.json: what a SliceSet is and where it came from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = FORMAT
    name: Annotated[str, Field(max_length=LONGEST_NAME)]
    source: str  # in words: the archive, the folder's kind, the generator and its seed
    rule: str  # how the crops and labels were made
    attribution: str = ""
    generated: bool = False  # True for phantoms: no patient was scanned
    details: dict[str, Any] = {}
    count: int = 0
    content_hash: str = ""  # sha256 over slices.npy, masks.npy, table.parquet


@dataclass(frozen=True)
class SliceSet:
    """N slices with their masks and table; row i of all three is the same slice."""

    folder: Path
    slices: np.ndarray  # (N, 64, 64) int16 HU, memory-mapped read-only
    masks: np.ndarray  # (N, 64, 64) uint8, 1 inside the lesion, memory-mapped read-only
    table: pd.DataFrame  # N rows; at least KEY; see docs/formats.md
    info: DatasetInfo
    notes: tuple[str, ...] = ()  # sentences: what of its table was read otherwise than it is written

    def __len__(self) -> int:
        return len(self.slices)

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> SliceSet:
        """Open a SliceSet, checking its files, shapes and (if `verify`) content hash.

        Raises UserError when anything is missing, damaged, or of another shape or format.
        """
        folder = Path(folder)
        make = "Make one with `lungvae prepare`, `lungvae import` or `lungvae phantom`"
        if not folder.is_dir():
            raise UserError(f"There is no data set at {folder}. {make}, or correct the path.")
        if not (folder / "dataset.json").exists():
            raise UserError(f"{folder} is not a data set: it has no dataset.json. {make}.")
        info = _read_info(folder)
        for name in _FILES:
            if not (folder / name).is_file():
                raise UserError(f"The data set {folder} is damaged: {name} is missing. Make it again.")
        if verify and sha256(*(folder / name for name in _FILES)) != info.content_hash:
            raise UserError(
                f"The data set {folder} is damaged or was changed: its content does not match the hash in "
                "dataset.json. Make it again from its source."
            )
        slices = _load(folder / "slices.npy", np.dtype(np.int16))
        masks = _load(folder / "masks.npy", np.dtype(np.uint8))
        try:
            table = read_parquet(folder / "table.parquet")
        except UserError:
            raise
        except Exception as error:  # pyarrow raises many kinds; to a person they are one
            raise UserError(f"The data set {folder} is damaged: table.parquet cannot be read.") from error
        whole = check(slices, masks, table, where=f"The table of {folder}", generated=info.generated)
        if len(table) != info.count:
            raise UserError(
                f"The data set {folder} is damaged: {len(table)} rows, but dataset.json says {info.count}."
            )
        return cls(folder, slices, masks, whole.frame, info, tuple(whole.notes))

    def labelled(self) -> np.ndarray:
        """(N,) float: 1 malignant (rating above 3), 0 benign (below 3), NaN indeterminate or unknown."""
        return malignant(self.table)


def malignant(table: pd.DataFrame) -> np.ndarray:
    """(N,) float: 1 where malignancy is above 3, 0 where below, NaN at 3 or where it is not known."""
    return labels(table)


def write(
    folder: str | Path,
    slices: np.ndarray,
    masks: np.ndarray,
    table: pd.DataFrame,
    info: DatasetInfo,
    *,
    overwrite: bool = False,
) -> SliceSet:
    """Write a SliceSet in one go from arrays (N, 64, 64) and open it. Nothing is left behind on an error."""

    def fill(into_slices: ArrayFile, into_masks: ArrayFile) -> None:
        into_slices[:] = slices
        into_masks[:] = masks

    check(np.asarray(slices), np.asarray(masks), table, where="The table", generated=info.generated)
    return write_streaming(folder, len(table), fill, table, info, overwrite=overwrite)


def write_streaming(
    folder: str | Path,
    count: int,
    fill: Callable[[ArrayFile, ArrayFile], None],
    table: pd.DataFrame,
    info: DatasetInfo,
    *,
    overwrite: bool = False,
) -> SliceSet:
    """Write a SliceSet whose pixels `fill(slices, masks)` puts into two arrays (N, 64, 64), row by row."""
    folder = Path(folder)
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        shape = (count, SIZE, SIZE)
        with (
            ArrayFile(temporary / "slices.npy", np.int16, shape) as slices,
            ArrayFile(temporary / "masks.npy", np.uint8, shape) as masks,
        ):
            fill(slices, masks)
        check(slices, masks, table, where=f"The table of {folder}", generated=info.generated)
        table.reset_index(drop=True).to_parquet(temporary / "table.parquet", compression="zstd")
        digest = sha256(*(temporary / name for name in _FILES))
        saved = info.model_copy(update={"count": count, "content_hash": digest})
        write_json(temporary / "dataset.json", saved.model_dump())
    return SliceSet.open(folder, verify=False)


def check(
    slices: _Array, masks: _Array, table: pd.DataFrame, *, where: str, generated: bool = False
) -> CheckedTable:
    """The table, checked; UserError for shapes or types unlike a SliceSet's. If `generated`, factors stay."""
    for name, array, kind in (("slices", slices, np.int16), ("masks", masks, np.uint8)):
        if len(array.shape) != 3 or array.shape[1:] != (SIZE, SIZE):
            raise UserError(
                f"{where}: {name} have the shape {array.shape}, but (N, {SIZE}, {SIZE}) is needed."
            )
        if array.dtype != kind:
            raise UserError(f"{where}: {name} are {array.dtype}, but {np.dtype(kind)} is needed.")
    if not slices.shape[0] == masks.shape[0] == len(table):
        raise UserError(
            f"{where}: {slices.shape[0]} slices, {masks.shape[0]} masks and {len(table)} table rows; "
            "the three must be the same number, row i of each being the same slice."
        )
    if len(table) == 0:
        raise UserError(f"{where}: there is no slice in it.")
    if missing := [column for column in KEY if column not in table]:
        raise UserError(f"{where}: the table lacks the column(s) {', '.join(missing)}.")
    factors = [str(name) for name in table if str(name).startswith(FACTOR)] if generated else []
    return checked(table, where, keep=factors)


def _read_info(folder: Path) -> DatasetInfo:
    raw = read_json(folder / "dataset.json", what="The data set's description")
    if isinstance(raw, dict) and isinstance(raw.get("format"), int) and raw["format"] > FORMAT:
        raise UserError(
            f"The data set {folder} has format {raw['format']}; this version reads up to {FORMAT}. "
            "Update lungvae, or make the data set again."
        )
    try:
        return DatasetInfo.model_validate(raw)
    except ValidationError as error:
        raise UserError(
            f"The data set {folder} is damaged: dataset.json does not have the expected fields."
        ) from error


def _load(path: Path, dtype: np.dtype) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"The data set {path.parent} is damaged: {path.name} cannot be read.") from error
    if array.dtype != dtype:
        raise UserError(f"The data set {path.parent} is damaged: {path.name} is {array.dtype}, not {dtype}.")
    return array
