"""File names: their natural order, and which of them say that the file is a mask."""

from __future__ import annotations

import pytest

from lungvae_core.data.volumes.names import is_mask_name, natural


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
