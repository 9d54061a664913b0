"""Check any split for leaks: which patients, scans, nodules and pictures are in two of its parts.

Ids are compared by `data.columns.patient_key`, pictures by `data.fingerprints`.
"""

from __future__ import annotations

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict

from lungvae_core.data.columns import KEY, patient_key, squeezed
from lungvae_core.data.counted import Counted
from lungvae_core.data.crops import box_of, patch_of
from lungvae_core.data.fingerprints import fingerprints, same_slices
from lungvae_core.data.series import read_path
from lungvae_core.data.slices import SIZE, SliceSet
from lungvae_core.data.spreadsheets import read_cells
from lungvae_core.data.volumes.npy import load_array
from lungvae_core.errors import UserError

# Common names of the columns, compared as `columns.squeezed`; the first one in the table is used.
NAMES = {
    "part": ("split", "fold", "subset", "set", "part", "partition", "phase", "paper_split"),
    "patient": ("patient_id", "patient", "pid", "subject_id", "subject", "case_id", "case"),
    "scan": ("series_uid", "seriesinstanceuid", "scan_id", "scan", "study_uid", "studyinstanceuid", "series"),
    "nodule": ("nodule", "nodule_id", "lesion_id", "lesion", "noduleidx", "nodule_index"),
    "slice": ("slice", "slice_id", "slice_index"),
    "file": ("file", "filename", "file_name", "path", "image"),
    "index": ("index",),
    "row": ("row",),
    "column": ("column",),
}
_LISTED = ["kind", "first", "second", "id", "line", "other_line", "agreement"]


class Shared(BaseModel):
    """What two parts share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: str
    second: str
    kind: str  # patients, scans, nodules, or pictures
    shared: int  # ids in both parts; for pictures the pairs of slices
    of_first: int  # units of the first part affected by what is shared
    of_second: int
    units: tuple[int, int]  # units in all of the first and the second part
    unit: str  # nodules if the table has them, otherwise rows

    def in_words(self) -> str:
        """One sentence with its numbers."""
        where = {
            "patients": "are of patients that are also",
            "scans": "lie in scans that are also",
            "nodules": "are of nodules that are also",
            "pictures of one patient": "have slices that are the same pictures as others of that patient",
            "pictures of several patients": "have slices that are the same pictures as another patient's",
        }[self.kind]
        return (
            f"{self.of_second:,} of {self.units[1]:,} {self.second} {self.unit} {where} in {self.first}, and "
            f"{self.of_first:,} of {self.units[0]:,} {self.first} {self.unit} the other way round "
            f"({self.shared:,} {'pairs of slices' if self.kind.startswith('pictures') else self.kind})."
        )


class Leaks(BaseModel):
    """What `lungvae leaks` says of a split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parts: dict[str, dict[str, int]]  # part -> rows, patients, scans, nodules
    compared: list[str]  # kinds that could be compared
    shared: list[Shared]  # only what is not zero
    rows: Counted
    notes: list[str] = []

    @property
    def clean(self) -> bool:
        return not self.shared


def find_leaks(split: Path, images: Path | None = None) -> tuple[Leaks, pd.DataFrame]:
    """(what the parts of the table in the file `split` share, one row per offending pair).

    The pairs' columns are kind, first, second, id or the two rows' lines, patients and agreement. `images` is
    a SliceSet, an npy stack (N, 64, 64), or the folder of the table's column file. Raises UserError.
    """
    rows, lines, counted, notes = _read(split)
    pictures = None if images is None else _pictures(images, rows, split)
    parts = sorted(rows["part"].unique(), key=_order)
    if len(parts) < 2:
        raise UserError(f"{split}: all rows are in one part, {parts[0]!r}; there is nothing to compare.")
    kinds = {f"{name}s": rows[name] for name in ("patient", "scan", "nodule") if name in rows}
    at = np.arange(len(rows))  # by an id every row touches itself, by its picture another row
    touching = [
        pd.DataFrame({"kind": kind, "row": at, "other": at, "id": ids}) for kind, ids in kinds.items()
    ]
    if pictures is not None:
        touching += [part for _, part in _same_pictures(rows, pictures).groupby("kind")]
    shared, offending = [], []
    for (first, second), pairs in product(combinations(parts, 2), touching):
        here = _between(rows, pairs, first, second)
        if len(here):
            shared.append(_shared(rows, here, first, second))
            offending.append(_listed(here, first, second, lines))
    about = {
        part: {"rows": int((rows["part"] == part).sum())}
        | {kind: int(ids[rows["part"] == part].nunique()) for kind, ids in kinds.items()}
        for part in parts
    }
    compared = [*kinds, *(["pictures"] if pictures is not None else [])]
    leaks = Leaks(parts=about, compared=compared, shared=shared, rows=counted, notes=notes)
    return leaks, pd.concat(offending) if offending else pd.DataFrame(columns=_LISTED)


