"""Figures within groups of units that share an attribute: size, readers, texture, scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.labels import reader_count, reader_mean
from lungvae_core.errors import UserError
from lungvae_core.evaluation.figures import checked, counts_of, sure
from lungvae_core.evaluation.units import KEYS
from lungvae_core.statistics.intervals import percentile_interval
from lungvae_core.statistics.patients import bootstrap
from lungvae_core.statistics.rates import rates, weighted_counts
from lungvae_core.statistics.roc import weighted_aucs

UNKNOWN = "not known"
FEWEST = 5  # units of a class; with fewer no figure is given

SIZE_BANDS = ("under 6 mm", "6 to under 8 mm", "8 to under 15 mm", "15 mm and over")
_CLASSES = {"auc": (0, 1), "sensitivity": (1,), "specificity": (0,)}  # figure: labels that it needs
_READERS = ("1", "2", "3", "4+")
_TEXTURES = ("ground glass", "part solid", "solid")
_THICKNESSES = ("1 mm or less", "over 1 to 2 mm", "over 2 to 3 mm", "over 3 mm")


def subgroups(
    frame: pd.DataFrame, attributes: pd.DataFrame, *, resamples: int = 500, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """For each attribute a list of {group, count, malignant, patients, auc, sensitivity, specificity}.

    `frame` is a judged frame, and `attributes` has one column per attribute and the same units in its rows.
    Figures are {value, low, high}, with a 95 % interval from resampling whole patients of the entire frame;
    None with fewer than FEWEST units of a class that the figure needs. Groups are in the order of a
    categorical column, or sorted; units without a value come last as UNKNOWN. Raises UserError if the two
    differ in length.
    """
    frame = checked(frame)
    if len(attributes) != len(frame):
        raise UserError(f"There are attributes of {len(attributes)} units for {len(frame)} judged units.")
    groups = [(str(name), *group) for name in attributes.columns for group in _groups(attributes[name])]
    by_attribute: dict[str, list[dict[str, Any]]] = {str(name): [] for name in attributes.columns}
    if not groups:
        return by_attribute
    parts = [frame.iloc[rows] for *_, rows in groups]

    def figures(weights: np.ndarray) -> np.ndarray:
        """(B, groups, figures)"""
        of_groups = zip(parts, groups, strict=True)
        return np.stack([_figures(part, weights[:, rows]) for part, (*_, rows) in of_groups], axis=1)

    values = figures(np.ones((1, len(frame))))[0]
    drawn = bootstrap(figures, frame["patient_id"].to_numpy(), resamples, seed=seed)
    for number, (name, group, _) in enumerate(groups):
        entry: dict[str, Any] = {"group": group, **counts_of(parts[number])}
        label, patients = parts[number]["label"].to_numpy(), parts[number]["patient_id"].to_numpy()
        for at, (figure, classes) in enumerate(_CLASSES.items()):
            value = float(values[number, at])
            if min((label == one).sum() for one in classes) < FEWEST:
                entry[figure] = None
            elif figure != "auc" and value in (0.0, 1.0):
                entry[figure] = sure(value, patients[np.isin(label, classes)])
            else:
                entry[figure] = percentile_interval(value, drawn[:, number, at])
        by_attribute[name].append(entry)
    return by_attribute


def attributes_of(table: pd.DataFrame, frame: pd.DataFrame, unit: str) -> pd.DataFrame:
    """The attributes of each unit of a judged frame, as ordered categories, from the data's table of slices.

    A nodule has those of its first slice, and a patient those of their largest nodule. An attribute whose
    column is missing is left out: `diameter_mm`; `n_readers` or `malignancy_all`; `texture_all`;
    `slice_thickness_mm`; `manufacturer`. Raises UserError for an unknown unit.
    """
    if unit not in KEYS:
        raise UserError(f"There is no unit {unit!r}. Choose slice, nodule or patient.")
    keys = KEYS[unit]
    table = table.reset_index(drop=True)
    columns = _attributes(table)
    of_slices = table[keys].astype({"patient_id": str}).assign(**columns)
    if unit == "patient":
        size = numbers(table, "diameter_mm")
        of_slices = of_slices.iloc[np.argsort(-np.nan_to_num(size), kind="stable")]
    first = of_slices.drop_duplicates(keys)
    lesions = frame[keys].astype({"patient_id": str}).reset_index(drop=True)
    return lesions.merge(first, on=keys, how="left")[list(columns)]


def _attributes(table: pd.DataFrame) -> dict[str, pd.Series]:
    columns: dict[str, pd.Series] = {}
    if "diameter_mm" in table:
        columns["size_band"] = size_bands(numbers(table, "diameter_mm"))
    if "n_readers" in table or "malignancy_all" in table:
        readers = numbers(table, "n_readers") if "n_readers" in table else reader_count(table).astype(float)
        readers = np.where(readers >= 1, readers, np.nan)
        columns["readers"] = _cut(readers, (1, 2, 3), _READERS, right=True)
    if "texture_all" in table:
        columns["texture"] = _cut(reader_mean(table, "texture"), (2.5, 3.5), _TEXTURES, right=True)
    if "slice_thickness_mm" in table:
        thickness = numbers(table, "slice_thickness_mm")
        columns["slice_thickness"] = _cut(thickness, (1, 2, 3), _THICKNESSES, right=True)
    if "manufacturer" in table:
        names = table["manufacturer"].astype("string").str.strip()
        names = names.where(names.str.len() > 0)
        columns["manufacturer"] = pd.Series(pd.Categorical(names), index=table.index)
    return columns


def size_bands(diameter_mm: np.ndarray) -> pd.Series:
    """Which of SIZE_BANDS each diameter (N,) lies in; missing if it is not known."""
    return _cut(diameter_mm, (6, 8, 15), SIZE_BANDS, right=False)


def _cut(values: np.ndarray, edges: tuple[float, ...], names: tuple[str, ...], *, right: bool) -> pd.Series:
    """Categories between edges; an edge belongs to the group below it if `right`, otherwise to that above."""
    return pd.Series(
        pd.cut(values, [-np.inf, *edges, np.inf], right=right, labels=list(names)), dtype="category"
    )


def _groups(column: pd.Series) -> list[tuple[str, np.ndarray]]:
    """(name, rows) of the non-empty groups."""
    column = column.astype("category")
    codes = column.cat.codes.to_numpy()
    names = [str(name) for name in column.cat.categories]
    members = [(name, np.flatnonzero(codes == code)) for code, name in enumerate(names)]
    members.append((UNKNOWN, np.flatnonzero(codes < 0)))
    return [(name, rows) for name, rows in members if len(rows)]


def _figures(frame: pd.DataFrame, weights: np.ndarray) -> np.ndarray:
    """(B, len(_CLASSES)) each figure of a judged frame under weights (B, N)."""
    label, logit, called = (frame[name].to_numpy(float) for name in ("label", "logit", "called"))
    figures = {"auc": weighted_aucs(label, logit, weights), **rates(weighted_counts(label, called, weights))}
    return np.stack([figures[name] for name in _CLASSES], axis=1)
