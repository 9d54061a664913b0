"""Colours of a map's points: by ratings, size, patient, split or score."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.labels import over_readers
from lungvae_core.data.slices import MALIGNANCY_WORDS, RATINGS
from lungvae_core.errors import UserError
from lungvae_core.palette import CIVIDIS, OKABE_ITO, to_rgb
from lungvae_core.parameters import shown

STEPS = 64  # of a continuous scale

# LIDC's own words for the ends of each rating's scale.
SCALES = {
    "subtlety": (1, 5, "extremely subtle", "obvious"),
    "internalStructure": (1, 4, "soft tissue", "air"),
    "calcification": (1, 6, "popcorn", "absent"),
    "sphericity": (1, 5, "linear", "round"),
    "margin": (1, 5, "poorly defined", "sharp"),
    "lobulation": (1, 5, "none", "marked"),
    "spiculation": (1, 5, "none", "marked"),
    "texture": (1, 5, "non-solid", "solid"),
    "malignancy": (1, 5, "highly unlikely", "highly suspicious"),
}
TITLES = {"internalStructure": "internal structure"}
MALIGNANCY = [f"{rating} {meaning}" for rating, meaning in MALIGNANCY_WORDS.items()]
BANDS_MM = (6.0, 8.0, 15.0)  # the limits of the size bands: those of the guidelines on follow-up
BANDS = ["under 6 mm", "6 to under 8 mm", "8 to under 15 mm", "15 mm and over"]


@dataclass(frozen=True)
class Colouring:
    """A colour for each of N points, and what the colours mean."""

    title: str
    index: np.ndarray  # (N,) int16 into `palette`; -1 where the value is not known
    palette: list[str]  # "#rrggbb"
    labels: list[str]  # a label a palette entry, for categories; empty for a scale
    low: str = ""  # what the scale's first and last colour stand for
    high: str = ""
    note: str = ""

    def summary(self) -> dict[str, Any]:
        """All but the index, ready for JSON, with how many points each category has."""
        counts = np.bincount(self.index[self.index >= 0], minlength=len(self.palette))
        return {
            **{name: value for name, value in vars(self).items() if name != "index"},
            "counts": counts.tolist() if self.labels else [],
            "unknown": int((self.index < 0).sum()),
        }


def column(values: pd.Series, title: str) -> Colouring:
    """Colours for any column: a scale for numbers, else a palette, the most frequent values first."""
    if isinstance(values.dtype, pd.CategoricalDtype) and values.cat.ordered:
        names = [str(each) for each in values.cat.categories]
        return Colouring(title, values.cat.codes.to_numpy(np.int16), _ramp(len(names)), names)
    if pd.api.types.is_bool_dtype(values):
        return _kinds(title, values.map({True: "yes", False: "no"}))
    if pd.api.types.is_numeric_dtype(values):
        numbers = _numbers(values)
        distinct = np.unique(numbers[~np.isnan(numbers)])
        if len(distinct) <= 8 and bool(np.all(distinct % 1 == 0)):  # few whole numbers are steps of an order
            index = np.where(np.isnan(numbers), -1, np.searchsorted(distinct, np.nan_to_num(numbers)))
            names = [f"{each:g}" for each in distinct]
            return Colouring(title, index.astype(np.int16), _ramp(max(len(names), 1)), names)
        return scale(title, numbers)
    return _kinds(title, values)


def scale(title: str, numbers: np.ndarray, digits: str = ".3g") -> Colouring:
    """Colours for numbers (N,) between their 2nd and 98th percentile, written with these digits."""
    if np.isnan(numbers).all():
        return _scale(title, numbers, 0, 1, "", "")
    low, high = np.nanpercentile(numbers, [2, 98])
    return _scale(title, numbers, low, high, f"{low:{digits}} (2 %)", f"{high:{digits}} (98 %)")


def groups(title: str, members: np.ndarray, names: list[str], note: str = "") -> Colouring:
    """Colours for group numbers (N,), -1 for none, by name; more than seven groups share colours."""
    palette = [OKABE_ITO[number % len(OKABE_ITO)] for number in range(len(names))]
    return Colouring(title, members.astype(np.int16), palette, names, note=note)


def _kinds(title: str, values: pd.Series) -> Colouring:
    counts = values.dropna().astype(str).value_counts()
    names = list(counts.index[: len(OKABE_ITO)])
    cut = f"The {len(names)} most frequent of {len(counts):,}; the others are grey."
    return _categories(title, values, names, cut if len(counts) > len(names) else "")


def _categories(title: str, values: pd.Series, names: list[str], note: str = "") -> Colouring:
    texts = values.astype(object).map(str, na_action="ignore")
    index = pd.Categorical(texts, categories=names).codes.astype(np.int16)
    return Colouring(title, index, OKABE_ITO[: len(names)], names, note=note)


def available(table: pd.DataFrame) -> dict[str, str]:
    """What this table's points can be coloured by: name -> title, in the order of a menu."""
    return {name: title for name, (title, column, _) in _CHOICES.items() if _usable(table, column)}


