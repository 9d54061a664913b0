"""Pictures: grey levels and their white, pages, and what has no grey levels; pictures of masks."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lungvae_core.data.series import read_series
from lungvae_core.data.volumes.pictures import read_picture
from lungvae_core.errors import UserError
from tests.made_volumes import HU, picture, signed_tiff


def test_a_picture_that_is_none_is_refused():
    with pytest.raises(UserError, match="damaged"):
        read_series([("a.png", b"no picture")], hu_range=(-1000, 400))


def test_a_file_that_pillow_trips_over_gets_a_sentence():
    # Taken for a TGA picture, which then names no mode that Pillow knows; found by breeding inputs.
    content = base64.b64decode(
        "LgABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQMDKMLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDYpLDAxNDQ0Hyc5PTgyPC4z"
        "NDL/wAALCABGAEABAREA/8QAHwEAAAABBQEBAQEBAQAAAAAAAAAAAQIqNDU2Nzg5OkNERUZHSElYWVpjZGVz/9oACAEBAAA/"
        "zKAWUtHwJI3luBuDMHKuhNx+8Q=="
    )
    with pytest.raises(UserError, match="damaged or of another kind"):
        read_series([("a.png", content)], hu_range=(-1000, 400))


def pil(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **how)
    return stream.getvalue()


GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


@pytest.mark.parametrize(
    ("content", "white", "scale"),
    [
        (picture(GREY, "PNG"), 255, 1),
        (picture(GREY, "BMP"), 255, 1),
        (picture(np.stack([GREY] * 3, -1), "PNG"), 255, 1),  # grey, saved in colours
        (picture(GREY.astype(np.uint16) * 200, "PNG"), 65535, 200),
        (picture(GREY.astype(np.float32), "TIFF"), None, 1),
        (picture(GREY.astype(np.int32), "TIFF"), None, 1),
        (pil(Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (8, 6), 255)])), 255, 1),
    ],
)
def test_grey_levels_and_their_white(content: bytes, white: float | None, scale: int):
    volume = read_picture(content, "a.png")
    np.testing.assert_array_equal(volume.levels, GREY[None].astype(float) * scale)
    assert volume.white == white
    assert volume.grid is None


def test_signed_pages_are_plain_numbers():
    volume = read_picture(signed_tiff(HU), "a.tif")
    np.testing.assert_array_equal(volume.levels, HU)
    assert volume.white is None


def test_pages_of_several_sizes_are_refused():
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[:3])]
    with pytest.raises(UserError, match=r"a\.tif has pages of several sizes"):
        read_picture(pil(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "a.tif")


def test_the_same_picture_may_be_a_mask_and_no_image():
    black_and_white = picture(GREY > 100, "PNG")
    with pytest.raises(UserError, match="it is a mask, not an image"):
        read_picture(black_and_white, "a.png")
    labels = read_picture(black_and_white, "a.png", labels=True)
    np.testing.assert_array_equal(labels.levels[0] != 0, GREY > 100)
    with pytest.raises(UserError, match="is a JPEG, whose borders are not exact"):
        read_picture(picture(GREY, "JPEG"), "a.jpg", labels=True)
