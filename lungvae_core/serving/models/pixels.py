"""The CT slices behind a model's codes, where this machine has them.

Models are published without pixels. If this machine has the data set that a model was trained on, or another
one with the same crops of the same series (LIDC-IDRI prepared again), its slices are matched to the codes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lungvae_core.data.columns import patient_key
from lungvae_core.data.slices import KEY, DatasetInfo, SliceSet
from lungvae_core.errors import UserError
from lungvae_core.files import read_json

# A key is unique within a data set only; series and crop make it the same pixels in another one too.
CROP = [*KEY, "series_uid", "row0", "col0"]


@dataclass(frozen=True)
class Pixels:
    """A data set, and where each of a model's N rows is in it."""

    data: SliceSet
    at: np.ndarray  # (N,) row of `data`, -1 if there is none

    def slices(self, rows: np.ndarray) -> np.ndarray:
        """(M, 64, 64) int16 HU of the model's rows in native pixels; all of them must be in the data set."""
        return self.data.slices[self.at[rows]]


def locate(info: DatasetInfo, table: pd.DataFrame, folders: Iterable[Path]) -> Pixels | None:
    """The data set among `folders` that holds most of the rows of `table`, or None.

    `info` describes the data set of the table. Damaged data sets are skipped, and so are generated ones,
    unless they are that same data set.
    """
    best: Pixels | None = None
    for folder in folders:
        try:
            located = _look(info, table, folder)
        except UserError:
            continue
        if located is not None and (best is None or (located.at >= 0).sum() > (best.at >= 0).sum()):
            best = located
            if (best.at >= 0).all():
                break
    return best


def _look(info: DatasetInfo, table: pd.DataFrame, folder: Path) -> Pixels | None:
    raw = read_json(folder / "dataset.json", what="The data set's description")
    if not isinstance(raw, dict):
        return None
    same = raw.get("content_hash") == info.content_hash
    if not same and (info.generated or raw.get("generated")):
        return None
    data = SliceSet.open(folder)
    if same and len(data) == len(table) and _index(data.table, KEY).equals(_index(table, KEY)):
        return Pixels(data, np.arange(len(table)))
    if not all(column in part for part in (data.table, table) for column in CROP):
        return None
    at = _index(data.table, CROP).get_indexer(_index(table, CROP))
    return Pixels(data, at) if (at >= 0).any() else None


def _index(table: pd.DataFrame, columns: list[str]) -> pd.MultiIndex:
    part = table[columns].astype(str)
    keys = {patient: patient_key(patient) for patient in part["patient_id"].unique()}
    return pd.MultiIndex.from_frame(part.assign(patient_id=part["patient_id"].map(keys)))
