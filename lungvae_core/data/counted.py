"""How many rows a figure uses, how many were left out, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lungvae_core.data.columns import NODULE, numbers
from lungvae_core.data.labels import labels, reader_count
from lungvae_core.number_text import plural

MISSING = "missing or damaged in the folder of DICOM"


class Counted(BaseModel):
    """Rows that a figure uses, and rows left out, by reason."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    used: int = Field(ge=0)
    left_out: dict[str, int] = {}  # reason, in words -> rows
    unit: str = "slices"

    @property
    def total(self) -> int:
        return self.used + sum(self.left_out.values())

    def without(self, rows: int, why_not: str) -> Counted:
        """The same with some of the used rows left out for another reason."""
        more = {why_not: rows} if rows else {}
        return self.model_copy(update={"used": self.used - rows, "left_out": {**self.left_out, **more}})

    def in_words(self) -> str:
        """One sentence: how many rows of how many, and why not the others."""
        if not self.left_out:
            return f"All {self.used:,} {self.unit} were used."
        why = "; ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return f"{self.used:,} of {self.total:,} {self.unit} were used. Left out: {why}."


def counts_in_words(table: pd.DataFrame) -> str:
    """As "6 slices of 4 nodules and 1 patient", of a data set's table."""
    nodules = len(table[NODULE].drop_duplicates())
    patients = plural(table["patient_id"].nunique(), "patient")
    return f"{plural(len(table), 'slice')} of {plural(nodules, 'nodule')} and {patients}"


def labelled_rows(
    table: pd.DataFrame, truth: np.ndarray, task: str, rule: str, *, before: dict[str, Any] | None = None
) -> Counted:
    """The slices that figures under a task and label rule use, and why not the others.

    `table` has N rows; `truth` (N,) is NaN where a row is left out, which may be for more than its label.
    `before` has the rows that were left out before `table` was made, by reason. Raises what `labels` raises.
    """
    label = labels(table, task, rule)
    unlabelled = np.isnan(label)
    rated = ~np.isnan(numbers(table, "malignancy"))
    few = reader_count(table) < 3 if rule == "three_readers" else np.zeros(len(table), bool)
    reasons = {
        "without a malignancy rating": unlabelled & ~rated,
        "rated by fewer than three readers": unlabelled & rated & few,
        "neither malignant nor benign under the label rule": unlabelled & rated & ~few,
        "of the same picture as another patient's": np.isnan(truth) & ~unlabelled,
    }
    counts = {reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()}
    return Counted(used=int((~np.isnan(truth)).sum()), left_out={**(before or {}), **counts})


def chosen_rows(kept: np.ndarray, why_not: str, *, before: dict[str, int] | None = None) -> Counted:
    """The slices that are `kept` (N,) bool; the others are left out for `why_not`, as "of other patients"."""
    return Counted(used=len(kept), left_out=before or {}).without(int((~kept).sum()), why_not)


def of_groups(table: pd.DataFrame, keys: list[str], kept: pd.DataFrame) -> np.ndarray:
    """(N,) bool: the rows of the table whose `keys` (patient_id, or with the nodule) are a row of `kept`."""
    return pd.MultiIndex.from_frame(table[keys]).isin(pd.MultiIndex.from_frame(kept[keys]))


def counted_in_words(report: Any) -> str:
    """The sentence of a report's `counted`; "" for older reports without it."""
    try:
        return Counted.model_validate(report["counted"]).in_words()
    except (KeyError, TypeError, ValidationError):
        return ""


def left_out_before(details: dict[str, Any]) -> dict[str, int]:
    """Rows left out at import or when a part of a data set was taken, by reason, from its `details`."""
    read = details.get("import")
    imported = read.get("left_out") if isinstance(read, dict) else None
    prepared = {MISSING: details.get("slices_missing_or_damaged")}
    return {
        f"{where}{reason}": count
        for rows, where in ((imported, "at import: "), (prepared, ""), (details.get("part"), ""))
        if isinstance(rows, dict)
        for reason, count in rows.items()
        if isinstance(count, int) and count > 0
    }
