"""Filters for lesions: conditions on any column of a table, and a search by name.

A filter is a list of conditions that all must hold:

    {"column": "n_readers", "in": ["4"]}        one of these values, as text
    {"column": "diameter_mm", "from": 6, "to": 20}
    {"search": "0012"}                          in the patient's name, or in "patient nodule slice"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import OWN, RATINGS, TABLE, numbers
from lungvae_core.data.labels import reader_mean, reader_spread
from lungvae_core.data.slices import FACTOR, malignant
from lungvae_core.errors import UserError
from lungvae_core.explore.colours import BANDS, TITLES, size_band
from lungvae_core.json_text import parse_json
from lungvae_core.parameters import LONGEST, ParameterError, finite, shown, text

MOST_CATEGORIES = 24  # more distinct values are searched or ranged, not ticked
MOST_CONDITIONS = 50
UNKNOWN = "not known"

_BAND = pd.CategoricalDtype(BANDS, ordered=True)
_TITLES = {
    "patient_id": "Patient",
    "nodule": "Nodule",
    "slice": "Slice",
    "malignancy": "Malignancy: the readers' rating",
    "n_readers": "Readers who marked it",
    "reader_spread": "Reader agreement: largest difference of malignancy ratings",
    "reader_mean": "Malignancy: mean of the readers",
    "size_band": "Size band",
    "diameter_mm": "Diameter, mm",
    "area_px": "Area of the outline, px",
    "volume_mm3": "Volume, mm³",
    "split": "Split: how the VAE was trained",
    "paper_split": "The paper's split",
    "score": "Model score",
    "score_kind": "How the score was obtained",
    "error": "Score's error: distance to the label",
    "right": "Score beside the label",
    "ssim": "Reconstruction: SSIM",
    "mse": "Reconstruction: mean squared error",
    "mask_clipped": "Outline cut by the crop",
    "pixel_spacing_mm": "Pixel spacing, mm",
    "slice_thickness_mm": "Slice thickness, mm",
    "contrast": "Contrast agent",
    "slices": "Slices of the nodule",
    "z_mm": "Position along the body, mm",
}
_HIDDEN = (
    *("series_uid", "annotation_ids", "row", "scan_id", "row0", "col0", "hu_source", "hu_step"),
    *(f"{rating}_all" for rating in RATINGS),
)
_RATED = tuple(name for name in RATINGS if name != "malignancy")
_DESCRIBED = {column.name for column in TABLE}


@dataclass(frozen=True)
class Column:
    """A column that can be filtered: ticked values, or a range."""

    name: str
    title: str
    kind: str  # "category", "number" or "text"
    options: tuple[str, ...] = ()  # of a category, as text, in order
    low: float = 0.0  # of a number
    high: float = 0.0


def with_derived(table: pd.DataFrame) -> pd.DataFrame:
    """The table with derived columns: reader agreement, size band, the score's error, mean ratings."""
    more: dict[str, Any] = {}
    if "malignancy_all" in table:
        more["reader_spread"] = reader_spread(table, "malignancy")
        more["reader_mean"] = reader_mean(table, "malignancy")
    if "diameter_mm" in table:
        bands = size_band(numbers(table, "diameter_mm"))
        more["size_band"] = pd.Categorical.from_codes(bands.tolist(), dtype=_BAND)
    if "score" in table and "malignancy" in table:
        label, score = malignant(table), numbers(table, "score")
        more["error"] = np.abs(score - label)
        right = pd.Series(np.where((score > 0.5) == (label == 1), "as the readers", "against the readers"))
        more["right"] = right.where(~np.isnan(more["error"])).to_numpy()
    for rating in _RATED:
        if f"{rating}_all" in table and table[f"{rating}_all"].notna().any():
            more[rating] = reader_mean(table, rating)
    return table.assign(**{name: value for name, value in more.items() if name not in table})


def columns(table: pd.DataFrame) -> list[Column]:
    """The columns by which a table of `with_derived` can be filtered, the most useful first."""
    shown = [name for name in table.columns if name not in _HIDDEN and table[name].notna().any()]
    rank = {name: number for number, name in enumerate(_TITLES)}
    return sorted(
        (_column(str(name), table[name]) for name in shown),
        key=lambda column: (rank.get(column.name, len(rank)), column.title),
    )


def title(name: str) -> str:
    """A column's name in words."""
    if name in _TITLES:
        return _TITLES[name]
    if name in _RATED:
        return f"Mean rating: {TITLES.get(name, name)}"
    if name in _DESCRIBED or name.startswith(FACTOR):
        return name.replace("_", " ")
    # Users' own columns are marked as such, since they can have any name.
    return f"{name.removeprefix(OWN)} (your column)"


