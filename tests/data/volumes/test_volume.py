"""Shapes that headers claim: which are one CT volume, and which no scan has."""

from __future__ import annotations

import pytest

from lungvae_core.data.volumes.inflate import MOST_BYTES
from lungvae_core.data.volumes.volume import MOST_SIDE, check_shape, one_volume
from lungvae_core.errors import UserError


def test_the_size_of_a_stack_is_in_bytes():
    assert check_shape((3, 64, 32), 2, "a.nii") == 3 * 64 * 32 * 2


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ((64, 64), "a slice or a stack of slices is needed"),
        ((0, 64, 64), "a slice or a stack of slices is needed"),
        ((1, 64, MOST_SIDE + 1), "too large: 64 x 4097 pixels"),
        ((MOST_BYTES, 1, 1), "unpacks to more than 1 GiB"),
    ],
)
def test_what_no_scan_has_is_refused_before_memory_is_allocated(shape: tuple[int, ...], why: str):
    with pytest.raises(UserError, match=rf"^a\.nii .*{why}"):
        check_shape(shape, 2, "a.nii")


def test_further_axes_must_be_of_one():
    assert one_volume([5, 4], "a") == (5, 4, 1)
    assert one_volume([5, 4, 3, 1, 1], "a") == (5, 4, 3)
    with pytest.raises(UserError, match=r"holds 6 volumes \(5 x 4 x 3 x 2 x 3\)"):
        one_volume([5, 4, 3, 2, 3], "a")
    for shape in ([5], [5, 0, 3], []):
        with pytest.raises(UserError, match="a slice or one CT volume is needed"):
            one_volume(shape, "a")
