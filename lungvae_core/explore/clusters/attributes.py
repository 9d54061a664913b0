"""Attributes of lesions: the readers' findings, and confounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.labels import labels, reader_mean
from lungvae_core.data.slices import RATINGS
from lungvae_core.explore.colours import BANDS, size_band
from lungvae_core.explore.colours import TITLES as RATING_TITLES

RULE = "median_high"
FINDING, SURROUNDINGS, CONFOUND = "finding", "surroundings", "confound"
KINDS = {
    FINDING: "what readers said of the lesion",
    SURROUNDINGS: "where the lesion lies",
    CONFOUND: "whose scan it is, and how it was made",
}
HALF_IMAGE, HALF_CROP = 256, 31.5  # px: CT images have 512, crops 64
THICKNESS_MM = (1.0, 2.0, 3.0)
LEAST_UNITS = 10  # an attribute known of fewer is left out


@dataclass(frozen=True)
class Attribute:
    """A group for each of M lesions: 0 .. G-1, or -1 where it is not known."""

    name: str
    title: str
    kind: str  # one of KINDS
    groups: np.ndarray  # (M,) int
    names: tuple[str, ...]  # of the groups; none where there are too many


def attributes(frame: pd.DataFrame) -> list[Attribute]:
    """The attributes of lesions `frame` (M rows of a run's table), except those with a single group."""
    malignant = _whole(labels(frame, "mvb", RULE))
    size = size_band(numbers(frame, "diameter_mm"))
    thickness = numbers(frame, "slice_thickness_mm")
    thick = np.where(np.isnan(thickness), np.nan, np.digitize(thickness, THICKNESS_MM, right=True))
    thicknesses = ("up to 1 mm", "up to 2 mm", "up to 3 mm", "above 3 mm")
    down, across = place(frame)
    quarter = 2 * (down > HALF_IMAGE) + (across > HALF_IMAGE) + 0 * (down + across)
    quarters = ("upper left", "upper right", "lower left", "lower right")
    contrast = _whole(numbers(frame, "contrast"))
    patient = pd.factorize(frame["patient_id"].astype(str))[0]
    ratings = ["malignancy", *(name for name in RATINGS if name != "malignancy")]
    every = [
        Attribute("malignancy", "malignant or benign", FINDING, malignant, ("benign", "malignant")),
        Attribute("size", "size band", FINDING, size, tuple(BANDS)),
        *(_rating(frame, rating) for rating in ratings if f"{rating}_all" in frame),
        Attribute("place", "quarter of the CT image", SURROUNDINGS, _whole(quarter), quarters),
        Attribute("patient", "patient", CONFOUND, patient, ()),
        Attribute("thickness", "slice thickness", CONFOUND, _whole(thick), thicknesses),
        Attribute("contrast", "contrast agent", CONFOUND, contrast, ("without", "with")),
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
    title = RATING_TITLES.get(rating, rating)
    if rating == "calcification":
        return Attribute(f"rating-{rating}", title, FINDING, _whole(values), ("none", "some"))
    grade = np.floor(values + 0.5)  # halves upwards
    names = tuple(str(grade) for grade in range(1, 6))
    title = "malignancy rating" if rating == "malignancy" else title
    return Attribute(f"rating-{rating}", title, FINDING, _whole(grade - 1), names)


def _whole(values: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(values), -1, np.nan_to_num(values)).astype(int)


def _usable(attribute: Attribute) -> bool:
    groups = attribute.groups[attribute.groups >= 0]
    return len(groups) >= LEAST_UNITS and len(np.unique(groups)) > 1
