"""A picker for a lesion of the set, by patient, nodule and slice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from lungvae_core.serving.lesions.lesion import of_patients
from lungvae_core.serving.models.registry import LoadedModel
from pages.shared import selection, url

Option = TypeVar("Option")


def pick_in_address(model: LoadedModel, *, key: str, widths: tuple[int, int, int] = (190, 90, 90)) -> int:
    """Pick a row that the address keeps as ?row; at first the one selected on the map, if there is one."""
    row = url.row(model)
    row = pick(model, selection.focus(model) if row is None else row, key=key, widths=widths)
    url.write("row", str(row))
    return row


def pick(
    model: LoadedModel, row: int | None, *, key: str, suffix: str = "", widths: tuple[int, int, int]
) -> int:
    """Pick a row of the model's table; the three boxes start with `row`, by default a usual lesion.

    `suffix` is added to the labels, since the boxes of two pickers on one page need different names.
    """
    patients = of_patients(model)
    row = model.usual_row if row is None else row
    at = model.lesion(row)

    def box(
        label: str,
        width: int,
        options: list[Option],
        first: Option,
        *of: object,
        as_text: Callable[[Option], str] = str,
    ) -> Option:
        """Draw a box that starts with `first` for each new `row` and `of`, on which the options depend."""
        widget = f"{key}-{label}-{model.entry.name}-{of}"
        if st.session_state.get(widget) not in options or st.session_state.get(f"{widget}-row") != row:
            # The option itself, not its equal of another type: what the box gives names the boxes below.
            st.session_state[widget] = options[options.index(first)] if first in options else options[0]
        st.session_state[f"{widget}-row"] = row
        return st.selectbox(f"{label}{suffix}", options, format_func=as_text, key=widget, width=width)

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
        as_text=lambda each: str(model.lesion(each)["slice"]),
    )
