"""Facts about a nodule, in words: its readers' ratings, its measures, and the scores of its slices.

A model score is a classifier's output on a code, never a probability of cancer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

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
    entry, rows = model.lesion(row), lesion.slices(model, row)
    values = {name: value for name, value in entry.items() if not pd.isna(value)}
    lines = []

    def add(name: str, column: str, text: str) -> None:
        if column in values:
            lines.append((name, text.format(values[column])))

    add("diameter", "diameter_mm", "{:.1f} mm")
    add("volume", "volume_mm3", "{:,.0f} mm³")
    add("readers who outlined it", "n_readers", "{}")
    lines.append(("slices", f"{len(rows)}"))
    add("pixel spacing", "pixel_spacing_mm", "{:.2f} mm")
    add("slice thickness", "slice_thickness_mm", "{:g} mm")
    add("distance between slices", "slice_spacing_mm", "{:g} mm")
    if "contrast" in values:
        lines.append(("contrast medium", "yes" if values["contrast"] else "no"))
    add("scanner", "manufacturer", "{}")
    if float(values.get("hu_step", 0)) > 1:
        add("HU in steps of", "hu_step", "{:.1f}")
    learned = {"train": "yes", "validation": "no, held out", "unseen": "no"}
    if str(values.get("split")) in learned:
        lines.append(("model learned from it", learned[str(values["split"])]))
    return lines


def scores(model: LoadedModel, row: int) -> Scores | None:
    """The scores of a slice and of its nodule; stored ones if all its slices have them, else computed.

    None for a model without a classifier and without stored scores.
    """
    rows = lesion.slices(model, row)
    entry, codes = model.lesion(row), model.codes[rows]
    patient = str(entry["patient_id"])
    stored = np.full(len(rows), np.nan)
    if "score" in model.table:
        stored = model.table["score"].iloc[rows].to_numpy(float, na_value=np.nan)
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
