"""A synthetic chest series with one ball of a lesion, as an array and as DICOM files in memory."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pydicom

from tests.data.conftest import ct

MIDDLE = (6, 50, 60)  # slice, row, column of the lesion's middle
RADIUS = 9  # pixels; in slices, a third of it


def lesion(slices: int = 12, rows: int = 128, columns: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """((slices, rows, columns) int16 HU of a ball in noisy lung, its mask)."""
    z, y, x = np.mgrid[:slices, :rows, :columns]
    mask = (3 * (z - MIDDLE[0])) ** 2 + (y - MIDDLE[1]) ** 2 + (x - MIDDLE[2]) ** 2 < RADIUS**2
    noise = np.random.default_rng(0).normal(0, 20, mask.shape)
    return np.rint(-850 + 880 * mask + noise).astype(np.int16), mask


def dicom(hu: np.ndarray, *, gap_mm: float = 2.5, first_mm: float = -100.0, **changes) -> list[bytes]:
    """A CT file a slice of hu (slices, rows, columns), from feet to head."""
    files = []
    for number, image in enumerate(hu):
        elements = {
            "InstanceNumber": len(hu) - number,
            "ImagePositionPatient": [-180.0, -190.0, first_mm + gap_mm * number],
        } | changes
        files.append(written(ct(image.astype(np.int16) + 1024, **elements)))
    return files


def written(data: pydicom.Dataset) -> bytes:
    """A data set as a file's bytes."""
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    """Files by their paths as a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def named(files: list[bytes], folder: str = "") -> dict[str, bytes]:
    return {f"{folder}IM{number}": content for number, content in enumerate(files)}
