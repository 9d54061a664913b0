"""What the points of a map are coloured by."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.explore.colours import STEPS, available, colour
from lungvae_core.palette import OKABE_ITO

TABLE = pd.DataFrame(
    {
        "patient_id": ["a", "a", "b", "c"],
        "malignancy": pd.array([1, 5, None, 3], dtype="Int64"),
        "diameter_mm": [4.0, 6.0, 8.0, 40.0],
        "spiculation_all": ["1|1", "5|5|5", None, "1|5"],
        "score": [0.0, 1.0, np.nan, 0.5],
        "split": ["train", "validation", "train", "train"],
    }
)


def test_only_what_the_table_has_is_offered():
    assert list(available(TABLE)) == [
        "malignancy",
        "score",
        "size",
        "bands",
        "patient",
        "rating-spiculation",
        "split",
    ]
    assert list(available(TABLE[["patient_id"]])) == ["patient"]


@pytest.mark.parametrize("name", list(available(TABLE)))
def test_every_colouring_has_a_colour_a_point(name):
    coloured = colour(TABLE, name)
    assert coloured.index.shape == (4,)
    assert coloured.index.max() < len(coloured.palette)
    assert all(len(each) == 7 and each.startswith("#") for each in coloured.palette)
    assert not coloured.labels or len(coloured.labels) == len(coloured.palette)
    json.dumps(coloured.summary())


def test_unknown_values_have_no_colour():
    assert colour(TABLE, "malignancy").index.tolist() == [0, 4, -1, 2]
    assert colour(TABLE, "malignancy").summary()["unknown"] == 1
    assert colour(TABLE, "score").index.tolist() == [0, STEPS - 1, -1, 32]
    assert colour(TABLE, "rating-spiculation").index[2] == -1


def test_size_bands_have_their_edges_in_the_upper_band():
    assert colour(TABLE, "bands").index.tolist() == [0, 1, 2, 3]


def test_a_patient_keeps_its_colour_and_the_note_warns_of_repeats():
    coloured = colour(TABLE, "patient")
    assert coloured.index[0] == coloured.index[1]
    assert "not the same patient" in coloured.note
    assert colour(TABLE.iloc[2:], "patient").index.tolist() == coloured.index[2:].tolist()


def test_categories_are_okabe_ito():
    coloured = colour(TABLE, "split")
    assert coloured.palette == OKABE_ITO[:2]
    assert coloured.labels == ["train", "validation"]


def test_an_unknown_colouring_names_the_known():
    with pytest.raises(UserError, match="malignancy"):
        colour(TABLE, "quality")


def test_means_of_readers_are_coloured_on_a_scale_and_medians_by_their_grade() -> None:
    means = pd.DataFrame({"malignancy": [1.0, 2.66667, 3.0, 3.5, 5.0, np.nan]})
    shown = colour(means, "malignancy")
    assert shown.labels == []
    assert (shown.low, shown.high) == ("1 highly unlikely", "5 highly suspicious")
    assert shown.index[:5].tolist() == sorted(set(shown.index[:5].tolist()))
    assert shown.index[5] == -1
    medians = pd.DataFrame({"malignancy": pd.array([1, 3, None], "Int64")})
    assert colour(medians, "malignancy").index.tolist() == [0, 2, -1]
