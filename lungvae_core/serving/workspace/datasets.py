"""The data sets that the app can offer: SliceSets in the settings' data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lungvae_core.caches import bounded
from lungvae_core.data.parquet import read_parquet
from lungvae_core.errors import UserError
from lungvae_core.files import check_name, read_json, shown
from lungvae_core.parameters import LONGEST_NAME, text
from lungvae_core.serving.workspace.settings import Settings


@dataclass(frozen=True)
class FoundData:
    """A data set, as the app lists it."""

    folder: Path
    name: str  # the data set's; the folder's is folder.name
    slices: int
    patients: int
    generated: bool  # phantoms: no patient was scanned

    def in_words(self) -> str:
        """Its names and size, in one line."""
        kind = ", generated" if self.generated else ""
        return f"{self.name} ({self.folder.name}): {self.slices:,} slices, {self.patients:,} patients{kind}"


def find_data(settings: Settings) -> tuple[list[FoundData], dict[str, str]]:
    """(usable data sets by folder, {folder: why it was left out})."""
    usable, broken = [], {}
    for path in settings.data_sets():
        try:
            check_name(path.parent)
            usable.append(_describe(path.parent, path.stat().st_mtime_ns))
        except (UserError, OSError) as error:
            broken[shown(Path(path.parent.name))] = str(error)
    return usable, broken


@bounded(2**20)
def _describe(folder: Path, _changed: int) -> FoundData:
    info = read_json(folder / "dataset.json", what="The data set's description")
    try:
        patients = read_parquet(folder / "table.parquet")["patient_id"].nunique()
        return FoundData(
            folder=folder,
            name=text("Its name", info["name"], LONGEST_NAME),
            slices=int(info["count"]),
            patients=int(patients),
            generated=bool(info.get("generated", False)),
        )
    except Exception as error:  # parquet's readers raise many types; for people they mean the same
        raise UserError(f"The data set {folder} is damaged. Make it again.") from error
