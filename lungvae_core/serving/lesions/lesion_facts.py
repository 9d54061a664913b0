"""Facts about a nodule, in words: its readers' ratings, its measures, and the scores of its slices.

A model score is a classifier's output on a code, never a probability of cancer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.slices import MALIGNANCY_WORDS, RATINGS
from lungvae_core.explore.colours import SCALES, TITLES
from lungvae_core.serving.lesions import lesion, nodule_score
from lungvae_core.serving.lesions.nodule_score import NoduleScore
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel

# LIDC's own words for every value of each rating.
_MARKED = ("none", "nearly none", "medium", "near marked", "marked")
WORDS: dict[str, tuple[str, ...]] = {
    "subtlety": ("extremely subtle", "moderately subtle", "fairly subtle", "moderately obvious", "obvious"),
    "internalStructure": ("soft tissue", "fluid", "fat", "air"),
    "calcification": ("popcorn", "laminated", "solid", "non-central", "central", "absent"),
    "sphericity": ("linear", "ovoid to linear", "ovoid", "ovoid to round", "round"),
    "margin": ("poorly defined", "near poorly defined", "medium", "near sharp", "sharp"),
    "lobulation": _MARKED,
    "spiculation": _MARKED,
    "texture": ("non-solid", "non-solid to part-solid", "part-solid", "part-solid to solid", "solid"),
    "malignancy": tuple(MALIGNANCY_WORDS.values()),
}

# Of a lesion: column, name, format of the value with its unit.
_FACTS = (
    ("diameter_mm", "diameter", "{:.1f} mm"),
    ("volume_mm3", "volume", "{:,.0f} mm³"),
    ("n_readers", "readers who outlined it", "{}"),
    ("slices", "slices", "{}"),
    ("pixel_spacing_mm", "pixel spacing", "{:.2f} mm"),
    ("slice_thickness_mm", "slice thickness", "{:g} mm"),
    ("slice_spacing_mm", "distance between slices", "{:g} mm"),
    ("contrast", "contrast medium", "{}"),
    ("manufacturer", "scanner", "{}"),
    ("hu_step", "HU in steps of", "{:.1f}"),
    ("learned", "model learned from it", "{}"),
)


@dataclass(frozen=True)
class Rating:
    """Each reader's rating of one characteristic of a nodule."""

    name: str  # in the field's words
    values: list[int]  # one per reader; each reader has the same place in every rating
    meanings: list[str]  # for each value
    ends: tuple[int, int]  # of the scale

    @property
    def caption(self) -> str:
        """The values from least to most in words: "part-solid" or "part-solid – solid"."""
        order = sorted(range(len(self.values)), key=self.values.__getitem__)
        first, last = self.meanings[order[0]], self.meanings[order[-1]]
        return first if first == last else f"{first} – {last}"


@dataclass(frozen=True)
class Scores:
    """A slice's score and its nodule's."""

    slice: float
    band: tuple[float, float] | None  # 90 % of the classifiers fitted on resampled patients; None without
    note: str  # how the scores were obtained
    nodule: NoduleScore  # its arrays are in the order of lesion.slices


def ratings(model: LoadedModel, row: int) -> list[Rating]:
    """Every reader's ratings of the nodule of `row`, malignancy first; omits what nobody rated."""
    entry = model.lesion(row)
    rated = []
    for name in ["malignancy", *(name for name in RATINGS if name != "malignancy")]:
        values = _joined(entry.get(f"{name}_all"))
        if values:
            meanings = [_word(name, value) for value in values]
            rated.append(Rating(TITLES.get(name, name), values, meanings, SCALES[name][:2]))
    return rated


def facts(model: LoadedModel, row: int) -> list[tuple[str, str]]:
    """(name, value with its unit) of the known facts about the nodule of `row` and its scan."""
    values = {name: value for name, value in model.lesion(row).items() if not pd.isna(value)}
    values["slices"] = len(lesion.slices(model, row))
    if "contrast" in values:
        values["contrast"] = "yes" if values["contrast"] else "no"
    if float(values.get("hu_step", 0)) <= 1:
        values.pop("hu_step", None)
    learned = {"train": "yes", "validation": "no, held out", "unseen": "no"}
    values["learned"] = learned.get(str(values.get("split")))
    return [
        (name, text.format(values[column])) for column, name, text in _FACTS if values.get(column) is not None
    ]


def scores(model: LoadedModel, row: int) -> Scores | None:
    """The scores of a slice and of its nodule; stored ones if all its slices have them, else computed.

    None for a model without a classifier and without stored scores.
    """
    rows = lesion.slices(model, row)
    entry, codes = model.lesion(row), model.codes[rows]
    patient = str(entry["patient_id"])
    stored = numbers(model.table, "score")[rows]
    if np.isfinite(stored).all():
        # For runs that keep no folds, the fitted classifier would score slices that it learned from.
        nodule: NoduleScore | None = nodule_score.combine(model, stored, codes, patient=patient)
        note = scoring.of_row(model, row)
    else:
        nodule = nodule_score.judge(model, codes, patient=patient)
        note = scoring.of_walk(model, patient)
    if nodule is None:
        return None
    return Scores(
        slice=float(nodule.slices[rows.index(row)]),
        band=model.band_of(model.codes[row], patient=patient),
        note=note,
        nodule=nodule,
    )


def _joined(value: Any) -> list[int]:
    """The values of "3|4|4"; none if unknown."""
    if value is None or pd.isna(value):
        return []
    return [int(float(part)) for part in str(value).split("|") if part]


def _word(name: str, value: int) -> str:
    meanings = WORDS[name]
    return meanings[value - 1] if 1 <= value <= len(meanings) else str(value)
