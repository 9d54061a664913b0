"""CT files become HU exactly, and everything else becomes one sentence."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lungvae_core.data.volumes.dicom import NotDicom, is_ct_header, read_ct, read_header
from lungvae_core.errors import UserError

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED = "1.2.840.10008.5.1.4.1.1.2.1"


def test_hu_are_exact(tmp_path, write_ct, make_image):
    stored = make_image(1)
    hu, meta = read_ct(write_ct(tmp_path / "slice", stored))
    assert hu.dtype == np.int16
    np.testing.assert_array_equal(hu, stored - 1024)
    assert hu.shape == (512, 512)
    assert (meta.pixel_spacing_mm, meta.z_mm) == (0.7, -100.0)
    assert (meta.patient_id, meta.series_uid, meta.manufacturer) == ("anyone", "1.2.3", "Nobody")


def test_fractions_of_hu_are_rounded(tmp_path, write_ct, make_image):
    stored = make_image(2)
    hu, _ = read_ct(write_ct(tmp_path / "slice", stored, RescaleSlope="0.7", RescaleIntercept="-1000.3"))
    np.testing.assert_array_equal(hu, np.rint(stored * 0.7 - 1000.3))


def test_unsigned_pixels_and_oblong_images(tmp_path, write_ct, make_image):
    stored = make_image(3)[:300, :400]
    hu, _ = read_ct(write_ct(tmp_path / "slice", stored, PixelRepresentation=0, RescaleIntercept=0))
    np.testing.assert_array_equal(hu, stored)
    assert hu.shape == (300, 400)


def test_compressed_pixels(tmp_path, write_ct, make_image):
    stored = make_image(4)
    path = write_ct(tmp_path / "slice", stored)
    data = pydicom.dcmread(path)
    data.compress(pydicom.uid.RLELossless)
    data.save_as(path)
    np.testing.assert_array_equal(read_ct(path)[0], stored - 1024)


def test_an_upload_in_memory(tmp_path, write_ct, make_image):
    stored = make_image(5)
    upload = io.BytesIO(write_ct(tmp_path / "slice", stored).read_bytes())
    np.testing.assert_array_equal(read_ct(upload)[0], stored - 1024)
    with pytest.raises(UserError, match=r"^scan\.dcm is not a DICOM file"):
        read_ct(io.BytesIO(b"%PDF-1.7"), name="scan.dcm")


def test_what_the_file_does_not_say_is_none(tmp_path, write_ct, make_image):
    nothing = dict.fromkeys(["PixelSpacing", "SliceThickness", "ImagePositionPatient", "Manufacturer"])
    _, meta = read_ct(write_ct(tmp_path / "slice", make_image(6), **nothing))
    assert (meta.pixel_spacing_mm, meta.z_mm) == (None, None)
    assert meta.manufacturer == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"SOPClassUID": MR, "Modality": "MR"}, r"not a CT slice \(MR Image Storage, modality MR\)"),
        ({"SOPClassUID": ENHANCED}, "enhanced CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "overview"),
        ({"NumberOfFrames": 3}, "3 frames"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"RescaleSlope": None}, "no rescale slope"),
        ({"RescaleIntercept": None}, "no rescale slope"),
        ({"RescaleSlope": 0}, "no rescale slope"),
        ({"RescaleType": "ED"}, "holds ED, not HU"),
        ({"RescaleSlope": 50}, "which are not HU"),
        ({"PixelData": None}, "no pixels"),
        ({"Rows": None}, "does not say how many pixels"),
        ({"Rows": 65535}, "which no CT has"),
        ({"BitsAllocated": None}, "cannot be decoded"),
        ({"PixelSpacing": [0.7, 1.4]}, "not square"),
    ],
)
def test_other_files_are_refused(tmp_path, write_ct, make_image, changes, sentence):
    path = write_ct(tmp_path / "slice", make_image(7), **changes)
    with pytest.raises(UserError, match=sentence) as caught:
        read_ct(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_ct(tmp_path / "nothing")
    with pytest.raises(UserError, match="is a folder"):
        read_ct(tmp_path)
    (tmp_path / "empty.dcm").touch()
    with pytest.raises(NotDicom):
        read_header(tmp_path / "empty.dcm")


def test_a_deflated_file_is_refused_before_it_is_inflated(tmp_path, write_ct, make_image):
    path = write_ct(tmp_path / "slice", make_image(8))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    data.save_as(path)
    with pytest.raises(UserError, match="deflated"):
        read_ct(path)


def test_pixels_that_nothing_here_decodes(tmp_path, write_ct, make_image):
    path = write_ct(tmp_path / "slice", make_image(9))
    data = pydicom.dcmread(path)
    data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    data.PixelData = pydicom.encaps.encapsulate([b"no such code stream"])
    data["PixelData"].VR = "OB"
    data.save_as(path)
    with pytest.raises(UserError, match="compressed as JPEG 2000"):
        read_ct(path)


@pytest.fixture
def whole(tmp_path, write_ct, make_image):
    """The bytes of a good file."""
    return write_ct(tmp_path / "slice", make_image(10, 64)).read_bytes()


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_truncated_file_is_never_believed(whole, data):
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(UserError):
        read_ct(io.BytesIO(whole[:length]), name="it")


@given(data=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_gives_a_slice_or_a_sentence(whole, data):
    """Whatever bytes of the header are changed, nothing but a UserError comes out of it."""
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(128, len(whole) - 64 * 64 * 2))] = data.draw(st.integers(0, 255))
    for read in (read_ct, read_header):
        with contextlib.suppress(UserError):
            read(io.BytesIO(bytes(damaged)), name="it")


def test_headers(tmp_path, write_ct, make_image):
    path = write_ct(tmp_path / "slice", make_image(11), InstanceNumber=7)
    header = read_header(path)
    assert is_ct_header(header)
    assert (header.modality, header.series_uid, header.instance, header.z_mm) == ("CT", "1.2.3", 7, -100.0)
    other = read_header(write_ct(tmp_path / "mr", make_image(11), SOPClassUID=MR, Modality="MR"))
    assert not is_ct_header(other)
    odd = {"InstanceNumber": None, "ImagePositionPatient": None}
    header = read_header(write_ct(tmp_path / "odd", make_image(11), **odd))
    assert (header.instance, header.z_mm) == (None, None)


@pytest.mark.lidc
def test_real_slices(lidc: Path):
    paths = sorted((lidc / "dicom").iterdir())
    positions = set()
    for path in paths[::10]:
        hu, meta = read_ct(path)
        raw = pydicom.dcmread(path)
        np.testing.assert_array_equal(hu, raw.pixel_array.astype(int) - 1024)
        assert meta.patient_id == "LIDC-IDRI-0023"
        assert meta.pixel_spacing_mm == 0.742188
        header = read_header(path)
        assert header.z_mm == meta.z_mm == float(raw.ImagePositionPatient[2])
        positions.add(meta.z_mm)
    assert len(positions) == len(paths[::10])


@pytest.mark.parametrize(
    ("own", "hints"),
    [
        ({"PatientName": "Doe^Jane"}, ("the patient's name",)),
        ({"PatientName": "LIDC-IDRI-0023", "PatientID": "LIDC-IDRI-0023"}, ()),
        ({"PatientName": "anonymized"}, ()),
        ({"PatientName": "Anon^0017", "PatientBirthDate": "19500203"}, ("the date of birth",)),
        ({"PatientName": "", "BurnedInAnnotation": "YES"}, ("words within the image",)),
        ({}, ()),
    ],
)
def test_what_seems_to_name_a_patient_is_reported_without_its_value(
    tmp_path, write_ct, make_image, own, hints
):
    assert read_header(write_ct(tmp_path / "one", make_image(1), **own)).naming == hints
