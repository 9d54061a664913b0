"""From slices to nodules to patients: how a nodule gets its logit from slices, and a patient from nodules.

A test is about lesions or people, not slices: otherwise a lesion of forty slices would count forty times.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungvae_core.data.columns import KEY, NODULE, numbers
from lungvae_core.errors import UserError

KEYS = {"slice": KEY, "nodule": NODULE, "patient": KEY[:1]}  # the columns that name a unit

RULES = {
    "mean": "the mean logit of the nodule's slices",
    "max": "the highest logit of the nodule's slices, that is its most suspicious slice",
    "top3": "the mean of the three highest logits of the nodule's slices, of all where there are fewer",
    "largest": "the logit of the slice in which the lesion is largest; the readers' mask chooses this slice, "
    "so this rule needs a reader's outline at prediction time",
    "attention": "learned attention over the codes of the nodule's slices (gated, Ilse et al., "
    "arXiv 1802.04712), fitted on nodules of training patients",
}


def nodule_logits(
    rule: str,
    table_rows: pd.DataFrame,
    logits: np.ndarray,
    *,
    attended: pd.DataFrame | None = None,
    area: np.ndarray | None = None,
) -> pd.DataFrame:
    """One row per nodule: patient_id, nodule, logit and slices (how many), sorted by patient_id and nodule.

    `table_rows` (N rows) has patient_id and nodule of the slices with `logits` (N,), in any order. The rule
    `largest` takes the area of each slice's mask from `area` (N,) or the column area_px, and the mean over
    slices of the same area. The rule `attention` returns `attended`, what `Attention.logits` gives, and does
    not use `logits`. Raises UserError for an unknown rule, or one that lacks what it needs.
    """
    if rule not in RULES:
        raise UserError(f"There is no nodule rule {rule!r}. Choose one of: {', '.join(RULES)}.")
    if rule == "attention":
        if attended is None:
            raise UserError(
                "The nodule rule attention needs the slices' codes and an attention fitted on training "
                "patients. Fit one, or choose the rule mean or max."
            )
        return attended
    if len(table_rows) != len(logits):
        raise ValueError(f"{len(logits)} logits, but {len(table_rows)} rows of the table")
    slices = table_rows[NODULE].assign(logit=np.asarray(logits, np.float64))
    counts = slices.groupby(NODULE, observed=True).size()
    if rule == "top3":
        slices = slices.sort_values("logit", ascending=False).groupby(NODULE, observed=True).head(3)
    if rule == "largest":
        slices["area"] = _areas(table_rows, area)
        largest = slices.groupby(NODULE, observed=True)["area"].transform("max")
        slices = slices[slices["area"] == largest]
    nodules = slices.groupby(NODULE, as_index=False, observed=True)
    return nodules.agg(logit=("logit", "max" if rule == "max" else "mean")).assign(slices=counts.to_numpy())


def patient_logits(nodules: pd.DataFrame) -> pd.DataFrame:
    """One row per patient, who is as suspicious as their most suspicious nodule and malignant if any is.

    `nodules` has one row per nodule with patient_id, logit and possibly label, fold and calibrating; these
    two are the same for all nodules of a patient.
    """
    how = {"logit": "max", "label": "max", "fold": "first", "calibrating": "first"}
    columns = {name: way for name, way in how.items() if name in nodules}
    return nodules.groupby("patient_id", as_index=False, observed=True).agg(columns)


def _areas(table: pd.DataFrame, area: np.ndarray | None) -> np.ndarray:
    """(N,) area of every slice's mask, in a unit shared by all slices of a nodule."""
    if area is None and "area_px" in table:
        area = numbers(table, "area_px")
    if area is None or np.isnan(area := np.asarray(area, float)).any():
        raise UserError(
            "The nodule rule largest needs the area of every slice's mask (the table's column area_px). Fill "
            "it, or choose the rule mean or max."
        )
    return area


def by_nodule(table: pd.DataFrame, **columns: tuple[np.ndarray, str]) -> pd.DataFrame:
    """One row per nodule with patient_id and nodule; each column is (values (N,), how to aggregate)."""
    frame = table[NODULE].assign(**{name: values for name, (values, _) in columns.items()})
    return frame.groupby(NODULE, as_index=False).agg({name: how for name, (_, how) in columns.items()})
