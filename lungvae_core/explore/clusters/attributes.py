"""Attributes of lesions: the readers' findings, and confounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lungvae_core.data.labels import labels, reader_mean
from lungvae_core.data.slices import RATINGS
from lungvae_core.explore.colours import BANDS, BANDS_MM
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
    found = [
        Attribute(
            "malignancy",
            "malignant or benign",
            FINDING,
            _whole(labels(frame, "mvb", RULE)),
            ("benign", "malignant"),
        )
    ]
    if "diameter_mm" in frame:
        diameter = frame["diameter_mm"].to_numpy(dtype=float, na_value=np.nan)
        band = np.where(np.isnan(diameter), np.nan, np.digitize(diameter, BANDS_MM))
        found.append(Attribute("size", "size band", FINDING, _whole(band), tuple(BANDS)))
    for rating in ["malignancy", *(name for name in RATINGS if name != "malignancy")]:
        if f"{rating}_all" in frame:
            found.append(_rating(frame, rating))
    if {"row0", "col0"} <= set(frame):
        down, across = place(frame)
        found.append(
            Attribute(
                "place",
                "quarter of the CT image",
                SURROUNDINGS,
                _whole(2 * (down > HALF_IMAGE) + (across > HALF_IMAGE) + 0 * down),
                ("upper left", "upper right", "lower left", "lower right"),
            )
        )
    found.append(
        Attribute("patient", "patient", CONFOUND, pd.factorize(frame["patient_id"].astype(str))[0], ())
    )
    if "slice_thickness_mm" in frame:
        thick = frame["slice_thickness_mm"].to_numpy(dtype=float, na_value=np.nan)
        band = np.where(np.isnan(thick), np.nan, np.digitize(thick, THICKNESS_MM, right=True))
        names = ("up to 1 mm", "up to 2 mm", "up to 3 mm", "above 3 mm")
        found.append(Attribute("thickness", "slice thickness", CONFOUND, _whole(band), names))
    if "contrast" in frame:
        contrast = frame["contrast"].to_numpy(dtype=float, na_value=np.nan)
        found.append(Attribute("contrast", "contrast agent", CONFOUND, _whole(contrast), ("without", "with")))
    return [one for one in found if _usable(one)]


def place(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """((M,) pixels from the top of the CT image, (M,) from its left) of the crops' centres."""
    down, across = (
        frame[name].to_numpy(dtype=float, na_value=np.nan) + HALF_CROP for name in ("row0", "col0")
    )
    return down, across


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
    known = attribute.groups[attribute.groups >= 0]
    return len(known) >= LEAST_UNITS and len(np.unique(known)) > 1
