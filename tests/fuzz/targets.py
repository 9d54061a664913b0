"""What comes from outside and is read here: whole inputs to begin with, and the code that reads them."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lungvae_core.data.masks import read_mask
from lungvae_core.data.series import read_series
from lungvae_core.data.slices import SliceSet
from lungvae_core.data.volumes.dicom import read_ct, read_header
from tests import made_volumes as volumes
from tests.data.conftest import ct


@dataclass(frozen=True)
class Target:
    """A reader: whole inputs, and what reads one of them."""

    seeds: list[bytes]
    run: Callable[[bytes, Path], Any]


def dicom() -> list[bytes]:
    """A CT slice of 64x64, uncompressed and RLE."""
    stored = np.random.default_rng(0).integers(0, 3000, (64, 64), dtype=np.int16)
    found = []
    for compressed in (False, True):
        data = ct(stored)
        if compressed:
            from pydicom.uid import RLELossless

            data.compress(RLELossless)
        stream = io.BytesIO()
        data.save_as(stream, enforce_file_format=True)
        found.append(stream.getvalue())
    return found


def npy() -> list[bytes]:
    """Arrays of several kinds, and one that is a pickle."""
    found = []
    for array in (
        np.zeros((64, 64), np.int16),
        np.random.default_rng(0).normal(size=(3, 64, 64)).astype(np.float32),
        np.asfortranarray(np.ones((70, 80), np.uint8)),
        np.array([{"a": 1}], dtype=object),
    ):
        stream = io.BytesIO()
        np.save(stream, array)
        found.append(stream.getvalue())
    return found


def png() -> list[bytes]:
    """Pictures of several kinds."""
    generator = np.random.default_rng(0)
    found = []
    for form, mode in (("PNG", "L"), ("PNG", "I;16"), ("TIFF", "L"), ("BMP", "L"), ("JPEG", "L")):
        stream = io.BytesIO()
        levels = generator.integers(0, 255, (70, 64)).astype(np.uint16 if mode == "I;16" else np.uint8)
        Image.fromarray(levels).save(stream, form)
        found.append(stream.getvalue())
    return found


def nifti() -> list[bytes]:
    """A small volume, plain and packed."""
    import gzip

    import nibabel

    image = nibabel.Nifti1Image(np.zeros((20, 20, 4), np.int16), np.diag([0.7, 0.7, 2.5, 1.0]))
    plain = image.to_bytes()
    return [plain, gzip.compress(plain)]


def metaimage() -> list[bytes]:
    """A small volume, plain and packed."""
    return [volumes.metaimage(volumes.HU[:, :20, :20], packed=packed) for packed in (False, True)]


def nrrd() -> list[bytes]:
    """A small volume, plain and packed."""
    return [volumes.nrrd(volumes.HU[:, :20, :20], packed=packed) for packed in (False, True)]


def odd_dicom() -> list[bytes]:
    """A CT slice gzipped, and without its preamble."""
    import gzip

    whole = volumes.slice_file()
    return [gzip.compress(whole), volumes.without_preamble(whole)]


def mask_reader(name: str) -> Callable[[bytes, Path], Any]:
    """Read bytes as a mask of that name beside an image."""
    image = read_series([("a.nii", volumes.nifti(volumes.HU[:, 40:60, 30:50]))])

    def run(content: bytes, _folder: Path) -> None:
        read_mask(content, name, image)

    return run


def archive() -> list[bytes]:
    """A zipped series, with folders."""
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as packed:
            for number in range(3):
                stored = np.full((64, 64), number, np.int16)
                data = ct(stored, InstanceNumber=number, ImagePositionPatient=[0.0, 0.0, -2.5 * number])
                inner = io.BytesIO()
                data.save_as(inner, enforce_file_format=True)
                packed.writestr(f"series/{number}", inner.getvalue())
        found.append(stream.getvalue())
    return found


def image_reader(name: str) -> Callable[[bytes, Path], Any]:
    """Read bytes as an upload of that name, with and without a HU range."""

    def run(content: bytes, _folder: Path) -> None:
        hu_range = (-1000.0, 400.0) if content[:1] and content[-1] % 2 else None
        read_series([(name, content)], hu_range=hu_range)

    return run


def series_reader(content: bytes, _folder: Path) -> Any:
    """Read bytes as a zipped series."""
    return read_series([("series.zip", content)])


def header_reader(content: bytes, _folder: Path) -> Any:
    """Read what identifies a DICOM file."""
    return read_header(io.BytesIO(content), name="a.dcm"), read_ct(io.BytesIO(content), name="a.dcm")


def file_in(whole: Path, name: str, use: Callable[[Path], Any]) -> Target:
    """A folder in which one file is damaged: `whole` is copied once, `use` opens the copy."""

    def run(content: bytes, folder: Path) -> None:
        copy = folder / f"{whole.name}-{name}"
        if not copy.exists():
            shutil.copytree(whole, copy)
        (copy / name).unlink(missing_ok=True)
        (copy / name).write_bytes(content)
        use(copy)

    return Target([(whole / name).read_bytes()], run)


def use_run(folder: Path) -> None:
    """Open a model's folder with all that is served of it."""
    from lungvae_core.serving.models.registry import Registry
    from lungvae_core.serving.workspace.settings import Settings

    nowhere = folder.parent / "nowhere"
    registry = Registry(Settings(models=nowhere, runs=folder, data=nowhere, workspace=folder.parent))
    model = registry.load(str(folder))
    model.decode(model.codes[:1])
    model.score(model.codes[:1], patient=None)
    model.band(model.codes[:1], patient=None)
    model.map("slice", "pca")
    _ = model.evaluation, model.measured, model.ranges, model.starts
    model.nearness.neighbours(model.codes[0], 3)


def use_data(folder: Path) -> None:
    """Open a data set, verified, and read from it."""
    data = SliceSet.open(folder)
    data.labelled()
    _ = data.slices[:2], data.masks[:2], len(data.table)


def use_known(folder: Path) -> None:
    """Read what a model knows: clusters, directions, measured traversals."""
    from lungvae_core.explore.clusters.report import load_clusters
    from lungvae_core.explore.directions import load_directions
    from lungvae_core.explore.measured import record
    from lungvae_core.training.checkpoints import Run

    run = Run.open(folder)
    _, codes = run.latents()
    if run.has("directions.json"):
        load_directions(folder, codes)
    if run.has("clusters.json"):
        load_clusters(folder, codes, len(codes))
    measured = record.load(run)
    if measured is not None:
        record.labels(measured)


def report(content: bytes, folder: Path) -> Any:
    """Read an evaluation's report."""
    from lungvae_core.evaluation.report import load_report

    path = folder / "report.json"
    path.write_bytes(content)
    return load_report(path)


def manifest(content: bytes, folder: Path) -> Any:
    """Read a table of images to import."""
    from lungvae_core.data.tables import read_table

    path = folder / "manifest.csv"
    path.write_bytes(content)
    return read_table(path, manifest=True)


def wishes(dimensions: int) -> list[bytes]:
    """What a browser asks of the live decoder."""
    edits = [[at, 0.1] for at in range(dimensions)]
    return [
        json.dumps({"id": 1, "start": start, "edits": edits, "move": [0, 0.5]}).encode()
        for start in ("prior", "row:3", "draw:7", "malignant", "code:" + "AAAA" * 4)
    ]


MANIFEST = (
    b"file,patient_id,nodule,slice,row,column,malignancy\na.npy,P1,0,0,32,32,3\nb.npy,P2,0,1,30.5,31,\n"
)
