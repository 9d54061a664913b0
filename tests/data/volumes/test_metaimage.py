"""MetaImage: numbers of any type and order, their place, and headers that are not to be believed."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from lungvae_core.data.volumes.metaimage import LOCAL, data_file, read_metaimage
from lungvae_core.errors import UserError
from tests.made_volumes import HU, check_numbers_and_place, header_of, metaimage


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_and_their_place(packed: bool):
    check_numbers_and_place(read_metaimage(metaimage(HU, packed=packed), "a.mha"))


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("MET_USHORT", ">u2"), ("MET_FLOAT", ">f4"), ("MET_DOUBLE", ">f8"), ("MET_CHAR", "i1")],
)
def test_types_and_byte_orders(kind: str, dtype: str):
    stack = np.arange(24).reshape(2, 3, 4).astype(dtype)
    head = header_of("mha", stack).replace(b"MET_SHORT", kind.encode()).replace(b"MSB = False", b"MSB = True")
    volume = read_metaimage(head + stack.tobytes(), "a.mha")
    np.testing.assert_array_equal(volume.levels, stack)


def test_bytes_before_the_numbers_are_skipped():
    head, body = header_of("mha", HU), HU.astype("<i2").tobytes()
    for size, before in ((7, b"1234567"), (-1, b"any number of bytes")):
        content = head.replace(LOCAL, b"HeaderSize = %d\n" % size + LOCAL) + before + body
        np.testing.assert_array_equal(read_metaimage(content, "a.mha").levels, HU)


def test_a_header_without_spacing_has_no_place():
    content = metaimage(HU).replace(b"ElementSpacing", b"ElementNothing")
    assert read_metaimage(content, "a.mha").grid is None


def test_where_the_numbers_are():
    name, line = data_file(header_of("mha", HU, data="a b.raw"), "a.mhd")
    assert name == "a b.raw"
    assert header_of("mha", HU, data="a b.raw")[line] == b"ElementDataFile = a b.raw\n"
    assert data_file(metaimage(HU), "a.mha")[0] == ""


BODY = HU.astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"ObjectType = Image\n", "does not say where its numbers are"),
        (header_of("mha", HU, data="a.raw"), "keeps its numbers in a.raw"),
        (metaimage(HU)[:-1], "truncated"),
        (metaimage(HU).replace(b"MET_SHORT", b"MET_STRING"), "holds MET_STRING"),
        (metaimage(HU).replace(LOCAL, b"ElementNumberOfChannels = 3\n" + LOCAL), "several channels"),
        (metaimage(HU).replace(b"BinaryData = True", b"BinaryData = False"), "as text"),
        (metaimage(HU, sides=(0, 0.7, 2.5)), "which is not above 0"),
        (metaimage(HU, sides=("nan", 0.7, 2.5)), "ElementSpacing = nan"),
        (metaimage(HU).replace(b"DimSize = 96", b"DimSize = many"), "DimSize is missing or no whole number"),
        (header_of("mha", HU, packed=True) + zlib.compress(BODY)[:-20], "cannot be unpacked"),
    ],
)
def test_headers_that_cannot_be_used_are_refused(content: bytes, why: str):
    with pytest.raises(UserError, match=rf"^a\.mha .*{why}"):
        read_metaimage(content, "a.mha")
