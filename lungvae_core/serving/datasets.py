"""The data sets that the app can offer: SliceSets in the settings' data folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from lungvae_core.errors import UserError
from lungvae_core.files import read_json
from lungvae_core.serving.settings import Settings


@dataclass(frozen=True)
class FoundData:
    """A data set, as it is offered."""

    folder: Path
    name: str  # its own; the folder's is folder.name
    slices: int
    patients: int
    generated: bool  # phantoms: no patient was scanned


def find_data(settings: Settings) -> tuple[list[FoundData], dict[str, str]]:
    """(usable data sets by folder, {folder: why it was left out})."""
    found, broken = [], {}
    for path in settings.data_sets():
        try:
            found.append(_describe(path.parent, path.stat().st_mtime_ns))
        except (UserError, OSError) as error:
            broken[path.parent.name] = str(error)
    return found, broken


@lru_cache(maxsize=64)
def _describe(folder: Path, _changed: int) -> FoundData:
    info = read_json(folder / "dataset.json", what="The data set's description")
    try:
        patients = pd.read_parquet(folder / "table.parquet", columns=["patient_id"])["patient_id"].nunique()
        return FoundData(
            folder=folder,
            name=str(info["name"]),
            slices=int(info["count"]),
            patients=int(patients),
            generated=bool(info.get("generated", False)),
        )
    except Exception as error:  # parquet's readers raise many kinds; to a person they are one
        raise UserError(f"The data set {folder} is damaged. Make it again.") from error
