"""NRRD: numbers of any type and order, their place in any space, and headers that are not to be believed."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.data.volumes.nrrd import data_file, read_nrrd
from lungvae_core.errors import UserError
from tests.made_volumes import CORNER, HU, SPACING, check_numbers_and_place, header_of, nrrd

SPACE = b"space: left-posterior-superior"


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_and_their_place(packed: bool):
    check_numbers_and_place(read_nrrd(nrrd(HU, packed=packed), "a.nrrd"))


def test_other_spaces_are_converted_to_dicoms():
    volume = read_nrrd(nrrd(HU).replace(SPACE, b"space: RAS"), "a.nrrd")
    assert volume.grid is not None
    np.testing.assert_allclose(volume.grid.corners_mm[0], [-CORNER[0], -CORNER[1], CORNER[2]])
    np.testing.assert_allclose(volume.grid.column_mm, [-SPACING, 0, 0])


@pytest.mark.parametrize(
    ("kind", "dtype"), [("uchar", "u1"), ("unsigned short", ">u2"), ("float", ">f4"), ("int64", ">i8")]
)
def test_types_and_byte_orders(kind: str, dtype: str):
    stack = np.arange(24).reshape(2, 3, 4).astype(dtype)
    head = header_of("nrrd", stack).replace(b"type: short", b"type: " + kind.encode())
    content = head.replace(b"endian: little", b"endian: big") + stack.tobytes()
    np.testing.assert_array_equal(read_nrrd(content, "a.nrrd").levels, stack)


def test_without_directions_the_spacings_give_the_side_of_a_pixel():
    head = b"NRRD0004\ntype: short\nsizes: 96 96 3\nspacings: 0.7 0.7 nan\nendian: little\nencoding: raw\n\n"
    volume = read_nrrd(head + HU.astype("<i2").tobytes(), "a.nrrd")
    assert (volume.grid, volume.spacing_mm) == (None, 0.7)
    bare = head.replace(b"spacings: 0.7 0.7 nan\n", b"")
    assert read_nrrd(bare + HU.astype("<i2").tobytes(), "a.nrrd").spacing_mm is None


def test_lines_and_bytes_before_the_numbers_are_skipped():
    head, body = header_of("nrrd", HU)[:-1], HU.astype("<i2").tobytes()
    content = head + b"line skip: 2\nbyte skip: 3\n\n" + b"one\ntwo\nxyz" + body
    np.testing.assert_array_equal(read_nrrd(content, "a.nrrd").levels, HU)
    content = head + b"byte skip: -1\n\n" + b"any number of bytes" + body
    np.testing.assert_array_equal(read_nrrd(content, "a.nrrd").levels, HU)


def test_where_the_numbers_are():
    assert data_file(header_of("nrrd", HU, data="a.raw"), "a.nhdr")[0] == "a.raw"
    assert data_file(nrrd(HU), "a.nrrd")[0] == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no NRRD", "is no readable NRRD file"),
        (b"NRRD0004\n" + b"#" * 1_100_000, "its header has no end"),
        (header_of("nrrd", HU, data="a.raw"), "keeps its numbers in a.raw"),
        (nrrd(HU)[:-1], "truncated"),
        (nrrd(HU).replace(b"type: short", b"type: block"), "holds block"),
        (nrrd(HU).replace(b"endian: little\n", b""), "does not say the order of its bytes"),
        (nrrd(HU).replace(b"encoding: raw", b"encoding: ascii"), "encoded as ascii"),
        (nrrd(HU).replace(b"sizes: 96", b"sizes: x"), "its sizes are missing or no whole numbers"),
        (nrrd(HU).replace(SPACE, b"space: scanner-xyz"), "the space scanner-xyz"),
        (nrrd(HU).replace(SPACE, SPACE + b'\nspace units: "m" "m" "m"'), "lengths in m; mm are needed"),
        (nrrd(HU).replace(b"space origin: (", b"space origin: (1,"), "its space directions or origin"),
        (nrrd(HU).replace(b"kinds:", b"byte skip: 1e9\nkinds:"), "byte skip is 1e9"),
    ],
)
def test_headers_that_cannot_be_used_are_refused(content: bytes, why: str):
    with pytest.raises(UserError, match=rf"^a\.nrrd .*{why}"):
        read_nrrd(content, "a.nrrd")
