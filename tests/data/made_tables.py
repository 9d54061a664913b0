"""Small tables as files."""

from __future__ import annotations

from pathlib import Path

from lungvae_core.data.tables import CheckedTable, read_table

HEADER = "patient_id,nodule,slice,malignancy,diameter_mm,pixel_spacing_mm"


ROWS = ["A,0,0,4,12.5,0.703", "A,0,1,4,12.5,0.703", "B,0,0,2.66667,8.25,0.5"]


def put(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, name: str = "t.csv", **options) -> CheckedTable:
    return read_table(put(folder, text, name), **options)
