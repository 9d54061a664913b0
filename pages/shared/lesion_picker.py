"""A lesion of the set picked by patient, nodule and slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from lungvae_core.serving.lesions.lesion import of_patients
from lungvae_core.serving.models.registry import LoadedModel
from pages.shared import selection, url

Option = TypeVar("Option")


def asked_row(model: LoadedModel) -> int | None:
    """The row that the page begins with: the address's ?row, else the one that is selected on the map."""
    row = url.integer("row", 0, len(model.codes) - 1)
    return selection.focus(model) if row is None else row


def pick(
    model: LoadedModel,
    row: int | None,
    *,
    key: str,
    suffix: str = "",
    widths: tuple[int, int, int] = (190, 90, 90),
) -> int:
    """A row of the model's table; the three boxes begin with `row`, else with a usual lesion.

    `suffix` is added to the boxes' labels, since two pickers on a page must not have boxes of one name.
    """
    patients = of_patients(model)
    row = model.usual_row if row is None else row
    at = model.lesion(row)

    def box(
        label: str,
        width: int,
        options: list[Option],
        first: object,
        *of: object,
        words: Callable[[Option], str] = str,
    ) -> Option:
        """Begins with `first` for each `row` and each `of`, on which the options depend."""
        widget = f"{key}-{label}-{model.entry.name}-{of}"
        if st.session_state.get(widget) not in options or st.session_state.get(f"{widget}-row") != row:
            st.session_state[widget] = first if first in options else options[0]
        st.session_state[f"{widget}-row"] = row
        return st.selectbox(f"{label}{suffix}", options, format_func=words, key=widget, width=width)

    patient = box("Patient", widths[0], list(patients), at["patient_id"])
    nodule = box("Nodule", widths[1], list(patients[patient]), at["nodule"], patient)
    of_nodule = patients[patient][nodule]
    first = row if row in of_nodule.rows else of_nodule.largest  # the largest slice shows the most
    return box(
        "Slice",
        widths[2],
        list(of_nodule.rows),
        first,
        patient,
        nodule,
        words=lambda each: str(model.lesion(each)["slice"]),
    )