def _order(part: str) -> tuple[int, int, str]:
    """Sort key: training first, then folds by number and other parts by name."""
    return (0 if part.startswith("train") else 1, len(part) if part.isdigit() else 0, part)


def _between(rows: pd.DataFrame, pairs: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The `pairs` that connect two parts: by an id in rows of both, or by their pictures."""
    part = rows["part"].to_numpy()
    if "id" not in pairs:
        return pairs[(part[pairs["row"]] == first) & (part[pairs["other"]] == second)]
    ids = pairs["id"].to_numpy()
    both = set(ids[part == first]) & set(ids[part == second])
    return pairs[pairs["id"].isin(both) & np.isin(part, [first, second])]


def _shared(rows: pd.DataFrame, pairs: pd.DataFrame, first: str, second: str) -> Shared:
    units = rows["nodule"].to_numpy() if "nodule" in rows else np.arange(len(rows))
    part, touched = rows["part"].to_numpy(), np.unique(pairs[["row", "other"]].to_numpy())

    def count(at: np.ndarray, one: str) -> int:
        """Units of a part among the rows `at`."""
        return len(np.unique(units[at[part[at] == one]]))

    everywhere = np.arange(len(rows))
    return Shared(
        first=first,
        second=second,
        kind=pairs["kind"].iloc[0],
        shared=int(pairs["id"].nunique()) if "id" in pairs else len(pairs),
        of_first=count(touched, first),
        of_second=count(touched, second),
        units=(count(everywhere, first), count(everywhere, second)),
        unit="nodules" if "nodule" in rows else "rows",
    )


def _listed(pairs: pd.DataFrame, first: str, second: str, lines: np.ndarray) -> pd.DataFrame:
    """The offending pairs as written to the file: an id, or the two rows' lines in the table's file."""
    by_id = "id" in pairs
    pairs = pairs.drop_duplicates("id") if by_id else pairs
    return pd.DataFrame(
        {
            "kind": pairs["kind"],
            "first": first,
            "second": second,
            "id": pairs["id"] if by_id else None,
            "line": None if by_id else lines[pairs["row"]],
            "other_line": None if by_id else lines[pairs["other"]],
            "agreement": None if by_id else pairs["agreement"].round(3),
        }
    )


def _read(path: Path) -> tuple[pd.DataFrame, np.ndarray, Counted, list[str]]:
    """(the table with those columns of NAMES that it has, as text; lines in the file; rows; notes)."""
    cells = read_cells(path, ())
    by_short = {squeezed(str(name)): name for name in cells.frame.columns}
    named = {
        role: next((by_short[squeezed(name)] for name in names if squeezed(name) in by_short), None)
        for role, names in NAMES.items()
    }
    if named["part"] is None:
        raise UserError(f"{path} needs a column that names each row's part: {', '.join(NAMES['part'])}.")
    if named["patient"] is None and named["scan"] is None:
        raise UserError(f"{path} needs a column patient_id, or series_uid of the scans, to compare parts by.")
    roles = {role: str(name) for role, name in named.items() if name is not None}
    rows = pd.DataFrame({role: cells.frame[name] for role, name in roles.items()})
    owner = "patient" if "patient" in rows else "scan"
    left_out, kept = dict(cells.left_out), np.ones(len(rows), bool)
    for role in ("part", owner):
        empty = (rows[role].isna() | (rows[role].astype(str).str.strip() == "")).to_numpy()
        left_out[f"with an empty {roles[role]}"] = int((empty & kept).sum())
        kept &= ~empty
    rows, lines = rows[kept].reset_index(drop=True), np.asarray(cells.lines)[kept]
    if rows.empty:
        raise UserError(f"{path} has no row with both {roles['part']} and {roles[owner]}.")
    rows["part"] = rows["part"].astype(str).str.strip().str.casefold().str.removesuffix(".0")
    rows["given"] = rows[owner].astype(str)
    for role in ("patient", "scan"):
        if role in rows:
            rows[role] = [patient_key(value) for value in rows[role]]
    if "nodule" in rows:
        rows["nodule_given"] = rows["nodule"].astype(str).str.strip()
        rows["nodule"] = rows[owner] + ", nodule " + rows["nodule_given"].map(patient_key)
    used = ", ".join(f"{column} as the {role}" for role, column in roles.items() if column != role)
    notes = [*cells.notes, *([f"Read {used}."] if used else [])]
    reasons = {reason: count for reason, count in left_out.items() if count}
    return rows, lines, Counted(used=len(rows), left_out=reasons, unit="rows"), notes


def _pictures(images: Path, rows: pd.DataFrame, split: Path) -> np.ndarray:
    """(N, 64, 64) in the order of the rows."""
    if (images / "dataset.json").is_file():
        return _of_set(SliceSet.open(images), rows, split)
    if images.is_file():
        stack = load_array(images)
        if stack.ndim != 3 or stack.shape[1:] != (SIZE, SIZE):
            raise UserError(f"{images} has the shape {stack.shape}, but (N, {SIZE}, {SIZE}) is needed.")
        return _as_hu(np.asarray(stack[_places(rows, len(stack), split, images)]))
    if not images.is_dir():
        raise UserError(f"There are no images at {images}: name a data set, an npy stack, or a folder.")
    if "file" not in rows:
        raise UserError(f"{split} needs a column file that names the images in {images}.")
    return np.stack([_of_file(images, dict(row)) for _, row in rows.iterrows()])


def _places(rows: pd.DataFrame, count: int, split: Path, images: Path) -> np.ndarray:
    """(N,) the slice of a stack for each row: by the column index, otherwise row i is slice i."""
    if "index" not in rows:
        if len(rows) != count:
            raise UserError(
                f"{split} has {len(rows):,} usable rows and {images} {count:,} slices; give the table a "
                "column index (from 0), or one row a slice."
            )
        return np.arange(count)
    at = pd.to_numeric(rows["index"], errors="coerce")
    bad = at.isna() | (at < 0) | (at >= count) | (at % 1 != 0)
    if bad.any():
        raise UserError(
            f"{split}: the index {rows['index'][bad].iloc[0]!r} is none of the {count:,} slices of {images}, "
            "which are counted from 0."
        )
    return at.to_numpy(int)


def _of_set(data: SliceSet, rows: pd.DataFrame, split: Path) -> np.ndarray:
    if "index" in rows or not {"patient", "nodule", "slice"} <= set(rows):
        return np.asarray(data.slices[_places(rows, len(data), split, data.folder)])
    own = {
        (patient_key(patient), str(nodule), str(number)): at
        for at, (patient, nodule, number) in enumerate(data.table[KEY].itertuples(index=False))
    }
    keys = zip(
        rows["patient"],
        rows["nodule_given"].str.removesuffix(".0"),
        rows["slice"].astype(str).str.removesuffix(".0"),
        strict=True,
    )
    at = [own.get(key, -1) for key in keys]
    if -1 in at:
        where = rows.iloc[at.index(-1)]
        raise UserError(
            f"{data.folder} has no slice {where['slice']} of nodule {where['nodule_given']} of "
            f"{where['given']}, which {split} names."
        )
    return np.asarray(data.slices[at])


def _of_file(folder: Path, row: dict[Any, Any]) -> np.ndarray:
    path = folder / str(row["file"])
    image = read_path(path, hu_range=None)
    down, across, index = (_number(row.get(name)) for name in ("row", "column", "index"))
    number = None if index is None else int(index)
    return patch_of(
        image, box_of(image, row=down, column=across, index=number, where=str(path)), where=str(path)
    )


def _number(value: object) -> float | None:
    number = pd.to_numeric(pd.Series([value]), errors="coerce").iloc[0]
    return None if pd.isna(number) else float(number)


def _as_hu(stack: np.ndarray) -> np.ndarray:
    """HU unchanged; grey levels and values of 0..1 scaled to the window used for comparing."""
    low, high = float(stack.min()), float(stack.max())
    if low < 0 or high > 255:
        return stack
    return -1000 + 1150 / (1 if high <= 1 else 255) * stack.astype(np.float32)


def _same_pictures(rows: pd.DataFrame, pictures: np.ndarray) -> pd.DataFrame:
    """Pairs (row, other, agreement, kind) of rows in different parts, in both orders."""
    pairs = same_slices(pictures, fingerprints(pictures))
    part = rows["part"].to_numpy()
    owner = rows["patient" if "patient" in rows else "scan"].to_numpy()
    pairs = pairs[part[pairs["row"]] != part[pairs["other"]]].reset_index(drop=True)
    same = owner[pairs["row"]] == owner[pairs["other"]]
    return pairs.assign(kind=np.where(same, "pictures of one patient", "pictures of several patients"))
