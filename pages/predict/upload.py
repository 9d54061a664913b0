"""The Predict page's uploads: from files to a stack of slices in memory, and the results for its lesion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import streamlit as st

from lungvae_core.data.crops import stated_range
from lungvae_core.data.series import KINDS, Series, read_series
from lungvae_core.data.slices import SIZE
from lungvae_core.data.volumes.formats import SUFFIXES, is_mask_name
from lungvae_core.data.volumes.grid import LEAST_MM, MOST_MM
from lungvae_core.data.volumes.pictures import SUFFIXES as PICTURES
from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import cases
from lungvae_core.serving.lesions.cases import Case, NoduleCase
from lungvae_core.serving.lesions.uploads import KEPT, MOST_UPLOAD_MB, Upload
from lungvae_core.serving.models.registry import LoadedModel
from pages.predict import parts
from pages.predict.upload_place import Placed, place
from pages.shared import common

_FILES = "upload_files"
_KEPT = "upload_kept"  # (what was read, token)
_CASES = "upload_cases"  # the last request to the model


@st.fragment
def show(model: LoadedModel) -> None:
    """Show everything from files to neighbours; a fragment, so a new slice does not redraw the frame."""
    left, right = st.columns([1, 1.3], gap="medium")
    viewer = left.container()  # above the files, so that a laptop's screen shows it whole
    with left:
        kept = files()
    if kept is None:
        return
    token, upload = kept
    with viewer:
        spacing = ask_spacing(model, upload.series, token)
        placed = place(token, upload, window=model.window, spacing_mm=spacing)
        if upload.series.naming:
            st.warning(
                f"These files seem to hold {', '.join(upload.series.naming)}. It is neither shown nor "
                "stored here, but remove it before files leave your hospital.",
                icon=":material/person_alert:",
            )
        if upload.series.notes:
            st.caption(" ".join(upload.series.notes))
    with right:
        if placed is None:
            st.info(
                "Click the middle of the lesion; the box marks the 64x64 pixels that the model sees.",
                icon=":material/ads_click:",
            )
            return
        try:
            case, nodule = predictions(model, token, upload, placed, spacing)
        except UserError as error:
            st.error(str(error))
            return
        results(model, case, nodule, placed)
    parts.neighbourhood(model, case)


def files() -> tuple[str, Upload] | None:
    """Return (token, upload), read once and kept in memory; None if nothing was uploaded."""
    kept = kept_upload()
    title = "Your image" if kept is None else f"{kept[1].series.name}: change"
    with st.expander(title, expanded=kept is None, icon=":material/upload_file:"):
        given = st.file_uploader(
            KINDS,
            accept_multiple_files=True,
            key=_FILES,
            on_change=forget,
            max_upload_size=MOST_UPLOAD_MB,
            help=f"An image of {SIZE}x{SIZE} pixels is used as it is; on a larger one you mark the lesion. "
            "You can add a mask: DICOM-SEG, RTSTRUCT, or a file with mask or seg in its name. Files stay "
            "in this computer's memory until the server stops or needs the space.",
        )
        stated = ask_range([file.name for file in given])
        st.caption(
            "Uploads stay in memory and are never saved. Remove names from DICOM files before you show "
            "them to others."
        )
        if not given:
            return kept
        key = (tuple(file.file_id for file in given), stated)
        if kept is not None and st.session_state[_KEPT][0] == key:
            return kept
        try:
            with st.spinner("Reading…"):
                series = read([(file.name, file) for file in given], stated)
        except UserError as error:
            st.error(str(error))
            return None
    drop()
    st.session_state[_KEPT] = (key, KEPT.put(series))
    # Rerun with the files collapsed and their name on the expander.
    st.rerun()
    return None


def read(
    files: Sequence[tuple[str, bytes | BinaryIO]], stated: tuple[float | None, float | None] | None
) -> Series:
    """Read the files as a stack; `stated` is the HU of black and white, if a range is needed.

    Raises UserError for unreadable files, a range with a missing end, and slices that are too small.
    """
    series = read_series(files, hu_range=None if stated is None else stated_range(*stated))
    _, rows, columns = series.hu.shape
    if min(rows, columns) < SIZE:
        raise UserError(
            f"The image has {rows}x{columns} pixels; at least {SIZE}x{SIZE} are needed. Export it in its "
            "original size, or add a margin around the lesion."
        )
    return series


def kept_upload() -> tuple[str, Upload] | None:
    """Return this session's upload, if it is still in memory."""
    _, token = st.session_state.get(_KEPT, (None, ""))
    upload = KEPT.get(token)
    return None if upload is None else (token, upload)