def _column(name: str, values: pd.Series) -> Column:
    if isinstance(values.dtype, pd.CategoricalDtype):
        present = set(values.dropna())
        options = tuple(str(one) for one in values.cat.categories if one in present)
        return Column(name, title(name), "category", options)
    if pd.api.types.is_bool_dtype(values):
        return Column(name, title(name), "category", ("no", "yes"))
    distinct = values.dropna().unique()
    if pd.api.types.is_numeric_dtype(values):
        if len(distinct) <= 8 and bool(np.all(np.asarray(distinct, float) % 1 == 0)):
            return Column(name, title(name), "category", tuple(f"{each:g}" for each in sorted(distinct)))
        return Column(name, title(name), "number", low=float(values.min()), high=float(values.max()))
    if len(distinct) <= MOST_CATEGORIES:
        return Column(name, title(name), "category", tuple(sorted(str(each) for each in distinct)))
    return Column(name, title(name), "text")


def parse(where: str) -> list[dict[str, Any]]:
    """The conditions of a filter written as JSON; empty text is none. UserError says what is wrong."""
    if not where:
        return []
    if len(where) > LONGEST:
        raise ParameterError(f"The filter is longer than {LONGEST:,} characters. Take conditions out.")
    try:
        conditions = parse_json(where, what="The filter")
    except UserError as error:
        raise ParameterError(
            "The filter is not JSON. Set it again with the controls beside the map."
        ) from error
    if not isinstance(conditions, list) or len(conditions) > MOST_CONDITIONS:
        raise ParameterError(f"A filter is a list of at most {MOST_CONDITIONS} conditions.")
    return [_checked(condition) for condition in conditions]


def _checked(condition: Any) -> dict[str, Any]:
    """A condition whose texts and numbers are within bounds; ParameterError for anything else."""
    if not isinstance(condition, dict):
        raise ParameterError(f"{shown(condition)} is no condition of a filter.")
    keys = set(condition)
    if keys == {"search"}:
        return {"search": text("A filter's search", condition["search"])}
    if "column" not in keys or len(keys) < 2 or not keys <= {"column", "in", "from", "to"}:
        raise ParameterError('A condition has a "column" and either "in" or "from" and "to".')
    name = text("A filter's column", condition["column"])
    if "in" in keys:
        values = condition["in"]
        if keys != {"column", "in"} or not isinstance(values, list):
            raise ParameterError(f'{shown(name)}: "in" is a list of values, and stands alone.')
        return {"column": name, "in": [_value(name, value) for value in values]}
    ends = {end: finite(f"{shown(name)}: {end}", condition[end]) for end in ("from", "to") if end in keys}
    return {"column": name, **ends}


def _value(name: str, value: Any) -> str | float | bool:
    """One of the values that are ticked."""
    if isinstance(value, int | float):
        if not isinstance(value, bool):
            finite(f"{shown(name)}: a value", value)
        return value
    return text(f"{shown(name)}: a value", value)


def mask(table: pd.DataFrame, conditions: list[dict[str, Any]]) -> np.ndarray:
    """(N,) bool: which rows of a table, made by `with_derived`, meet all conditions (see `parse`)."""
    shown = np.ones(len(table), bool)
    for condition in conditions:
        if "search" in condition:
            shown &= _searched(table, condition["search"])
            continue
        name = condition["column"]
        if name not in table or name in _HIDDEN:
            raise UserError(f"There is no column {name[:40]!r} to filter by.")
        values = table[name]
        shown &= _ticked(values, condition["in"]) if "in" in condition else _ranged(values, condition)
    return shown


def _searched(table: pd.DataFrame, text: str) -> np.ndarray:
    text = " ".join(text.lower().split())
    if not text:
        return np.ones(len(table), bool)
    patient = table["patient_id"].astype(str).str.lower()
    # Thousands of rows have few patients; nodule and slice matter only after a space.
    names = {name: text in name for name in patient.unique()}
    matches = patient.map(names).to_numpy(bool)
    if " " in text:
        # A space behind, so that nodule 1 is not nodule 12.
        whole = patient + " " + table["nodule"].astype(str) + " " + table["slice"].astype(str) + " "
        matches = matches | whole.str.contains(f"{text} ", regex=False).to_numpy(bool)
    return matches


def _ticked(values: pd.Series, ticked: list[Any]) -> np.ndarray:
    texts = {str(value) for value in ticked}
    if pd.api.types.is_bool_dtype(values):
        names = values.map({True: "yes", False: "no"})
    elif pd.api.types.is_numeric_dtype(values):
        numbers = values.to_numpy(float, na_value=np.nan)
        names = pd.Series([f"{number:g}" for number in np.unique(numbers[~np.isnan(numbers)])])
        kept = np.array([float(name) for name in names if name in texts])
        return np.isin(numbers, kept) | (np.isnan(numbers) & (UNKNOWN in texts))
    else:
        names = values.astype(object).map(str, na_action="ignore")
    return names.isin(texts).to_numpy(bool) | (values.isna().to_numpy(bool) & (UNKNOWN in texts))


def _ranged(values: pd.Series, condition: dict[str, Any]) -> np.ndarray:
    if isinstance(values.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(values):
        raise UserError(f"{condition['column'][:40]} has no numbers to choose a range of.")
    numbers = values.to_numpy(float, na_value=np.nan)
    low, high = condition.get("from", -np.inf), condition.get("to", np.inf)
    return (numbers >= low) & (numbers <= high)
