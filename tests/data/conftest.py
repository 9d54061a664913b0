"""A computed cohort for the whole session, and synthetic CT files that pass for LIDC's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from lungvae_core.data import cohort as paper

CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture(scope="session")
def cohort_store(tmp_path_factory):
    """A store of the session's own, so that the code under test computes the cohort, and only once (10 s)."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared between the session's processes
    with (folder / "cohort.lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGVAE_CACHE", str(folder / "cohort-store"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        paper.cohort()
        fcntl.flock(lock, fcntl.LOCK_UN)
        yield folder / "cohort-store"


@pytest.fixture(scope="session")
def cohort_table(cohort_store):
    return paper.cohort()


def image(seed: int, side: int = 512) -> np.ndarray:
    """(side, side) int16 stored values from 0 to 2,999, another image for every seed."""
    return np.random.default_rng(seed).integers(0, 3000, (side, side), dtype=np.int16)


def file_of(kind: str, uid: str = "", **elements) -> FileDataset:
    """A data set of a class, ready to be written; `elements` by keyword, None leaving one out."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, uid or generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    own = {"SOPClassUID": kind, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID}
    for keyword, value in (own | elements).items():
        if value is not None:
            setattr(data, keyword, value)
    return data


def ct(stored: np.ndarray, **changes) -> FileDataset:
    """A CT data set of these stored values; `changes` are elements by keyword, None taking one out."""
    elements = {
        "Modality": "CT",
        "Manufacturer": "Nobody",
        "PatientID": "anyone",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "SeriesInstanceUID": "1.2.3",
        "InstanceNumber": 1,
        "ImagePositionPatient": [-180.0, -190.0, -100.0],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.7, 0.7],
        "SliceThickness": 2.5,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "PixelData": stored.astype(np.int16).tobytes(),
    }
    kind, uid = changes.get("SOPClassUID") or CT, changes.get("SOPInstanceUID") or ""
    return file_of(kind, uid, **(elements | changes))


@pytest.fixture
def write_ct():
    """write_ct(path, stored, **elements): save a CT file, making its folder; gives the path."""

    def write(path: Path, stored: np.ndarray, **changes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pydicom.dcmwrite(path, ct(stored, **changes), enforce_file_format=True)
        return path

    return write


@pytest.fixture
def make_image():
    """make_image(seed, side=512): stored values of a synthetic CT slice."""
    return image


@pytest.fixture
def write_series(write_ct, cohort_table):
    """write_series(folder, patient, name=...): a file for each lesion slice of a patient of the cohort.

    File names are running numbers; the image of the slice at position number n is `image(seed + n)`. Gives
    {z_mm: path}.
    """

    def write(folder: Path, patient: str, *, seed: int = 0, positions=None, **changes) -> dict[float, Path]:
        rows = cohort_table[cohort_table["patient_id"] == patient]
        spacing = float(rows["pixel_spacing_mm"].iloc[0])
        uid = str(rows["series_uid"].iloc[0])
        paths = {}
        for number, z in enumerate(sorted(set(rows["z_mm"])) if positions is None else positions):
            elements = {
                "SeriesInstanceUID": uid,
                "PatientID": patient,
                "InstanceNumber": number + 1,
                "ImagePositionPatient": [-180.0, -190.0, float(z)],
                "PixelSpacing": [spacing, spacing],
            } | changes
            paths[float(z)] = write_ct(folder / f"IM{number:05d}", image(seed + number), **elements)
        return paths

    return write
