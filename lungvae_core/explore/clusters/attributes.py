"""Attributes of lesions: the readers' findings, and confounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.labels import labels, reader_mean
from lungvae_core.data.slices import RATINGS
from lungvae_core.explore.colours import TITLES, size_band

RULE = "median_high"
# Kinds: the readers' ratings and size, where the lesion lies, whose scan it is and how it was made.
FINDING, SURROUNDINGS, CONFOUND = "finding", "surroundings", "confound"
HALF_IMAGE, HALF_CROP = 256, 31.5  # px: CT images have 512, crops 64
THICKNESS_MM = (1.0, 2.0, 3.0)
LEAST_UNITS = 10  # an attribute known of fewer is left out


@dataclass(frozen=True)
class Attribute:
    """A group for each of M lesions: 0 .. G-1, or -1 where it is not known."""

    name: str
    title: str
    kind: str  # FINDING, SURROUNDINGS or CONFOUND
    groups: np.ndarray  # (M,) int


def attributes(frame: pd.DataFrame) -> list[Attribute]:
    """The attributes of lesions `frame` (M rows of a run's table), except those with a single group."""
    thickness = numbers(frame, "slice_thickness_mm")
    thick = np.where(np.isnan(thickness), np.nan, np.digitize(thickness, THICKNESS_MM, right=True))
    down, across = place(frame)
    quarter = 2 * (down > HALF_IMAGE) + (across > HALF_IMAGE) + 0 * (down + across)
    ratings = ["malignancy", *(name for name in RATINGS if name != "malignancy")]
    every = [
        Attribute("malignancy", "malignant or benign", FINDING, _whole(labels(frame, "mvb", RULE))),
        Attribute("size", "size band", FINDING, size_band(numbers(frame, "diameter_mm"))),
        *(_rating(frame, rating) for rating in ratings if f"{rating}_all" in frame),
        Attribute("place", "quarter of the CT image", SURROUNDINGS, _whole(quarter)),
        Attribute("patient", "patient", CONFOUND, pd.factorize(frame["patient_id"].astype(str))[0]),
        Attribute("thickness", "slice thickness", CONFOUND, _whole(thick)),
        Attribute("contrast", "contrast agent", CONFOUND, _whole(numbers(frame, "contrast"))),
    ]
    return [one for one in every if _usable(one)]


def place(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """((M,) pixels from the top of the CT image, (M,) from its left) of the crops' centres."""
    return numbers(frame, "row0") + HALF_CROP, numbers(frame, "col0") + HALF_CROP


def rating_values(frame: pd.DataFrame, rating: str) -> np.ndarray:
    """(M,) float: the readers' mean; of calcification, whose grades are kinds, 1 for some and 0 for none."""
    mean = reader_mean(frame, rating)
    return np.where(np.isnan(mean), np.nan, mean < 5.5) if rating == "calcification" else mean


def _rating(frame: pd.DataFrame, rating: str) -> Attribute:
    values = rating_values(frame, rating)
    if rating != "calcification":
        values = np.floor(values + 0.5) - 1  # whole grades from 0, halves upwards
    title = "malignancy rating" if rating == "malignancy" else TITLES.get(rating, rating)
    return Attribute(f"rating-{rating}", title, FINDING, _whole(values))


def _whole(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -1, np.nan_to_num(values)).astype(int)


def _usable(attribute: Attribute) -> bool:
    groups = attribute.groups[attribute.groups >= 0]
    return len(groups) >= LEAST_UNITS and len(np.unique(groups)) > 1
