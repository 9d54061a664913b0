"""A table of confirmed diagnoses, one row per patient, to compare with the readers' opinions.

The codes are those of LIDC-IDRI's own table (tcia-diagnosis-data-2012-04-20.xls, The Cancer Imaging Archive).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lungvae_core.data.columns import Column, patient_key
from lungvae_core.data.spreadsheets import read_cells
from lungvae_core.data.tables import parsed_cells
from lungvae_core.errors import UserError

UNKNOWN, BENIGN, PRIMARY, METASTATIC = range(4)
KINDS = {
    UNKNOWN: "unknown",
    BENIGN: "benign or non-malignant disease",
    PRIMARY: "malignant, primary lung cancer",
    METASTATIC: "malignant, metastatic",
}
COLUMNS = [
    Column("patient_id", "text", "patient", "the patient, as in the data set"),
    Column(
        "diagnosis",
        "whole number",
        "patient",
        "; ".join(f"{code} {kind}" for code, kind in KINDS.items()),
        low=0,
        high=3,
    ),
    Column(
        "method",
        "whole number",
        "patient",
        "0 unknown, 1 stable for two years, 2 biopsy, 3 surgical resection, 4 progression or response",
        low=0,
        high=4,
    ),
]


@dataclass(frozen=True)
class Diagnoses:
    """Patients with a known diagnosis."""

    source: str  # the table's file name
    kinds: pd.Series  # diagnosis (int, BENIGN to METASTATIC) by `patient_key`
    unknown: int  # patients whose diagnosis the table does not know

    def of(self, patients: pd.Series) -> pd.Series:
        """(N,) Int64: the diagnosis of each patient; NA where none is known."""
        return patients.map(patient_key).map(self.kinds).astype("Int64")


def read_diagnoses(path: Path) -> Diagnoses:
    """Read and check a csv, xlsx or parquet table with the columns patient_id and diagnosis.

    `method` is checked if present; other columns, such as those of single nodules, are not used. Raises
    UserError naming all bad cells, for a patient with two diagnoses, and if no diagnosis is known.
    """
    raw = read_cells(path, ("patient_id", "diagnosis"))
    frame = parsed_cells(raw, str(path), COLUMNS)
    keys = frame["patient_id"].map(patient_key)
    kinds = frame["diagnosis"].astype("Int64").fillna(UNKNOWN)
    each = pd.DataFrame({"key": keys, "kind": kinds, "line": raw.lines}).drop_duplicates(["key", "kind"])
    torn = each[each.duplicated("key", keep=False)]
    if len(torn):
        key = torn["key"].iloc[0]
        lines = " and ".join(str(line) for line in torn.loc[torn["key"] == key, "line"])
        name = frame["patient_id"].iloc[int(torn.index[0])]
        raise UserError(
            f"{path}: the patient {name} has different diagnoses in rows {lines}. Keep one row a patient."
        )
    of_patient = each.set_index("key")["kind"].astype(int)
    diagnosed = of_patient[of_patient != UNKNOWN]
    if diagnosed.empty:
        raise UserError(
            f"{path} knows nobody's diagnosis: the column diagnosis is 0 or empty in every row. Its codes "
            f"are {', '.join(f'{code} {kind}' for code, kind in KINDS.items())}."
        )
    return Diagnoses(path.name, diagnosed, len(of_patient) - len(diagnosed))
