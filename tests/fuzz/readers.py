"""The parsers of what people bring, by name, each with whole inputs to begin with."""

from __future__ import annotations

from collections.abc import Callable

from tests.fuzz import targets
from tests.fuzz.targets import Target

READERS: dict[str, Callable[[], Target]] = {
    "dicom": lambda: Target(targets.dicom(), targets.image_reader("a.dcm")),
    "dicom header": lambda: Target(targets.dicom(), targets.header_reader),
    "npy": lambda: Target(targets.npy(), targets.image_reader("a.npy")),
    "png": lambda: Target(targets.png(), targets.image_reader("a.png")),
    "nifti": lambda: Target(targets.nifti(), targets.image_reader("a.nii.gz")),
    "metaimage": lambda: Target(targets.metaimage(), targets.image_reader("a.mha")),
    "nrrd": lambda: Target(targets.nrrd(), targets.image_reader("a.nrrd")),
    "odd dicom": lambda: Target(targets.odd_dicom(), targets.image_reader("a.dcm")),
    "mask": lambda: Target(targets.nrrd(), targets.mask_reader("m.nrrd")),
    "zip": lambda: Target(targets.archive(), targets.series_reader),
    "no ending": lambda: Target(targets.dicom() + targets.png(), targets.image_reader("IM0001")),
    "manifest": lambda: Target([targets.MANIFEST], targets.manifest),
}