def colour(table: pd.DataFrame, name: str) -> Colouring:
    """Colours for the table's rows by `name`, one of `available`; UserError where there is no such choice."""
    if name not in _CHOICES or not _usable(table, _CHOICES[name][1]):
        choices = ", ".join(available(table))
        raise UserError(f"The map cannot be coloured by {shown(name)}. Choose one of: {choices}.")
    title, column, make = _CHOICES[name]
    return make(title, table[column])


def _usable(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().any())


def _numbers(values: pd.Series) -> np.ndarray:
    return values.to_numpy(dtype=float, na_value=np.nan)


def _ramp(steps: int) -> list[str]:
    """cividis at `steps` even steps."""
    stops = np.array([to_rgb(stop) for stop in CIVIDIS], float)
    at = np.linspace(0, len(CIVIDIS) - 1, steps)
    channels = [np.interp(at, np.arange(len(CIVIDIS)), stops[:, channel]) for channel in range(3)]
    rgb = np.rint(np.stack(channels, axis=1)).astype(int)
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in rgb]


def _scale(
    title: str, values: np.ndarray, low: float, high: float, low_text: str, high_text: str, note: str = ""
) -> Colouring:
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    index = np.where(np.isnan(values), -1, np.rint(np.nan_to_num(share) * (STEPS - 1)))
    return Colouring(title, index.astype(np.int16), _ramp(STEPS), [], low_text, high_text, note)


def _malignancy(title: str, values: pd.Series) -> Colouring:
    rating = _numbers(values)
    rated = rating[~np.isnan(rating)]
    if (np.rint(rated) != rated).any():  # means of the readers
        low, high, low_end, high_end = SCALES["malignancy"]
        return _scale(title, rating, low, high, f"{low} {low_end}", f"{high} {high_end}")
    index = np.where(np.isnan(rating), -1, np.clip(np.nan_to_num(rating), 1, 5) - 1).astype(np.int16)
    return Colouring(title, index, _ramp(5), MALIGNANCY)


def _score(title: str, values: pd.Series) -> Colouring:
    return _scale(title, _numbers(values), 0, 1, "0", "1", "Not a probability of cancer.")


def _quality(title: str, values: pd.Series) -> Colouring:
    return scale(title, _numbers(values), ".2f")


def _size(title: str, values: pd.Series) -> Colouring:
    numbers = _numbers(values)
    # Diameters are skewed; on a logarithmic scale small ones differ as visibly as large ones.
    low, high = np.nanpercentile(numbers, [1, 99])
    low = max(low, 1e-3)
    note = "Logarithmic, from the readers' outlines."
    ends = f"{low:.0f} mm", f"{high:.0f} mm"
    return _scale(title, np.log(np.maximum(numbers, 1e-3)), np.log(low), np.log(high), *ends, note)


def size_band(diameter_mm: np.ndarray) -> np.ndarray:
    """(N,) int16: which of BANDS a diameter (N,) is in; -1 where it is NaN."""
    return np.where(np.isnan(diameter_mm), -1, np.digitize(diameter_mm, BANDS_MM)).astype(np.int16)


def _bands(title: str, values: pd.Series) -> Colouring:
    return Colouring(title, size_band(_numbers(values)), _ramp(4), BANDS)


def _patient(title: str, values: pd.Series) -> Colouring:
    slots = {name: zlib.crc32(str(name).encode()) % len(OKABE_ITO) for name in values.unique()}
    index = values.map(slots).to_numpy(np.int16)
    note = (
        f"{len(slots):,} patients share {len(OKABE_ITO)} colours: the same colour is not the same patient. "
        "Point at a lesion to see its patient's others ringed."
    )
    return Colouring(title, index, list(OKABE_ITO), [], note=note)


def _split(title: str, values: pd.Series) -> Colouring:
    names = sorted(str(name) for name in values.dropna().unique())[: len(OKABE_ITO)]
    return _categories(title, values, names)


def _rating(name: str) -> Callable[[str, pd.Series], Colouring]:
    low, high, low_word, high_word = SCALES[name]
    notes = {
        "calcification": "1 to 5 are kinds of calcification, 6 is none.",
        "internalStructure": "1 soft tissue, 2 fluid, 3 fat, 4 air; almost always 1.",
        "lobulation": "Some early cases used the scale the other way round.",
        "spiculation": "Some early cases used the scale the other way round.",
    }
    ends = f"{low} {low_word}", f"{high} {high_word}"

    def make(title: str, values: pd.Series) -> Colouring:
        means = over_readers(values, lambda ratings: float(np.mean(ratings)))
        return _scale(title, means, low, high, *ends, notes.get(name, ""))

    return make


_CHOICES: dict[str, tuple[str, str, Callable[[str, pd.Series], Colouring]]] = {
    "malignancy": ("Malignancy: the readers' rating", "malignancy", _malignancy),
    "score": ("Model score", "score", _score),
    "size": ("Size: diameter in mm", "diameter_mm", _size),
    "bands": ("Size: bands", "diameter_mm", _bands),
    "patient": ("Patient", "patient_id", _patient),
    **{
        f"rating-{name}": (f"Mean rating: {TITLES.get(name, name)}", f"{name}_all", _rating(name))
        for name in RATINGS
    },
    "split": ("Split: how the VAE was trained", "split", _split),
    "quality": ("Reconstruction quality (SSIM)", "ssim", _quality),
}
