"""Images read from memory, as uploads are: the same as from a file, and refused in a sentence."""

from __future__ import annotations

import gzip
import io
import re

import nibabel
import numpy as np
import pytest

from lungvae_core.data.series import read_path, read_series
from lungvae_core.data.volumes import inflate
from lungvae_core.data.volumes.formats import is_mask_name, natural
from lungvae_core.errors import UserError
from tests.made_volumes import npy, picture

PATCH = np.arange(64 * 64, dtype=np.int16).reshape(64, 64) % 900 - 700
VOLUME = (np.arange(70 * 80 * 9) % 1300 - 1000).astype(np.int16).reshape(70, 80, 9)


def nifti(array: np.ndarray) -> bytes:
    return nibabel.Nifti1Image(array, np.eye(4)).to_bytes()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", npy(PATCH)),
        ("A.NPY", npy(np.asfortranarray(PATCH))),
        ("stack.npy", npy(np.stack([PATCH, PATCH]))),
        ("v.nii", nifti(VOLUME)),
        ("v.nii.gz", gzip.compress(nifti(VOLUME))),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_memory_gives_what_the_file_gives(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    from_file = read_path(path)
    for source in (content, io.BytesIO(content)):
        series = read_series([(name, source)])
        np.testing.assert_array_equal(series.hu, from_file.hu)
        assert series.spacing_mm == from_file.spacing_mm


def test_a_picture_spans_the_stated_range():
    grey = np.zeros((64, 64), np.uint8)
    grey[0, 0] = 255
    series = read_series([("a.png", picture(grey, "PNG"))], hu_range=(-1000, 400))
    assert (series.hu.min(), series.hu.max()) == (-1000, 400)


FORGED = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npy", b"", "empty"),
        ("a.npy", b"garbage", "damaged"),
        ("a.npy", npy(PATCH)[:3000], "damaged"),
        ("a.npy", FORGED, "damaged"),  # claims terabytes
        ("a.npy", npy(np.array([{}], object), allow_pickle=True), "holds objects"),
        ("a.npy", npy(np.full((64, 64), np.nan)), "not numbers"),
        ("a.npy", npy(np.zeros((64, 64), np.uint8)), "State the HU range"),
        ("a.npy", npy(np.zeros(64)), "shape"),
        ("a.png", picture(np.zeros((64, 64), np.uint8), "PNG"), "State the HU range"),
        ("a.dcm", b"x" * 999, "not a DICOM"),
        ("a.nii", b"x" * 999, "NIfTI"),
        ("a.nii.gz", gzip.compress(nifti(np.zeros((9, 9, 9), np.int16)))[:40], "damaged"),
        ("a.nii", nifti(np.zeros((9, 9, 9), np.complex64)), "grey values"),
        ("notes.pdf", b"%PDF-1.7", "of no kind"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_bad_uploads_are_refused_in_a_sentence(name, content, says):
    with pytest.raises(UserError, match=says) as refusal:
        read_series([(name, content)])
    assert str(refusal.value).startswith(name)
    assert re.search(r"\.$", str(refusal.value))


def test_a_gzip_that_grows_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(inflate, "MOST_BYTES", 10_000)
    with pytest.raises(UserError, match="unpacks to more"):
        read_series([("a.nii.gz", gzip.compress(nifti(VOLUME)))])


def test_a_ct_slice_needs_no_ending_and_no_disk(tmp_path, write_ct, make_image):
    path = tmp_path / "slice"
    write_ct(path, make_image(1))
    series = read_series([("upload", path.read_bytes())])
    np.testing.assert_array_equal(series.hu, read_path(path).hu)
    assert series.patient_id == "anyone"


def test_a_dicom_that_is_no_ct_is_refused(tmp_path, write_ct, make_image):
    path = tmp_path / "slice.dcm"
    write_ct(path, make_image(1), SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR")
    with pytest.raises(UserError, match="is not a CT slice"):
        read_series([("upload.dcm", path.read_bytes())])


def test_numbers_in_names_are_ordered_by_their_value():
    names = ["IM10.dcm", "im2.dcm", "IM1.dcm", "a/10/1.dcm", "a/9/2.dcm", "", "7"]
    ordered = sorted(names, key=natural)
    assert [name for name in ordered if name.lower().startswith("im")] == ["IM1.dcm", "im2.dcm", "IM10.dcm"]
    assert ordered.index("a/9/2.dcm") < ordered.index("a/10/1.dcm")


@pytest.mark.parametrize(
    ("name", "is_mask"),
    [
        ("lesion_mask.nii.gz", True),
        ("Seg.nrrd", True),
        ("a/b/case-1 labels.png", True),
        ("masks/lesion.nii", False),  # a folder's name says nothing of the file
        ("segovia.png", False),
        ("unmasked.png", False),
    ],
)
def test_a_mask_is_named_in_a_word_of_its_own(name: str, is_mask: bool):
    assert is_mask_name(name) == is_mask
