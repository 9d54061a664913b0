"""Packed content is inflated no further than its header allows."""

from __future__ import annotations

import gzip
import io

import pytest

from lungvae_core.data.series import read_series
from lungvae_core.errors import UserError
from tests.made_volumes import HU, metaimage, nifti, nrrd, slice_file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nii.gz", gzip.compress(nifti(HU[:1])[:352] + bytes(10**8))),
        ("a.mha", metaimage(HU, packed=True)[:-10]),
        ("a.nrrd", nrrd(HU).replace(b"96 96 3", b"4000 4000 4000")),
        ("a.dcm.gz", gzip.compress(slice_file() + bytes(10**8))),
    ],
)
def test_what_is_packed_is_inflated_no_further_than_its_header_allows(name: str, content: bytes) -> None:
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(UserError):
        read_series([(name, content)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * 2**20 if name.endswith("dcm.gz") else peak < 10 * 2**20


def test_an_empty_stream_is_reported() -> None:
    with pytest.raises(UserError, match="empty"):
        read_series([("a.nii", io.BytesIO(b""))])
