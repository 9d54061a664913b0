"""Tables of diagnoses are checked at the door as all tables are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.data.diagnoses import BENIGN, METASTATIC, read_diagnoses
from lungvae_core.errors import UserError


def table(folder: Path, **columns: list) -> Path:
    path = folder / "diagnosis.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_patients_are_recognised_by_their_ids_however_these_are_spelled(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        **{
            "Patient ID": ["LIDC-IDRI-0068", "LIDC-IDRI-0090", "LIDC-IDRI-0100", "LIDC-IDRI-0068"],
            "Diagnosis": [3, 1, 0, 3],
            "primary_site": ["Head & Neck", "", "", "Head & Neck"],
        },
    )
    diagnoses = read_diagnoses(path)
    assert (diagnoses.source, diagnoses.unknown) == ("diagnosis.csv", 1)
    kinds = diagnoses.of(pd.Series(["lidc_idri_68", "LIDC-IDRI-0090", "LIDC-IDRI-0100", "another"]))
    assert kinds.tolist() == [METASTATIC, BENIGN, pd.NA, pd.NA]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"patient_id": ["A"]}, "diagnosis"),
        ({"patient_id": ["A", "B"], "diagnosis": [1, 4]}, "row 3, diagnosis: '4' is outside 0 to 3"),
        ({"patient_id": ["A", "B"], "diagnosis": [1, "benign"]}, "row 3, diagnosis: 'benign'"),
        ({"patient_id": ["A", "B"], "diagnosis": [1, 1.5]}, "not a whole number"),
        ({"patient_id": ["A", None], "diagnosis": [1, 2]}, "row 3, patient_id: is empty"),
        ({"patient_id": ["A", "A"], "diagnosis": [1, 2]}, "A has different diagnoses in rows 2 and 3"),
        ({"patient_id": ["A", "B"], "diagnosis": [0, None]}, "knows nobody's diagnosis"),
        ({"patient_id": ["A", "B"], "diagnosis": [1, 2], "method": [1, 9]}, "row 3, method: '9'"),
        ({"patient_id": [], "diagnosis": []}, "no rows"),
    ],
)
def test_what_cannot_be_used_is_reported(tmp_path: Path, columns: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        read_diagnoses(table(tmp_path, **columns))


def test_a_missing_table_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no table"):
        read_diagnoses(tmp_path / "nowhere.csv")
