"""Uploads as stacks of slices: order, choice of series, gaps; masks and their boxes."""

from __future__ import annotations

import random

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import pack_bits

from lungvae_core.data.crops import crop
from lungvae_core.data.masks import centres, lesion_of, read_mask
from lungvae_core.data.series import SEGMENTATION, Series, read_series
from lungvae_core.errors import UserError
from tests.data.conftest import file_of
from tests.made_series import MIDDLE, dicom, lesion, named, written, zipped
from tests.made_volumes import npy

HU, MASK = lesion(8, 70, 80)
HU[:, 66:, 76:] = 40  # tissue in every slice, as on any CT
MASK[4, 20:30, 20:30] = True
# Of `dicom`'s files in NIfTI's space: columns to the left, rows to the back, slices to the head.
AFFINE = np.array([[-0.7, 0, 0, 180.0], [0, -0.7, 0, 190.0], [0, 0, 2.5, -100.0], [0, 0, 0, 1]])


def shuffled(files: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return random.Random(0).sample([*files.items()], len(files))


def test_files_are_sorted_by_their_place_whatever_their_order_and_numbers():
    series = read_series(shuffled(named(dicom(HU))))
    np.testing.assert_array_equal(series.hu, HU)
    np.testing.assert_allclose(series.places_mm, -100 + 2.5 * np.arange(8))
    assert (series.spacing_mm, series.patient_id, series.notes) == (0.7, "anyone", ())


def test_a_zip_of_nested_folders_gives_the_same_and_the_longest_series():
    small = named(dicom(HU[:3], SeriesInstanceUID="9.9"), "study/scout/")
    junk = {"study/DICOMDIR": b"x", "__MACOSX/._IM0": b"x", "study/readme.txt": b"hello"}
    series = read_series([("all.zip", zipped(named(dicom(HU), "study/a/") | small | junk))])
    np.testing.assert_array_equal(series.hu, HU)
    assert "2 series" in series.notes[-1]
    assert "(8)" in series.notes[-1]
    assert any("1 file that is no CT slice left out" in note for note in series.notes)


def test_an_orientation_from_head_to_feet_still_rises_to_the_head():
    turned = dicom(HU, ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
    series = read_series(shuffled(named(turned)))
    np.testing.assert_array_equal(series.hu, HU[:, ::-1])
    assert "upright" in series.notes[0]


def test_what_is_missing_double_or_damaged_is_said():
    files = dicom(HU)
    del files[4], files[4]
    files.append(dicom(HU[:1], SOPInstanceUID="1.2.77")[0])
    series = read_series([*named(files).items(), ("bad", files[0][:200])])
    notes = " ".join(series.notes)
    for part in ("About 2 slices are missing", "1 slice at the place of another", "damaged"):
        assert part in notes
    assert len(series.hu) == 6


def test_uneven_spacing_and_slices_that_are_not_axial_are_said():
    files = [dicom(HU[n : n + 1], first_mm=z)[0] for n, z in enumerate((0, 2.5, 5.4, 7.5))]
    assert "unevenly spaced" in read_series([*named(files).items()]).notes[0]

    def sagittal(gap_mm: float) -> list[bytes]:
        axes = [0, 1, 0, 0, 0, -1]
        places = [[gap_mm * number, 0, 0] for number in range(70)]
        return [
            dicom(HU[4:5], ImageOrientationPatient=axes, ImagePositionPatient=place)[0] for place in places
        ]

    series = read_series(shuffled(named(sagittal(0.7))))
    assert series.hu.shape == (70, 80, 70)
    assert "cut anew" in series.notes[0]
    np.testing.assert_array_equal(series.hu[:, :, 3], HU[4][::-1])
    with pytest.raises(UserError, match="not square"):
        read_series(shuffled(named(sagittal(5.0))))


def test_pictures_and_arrays_become_a_stack_in_the_order_of_their_names():
    files = [(f"s{number}.npy", npy(HU[number % 8])) for number in (10, 2, 1)]
    series = read_series(files)
    np.testing.assert_array_equal(series.hu, HU[[1, 2, 2]])


def encrypted() -> bytes:
    content = bytearray(zipped(named(dicom(HU[:2]))))
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.find(sign)
        while place >= 0:
            content[place + at] |= 1
            place = content.find(sign, place + 4)
    return bytes(content)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([("a.zip", zipped({"../../etc/passwd": b"x"}))], "lead out of it"),
        ([("a.zip", zipped({"/IM1": b"x"}))], "lead out of it"),
        ([("a.zip", b"PK\x03\x04nothing")], "not a readable zip"),
        ([("a.zip", zipped({"QQ": b"y"}).replace(b"QQ", b"\0\0"))], "not a readable zip"),  # no name
        ([("a.zip", zipped({}))], "holds no files"),
        ([("a.zip", encrypted())], "encrypted"),
        ([("a.zip", zipped(named(dicom(HU[:2])))[:-4000])], "not a readable zip"),
        ([*named(dicom(HU[:1]) + dicom(HU[:1, :64], first_mm=0)).items()], "slices of one size"),
        ([*named(dicom(HU[:2], SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR")).items()], "MR: 2"),
        ([*named(dicom(HU[:2], PixelData=None)).items()], "has no pixels"),
        ([("a.npy", npy(HU[0])), ("b.npy", npy(HU[0, 6:]))], "not slices of one size"),
        ([], "There is no file"),
    ],
)
def test_bad_uploads_get_a_sentence(files, says):
    with pytest.raises(UserError, match=says) as refusal:
        read_series(files)
    assert str(refusal.value).endswith(".")


def stack() -> Series:
    return read_series([*named(dicom(HU)).items()])


def test_a_masks_box_is_in_the_middle_of_its_bounding_box_as_in_the_paper():
    mask = np.zeros((3, 128, 128), bool)
    mask[0, 40:51, 60:70] = True  # middle 45, 64.5
    mask[1, 40, 60:68] = True  # 8 pixels: too few
    assert centres(mask) == {0: (45.0, 64.5)}
    assert centres(mask[1:]) == {0: (40.0, 63.5)}  # better than nothing
    image = np.arange(128 * 128, dtype=np.int32).reshape(128, 128) % 1000
    # floor(45 - 31) - 1 = 13, floor(64.5 - 31) = 33
    np.testing.assert_array_equal(crop(image.astype(np.int16), 45.0, 64.5), image[13:77, 33:97])


def test_one_lesion_of_a_mask_is_chosen_the_largest_or_the_nearest():
    ball = lesion_of(MASK)
    assert ball[MIDDLE]
    assert not ball[4, 25, 25]
    assert lesion_of(MASK, (5, 31, 33))[4, 25, 25]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mask.npy", npy(MASK.astype(np.uint8) * 3)),
        ("mask.npy", npy(MASK)),
        ("mask.nii", nibabel.Nifti1Image(MASK.transpose(2, 1, 0).astype(np.uint8), AFFINE).to_bytes()),
    ],
)
def test_masks_of_the_images_shape_are_taken(name, content):
    np.testing.assert_array_equal(read_mask(content, name, stack()), MASK)


def segmentation(series: Series, *, by: str) -> bytes:
    """MASK as a DICOM-SEG of the slices that have any, in an order of its own."""
    numbers = [number for number in (6, 4, 5) if MASK[number].any()]
    shared, turned = Dataset(), Dataset()
    turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = [turned]
    frames = []
    for number in numbers:
        frame, place, derivation, source = Dataset(), Dataset(), Dataset(), Dataset()
        if by == "place":
            place.ImagePositionPatient = [-180.0, -190.0, -100.0 + 2.5 * number]
            frame.PlanePositionSequence = [place]
        else:
            source.ReferencedSOPInstanceUID = series.sop_uids[number]
            derivation.SourceImageSequence = [source]
            frame.DerivationImageSequence = [derivation]
        frames.append(frame)
    data = file_of(
        SEGMENTATION,
        Modality="SEG",
        Rows=MASK.shape[1],
        Columns=MASK.shape[2],
        NumberOfFrames=len(numbers),
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        BitsAllocated=1,
        BitsStored=1,
        HighBit=0,
        PixelRepresentation=0,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
        PixelData=pack_bits(MASK[numbers].astype(np.uint8).ravel()),
    )
    return written(data)


@pytest.mark.parametrize("by", ["place", "reference"])
def test_a_dicom_segmentation_finds_its_slices(by):
    series = stack()
    mask = read_mask(segmentation(series, by=by), "seg.dcm", series)
    np.testing.assert_array_equal(mask[4:7], MASK[4:7])
    assert not mask[:4].any()


def test_a_segmentation_among_the_files_comes_with_the_series():
    files = named(dicom(HU))
    series = read_series([*files.items(), ("seg", segmentation(stack(), by="place"))])
    assert [name for name, _ in series.masks] == ["seg"]
    assert read_mask(series.masks[0][1], "seg", series)[MIDDLE]
    beside = read_series([("ct.npy", npy(HU)), ("ct_mask.npy", npy(MASK))])
    np.testing.assert_array_equal(read_mask(beside.masks[0][1], "ct_mask.npy", beside), MASK)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.npy", npy(MASK[:4]), "has the shape 4 x 70 x 80, its image 8 x 70 x 80"),
        ("m.npy", npy(np.zeros_like(MASK)), "marks no pixel"),
        ("m.npy", npy(np.ones_like(MASK)), "marks every pixel"),
        ("m.npy", b"garbage", "damaged"),
        ("m.txt", b"garbage", "of no kind"),
        ("m.dcm", dicom(HU[:1])[0], "no DICOM segmentation"),
    ],
)
def test_bad_masks_get_a_sentence(name, content, says):
    with pytest.raises(UserError, match=says):
        read_mask(content, name, stack())


