"""Numbers become HU with evidence alone; real slices are never refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungvae_core.data.masks import inside, read_mask
from lungvae_core.data.series import read_series
from lungvae_core.data.volumes.scale import to_hu, why_not_hu
from lungvae_core.errors import UserError
from tests.made_volumes import HU, SIDE, levels, nifti, npy, picture, slice_file, unit

PADDED = np.where(np.arange(SIDE)[:, None] < 20, -1, 0)


@pytest.mark.parametrize("padding", [-2000, -2048, -3024, -32768])
def test_padding_and_metal_stay_what_they_are(padding: int) -> None:
    hu = np.where(PADDED, padding, HU).astype(np.int32)
    hu[0, 50:53, 50:53] = 30_000
    np.testing.assert_array_equal(to_hu(hu, "a.npy"), hu)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.float32])
def test_stacks_with_a_slice_of_padding_alone_are_read(kind: type) -> None:
    """Nothing in such a slice is above the air; of whatever type the numbers are, that is no error."""
    stack = HU.astype(kind)
    stack[0] = -2000
    assert why_not_hu(stack) == ""
    assert why_not_hu(np.full((8, 8), -3000, kind) + np.eye(8).astype(kind))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda hu: unit(hu), "between 0 and 1"),
        (lambda hu: unit(hu) * 2 - 1, "between -1 and 1"),
        (lambda hu: unit(hu) * 100, "nothing below 0"),
        (lambda hu: (hu - hu.mean()) / hu.std(), "normalised or scaled"),
        (lambda hu: hu / 1000, "normalised or scaled|between -1 and 1"),
        (lambda hu: hu // 10, "neither lung nor air"),
        (lambda hu: hu * 1000, "which are not HU"),
        (lambda hu: -hu, "inverted"),
        (lambda hu: levels(hu), "8-bit grey levels"),
        (lambda hu: levels(hu).astype(np.int64), "8-bit grey levels"),
        (lambda hu: levels(hu, 65535), "16 bits"),
        (lambda hu: hu + 1024, "nothing below 0"),
        (lambda hu: hu - 1024, "no tissue"),
        (lambda hu: hu.astype(np.uint16), "unsigned"),
        (lambda hu: hu.astype(np.uint32), "unsigned"),
        (lambda hu: hu.astype(np.int8), "neither lung nor air"),
        (lambda hu: np.full_like(hu, -1000), "in every pixel"),
        (lambda hu: np.clip(hu, -1000, -850), "no tissue"),
        (lambda hu: np.where(hu > 0, np.inf, hu), "not numbers"),
        (lambda hu: hu.astype(complex), "not numbers"),
        (lambda hu: np.concatenate([hu[:1], unit(hu[1:2]), hu[2:]]), "in slice 1"),
    ],
)
def test_what_cannot_be_hu_is_refused(change, says: str) -> None:
    with pytest.raises(UserError, match=says):
        to_hu(change(HU), "a.npy")


@pytest.mark.parametrize(
    ("numbers", "hu_range", "says"),
    [
        (HU, (-1000, 400), "a HU range has no meaning"),
        (unit(HU) * 2 - 1, (-1000, 400), "a HU range has no meaning"),
        ((unit(HU) * 1023).astype(np.uint16), (-1000, 400), "fewer bits"),
        (unit(HU), (400, -1000), "empty"),
        (unit(HU), (-1000, None), "needs both"),
        (unit(HU), (float("nan"), 400), "empty"),
        (unit(HU), (0, 20), "Check it"),
        (unit(HU), (-90000, 400), "beyond what HU can be"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(numbers: np.ndarray, hu_range: tuple, says: str) -> None:
    with pytest.raises(UserError, match=says):
        to_hu(numbers, "a.npy", hu_range=hu_range)


@pytest.mark.parametrize("white", [255, 65535])
def test_grey_levels_span_the_stated_range(white: int) -> None:
    hu = to_hu(levels(HU, white), "a.npy", hu_range=(-1000, 400))
    np.testing.assert_allclose(hu, np.clip(HU, -1000, 400), atol=3 if white == 255 else 1)


def test_real_slices_are_never_refused(lidc: Path) -> None:
    slices = np.load(lidc / "slices.npy", mmap_mode="r")
    assert not [row for row, hu in enumerate(slices) if why_not_hu(hu)]


def pil(image: Image.Image, form: str = "PNG", **how) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


GREY = Image.fromarray(levels(HU[1]))


TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"  # orientation 6
BLACK = Image.new("L", GREY.size)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.png", pil(Image.fromarray(HU[1] > -500)), "it is a mask"),
        ("a.png", pil(Image.merge("RGB", [GREY, GREY, BLACK])), "in colour"),
        ("a.png", pil(Image.merge("LA", [GREY, Image.new("L", GREY.size, 200)])), "transparent"),
        ("a.jpg", pil(GREY, "JPEG", exif=TURNED), "turned"),
        ("a.png", picture((unit(HU[1]) * 4095).astype(np.uint16), "PNG"), "fewer bits"),
        ("a.gif", pil(GREY, "GIF"), "of no kind"),
        ("a.nii", nifti(HU.astype(np.uint16)), "unsigned"),
        ("a.dcm", slice_file(RescaleSlope="0.001", RescaleIntercept="-1"), "not HU"),
        ("a.dcm", slice_file(RescaleType="OD"), "holds OD"),
        ("a.dcm", slice_file(PixelRepresentation=0, RescaleIntercept=-2048), "HU"),
    ],
)
def test_files_whose_numbers_are_no_hu_are_refused(name: str, content: bytes, says: str) -> None:
    hu_range = (-1000.0, 400.0) if name.endswith((".png", ".jpg", ".gif")) else None
    with pytest.raises(UserError, match=says):
        read_series([(name, content)], hu_range=hu_range)


def test_every_page_of_a_picture_is_a_slice() -> None:
    pages = [Image.fromarray(levels(one)) for one in HU]
    content = pil(pages[0], save_all=True, append_images=pages[1:])
    assert read_series([("a.png", content)], hu_range=(-1000, 400)).hu.shape == HU.shape


# --- masks --------------------------------------------------------------------

ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
DISC = (ROWS - 52) ** 2 + (COLUMNS - 40) ** 2 < 64
LABEL = DISC.astype(np.uint8)


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(LABEL, "P")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.png", picture(LABEL, "PNG")),
        ("m.png", picture(LABEL * 255, "PNG")),
        ("m.png", picture(LABEL.astype(np.uint16), "PNG")),
        ("m.png", pil(Image.fromarray(DISC))),
        ("m.png", pil(palette([0, 0, 0, 128, 0, 0]))),
        (
            "m.png",
            pil(
                Image.merge(
                    "RGB", [Image.new("L", DISC.shape), Image.fromarray(LABEL), Image.new("L", DISC.shape)]
                )
            ),
        ),
        ("m.tif", picture(LABEL.astype(np.int32), "TIFF")),
        ("m.tif", picture(LABEL.astype(np.float32), "TIFF")),
        ("m.npy", npy(DISC)),
        ("m.npy", npy(LABEL * 7.0)),
    ],
)
def test_whatever_is_not_0_is_lesion(name: str, content: bytes) -> None:
    image = read_series([("a.npy", npy(HU[1]))])
    np.testing.assert_array_equal(read_mask(content, name, image)[0], DISC)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("m.npy", npy(LABEL * 0.4), "probabilities"),
        ("m.tif", picture(LABEL * np.float32(0.4), "TIFF"), "probabilities"),
        ("m.npy", npy(HU[1]), "an image, not a mask"),
        ("m.npy", npy(~DISC), "inside out"),
        ("m.npy", npy(np.where(DISC, np.nan, 0.0)), "not numbers"),
        ("m.jpg", picture(LABEL * 255, "JPEG"), "JPEG"),
        ("m.png", pil(palette([255, 255, 255, 255, 0, 0])), "palette"),
        ("m.png", pil(Image.merge("LA", [Image.fromarray(LABEL), Image.fromarray(LABEL)])), "transparent"),
    ],
)
def test_what_is_no_mask_is_refused(name: str, content: bytes, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_mask(content, name, read_series([("a.npy", npy(HU[1]))]))


def test_labels_of_any_type_are_marks() -> None:
    assert inside(np.array([0, 1, 300], np.uint16), "m").tolist() == [False, True, True]