def forget() -> None:
    """Drop the upload when its files are removed."""
    if not st.session_state[_FILES]:
        drop()


def drop() -> None:
    """Remove this session's upload from memory."""
    KEPT.drop(st.session_state.pop(_KEPT, (None, ""))[1])
    st.session_state.pop(_CASES, None)


def ask_range(names: list[str]) -> tuple[float | None, float | None] | None:
    """Ask for the HU of a grey image's black and white, each None if empty; None if no range is needed."""
    images = [name.lower() for name in names if not is_mask_name(name)]
    grey = any(name.endswith(PICTURES) for name in images)
    if not grey and any(name.endswith(SUFFIXES) for name in images):
        grey = st.checkbox("The numbers are grey levels, not HU", key="upload_is_grey")
    if not grey:
        return None
    low_column, high_column = st.columns(2)
    help_text = "An image file does not say which HU its grey levels are. Use the window it was saved with."
    low = low_column.number_input("HU of black", value=None, step=50, placeholder="-1000", help=help_text)
    high = high_column.number_input("HU of white", value=None, step=50, placeholder="400", help=help_text)
    return low, high


def ask_spacing(model: LoadedModel, series: Series, token: str) -> float | None:
    """Return the pixel spacing in mm from the file; if the model needs it and the file lacks it, ask."""
    usable = series.spacing_mm is not None and LEAST_MM <= series.spacing_mm <= MOST_MM
    if usable or not model.spacing_mm:
        return series.spacing_mm
    return st.number_input(
        "Pixel spacing in mm",
        LEAST_MM,
        MOST_MM,
        value=None,
        step=0.01,
        format="%.3f",
        placeholder="0.700",
        help=f"The distance between pixels. This model sees every lesion at {model.spacing_mm:g} mm a "
        "pixel, and this file does not state its own. On chest CT it is mostly between 0.5 and 1.",
        key=f"upload_spacing_{token}",  # for this upload only: the next one may differ
    )


def predictions(
    model: LoadedModel, token: str, upload: Upload, placed: Placed, spacing_mm: float | None
) -> tuple[Case, NoduleCase | None]:
    """Return the model's output for the slice and the nodule, computed once until something changes."""
    kept = st.session_state.setdefault(_CASES, {})
    series, at = upload.series, placed.at
    whole = (id(model), token, spacing_mm)

    def slice_case() -> Case:
        return cases.case_of_upload(
            model,
            cases.crop(series.hu[at], *placed.boxes[at]),
            title=series.name if len(series.hu) == 1 else f"{at + 1} of {len(series.hu)}",
            spacing_mm=spacing_mm,
            patient_id=series.patient_id,
            count=parts.NEIGHBOURS,
        )

    def nodule_case() -> NoduleCase:
        with st.spinner(f"Judging {len(placed.boxes)} slices…"):
            return cases.nodule_of_upload(
                model, series.hu, placed.boxes, spacing_mm=spacing_mm, patient_id=series.patient_id
            )

    def once(kind: str, request: tuple, make: Callable[[], Any]) -> Any:
        if kept.get(kind, (None,))[0] != request:
            kept[kind] = (request, make())
        return kept[kind][1]

    case = once("slice", (*whole, at, placed.boxes[at]), slice_case)
    if len(placed.boxes) < 2:
        return case, None
    return case, once("nodule", (*whole, tuple(sorted(placed.boxes.items()))), nodule_case)


def results(model: LoadedModel, case: Case, nodule: NoduleCase | None, placed: Placed) -> None:
    """Show the images, the scores and how usual they are."""
    if placed.elsewhere:
        st.caption(
            f"The slice in view has no box: this is slice {placed.at + 1}, the nearest one that has it."
        )
    parts.pictures(model, case)
    if nodule is not None:
        parts.nodule(nodule, placed.at, go=placed.go)
    parts.score(model, case, of="" if nodule is None else "of this slice")
    parts.usual(case)
    if st.button("Walk from this lesion", icon=":material/tune:"):
        st.session_state["start_code"] = case.code
        st.session_state["start_code_patient"] = case.patient
        st.session_state["start_code_name"] = f"your image, {case.title}"
        st.session_state["start_code_model"] = model.entry.name
        st.session_state[f"start-{model.entry.name}"] = "Your image"
        common.walk(model)
    if case.score is not None:
        with st.expander("How well do such scores rank lesions?", icon=":material/fact_check:"):
            parts.sorting_table(model)