@pytest.mark.lidc
@pytest.mark.long
def test_the_box_on_a_real_nodule_is_the_papers_crop(lidc):
    """From DICOM and the readers' consensus mask to the very pixels that the paper's rule names."""
    from lungvae_core.data import annotations, cohort

    files = [(path.name, path.read_bytes()) for path in sorted((lidc / "dicom").glob("*.dcm"))]
    series = read_series([("series.zip", zipped(dict(files)))])
    assert series.hu.shape[1:] == (512, 512)
    np.testing.assert_array_equal(series.hu, read_series(files[::-1]).hu)
    scan = annotations.read_scans([annotations.first_scans()[series.patient_id]])[0]
    consensus, origin, _ = annotations.consensus(annotations.nodules(scan)[0])
    mask = np.zeros(series.hu.shape, bool)
    for layer in range(consensus.shape[2]):
        at = int(np.abs(series.places_mm - scan.z_mm[origin[2] + layer]).argmin())
        rows, columns = (slice(origin[axis], origin[axis] + consensus.shape[axis]) for axis in (0, 1))
        mask[at, rows, columns] = consensus[:, :, layer]
    table = cohort.cohort()
    table = table[table["patient_id"] == series.patient_id]
    boxes = centres(mask)
    assert len(boxes) == len(table) == 11
    for number, (row, column) in boxes.items():
        entry = table.iloc[int((table["z_mm"] - series.places_mm[number]).abs().argmin())]
        top, left = int(entry["row0"]), int(entry["col0"])
        np.testing.assert_array_equal(
            crop(series.hu[number], row, column), series.hu[number, top : top + 64, left : left + 64]
        )
