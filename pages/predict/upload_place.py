"""Where the lesion is in an upload: the slice viewer, the box, an outline, several slices of one nodule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from lungvae_core.data.masks import centres, lesion_of, read_mask
from lungvae_core.data.slices import SIZE
from lungvae_core.data.volumes.formats import MASKS
from lungvae_core.errors import UserError
from lungvae_core.explore.lesion_outline import outline_nodule
from lungvae_core.serving.lesions.uploads import Upload, source
from pages.components.slice_viewer import slice_viewer

VIEWER = "upload_viewer"
STATE = "upload_place"
VIEW_SIZE = 400  # CSS pixels, so that a laptop's screen shows the image and its controls whole
Box = tuple[float, float]


@dataclass(frozen=True)
class Placed:
    """The slice to score, and the box centres of all slices of its nodule."""

    at: int
    boxes: dict[int, Box]  # at among them
    elsewhere: bool  # the slice in view has no box, and `at` is the nearest that has one
    go: Callable[[int], None]  # makes the viewer show a slice


@dataclass
class State:
    """What the user has chosen in one upload; kept in the session."""

    token: str
    at: int  # the slice in view
    position: Box | None = None  # the box's centre if no outline gives it
    slices: tuple[int, int] | None = None  # the nodule's first and last, all with the box at `position`
    boxes: dict[int, Box] = field(default_factory=dict)  # from an outline
    drawn: str = ""  # "mask": outlined in a file; "found": outlined by the app
    caption: str = ""  # about the outline
    trouble: str = ""
    turn: int = 0  # grows when the viewer must adopt this state

    def all_boxes(self) -> dict[int, Box]:
        """Return the boxes of all slices of the nodule."""
        if self.boxes:
            return self.boxes
        if self.position is None:
            return {}
        first, last = self.slices or (self.at, self.at)
        return dict.fromkeys(range(first, last + 1), self.position)


def place(
    token: str, upload: Upload, *, window: tuple[float, float], spacing_mm: float | None
) -> Placed | None:
    """Show the viewer and its tools; return None until the user has marked the lesion."""
    state = current(token, upload)
    count, rows, columns = upload.series.hu.shape
    whole = (rows, columns) == (SIZE, SIZE)
    slice_viewer(
        source(token),
        key=VIEWER,
        count=count,
        shape=(rows, columns),
        at=state.at,
        turn=state.turn,
        spacing_mm=spacing_mm,
        window="Lung",
        model_window=window,
        outlines=str(upload.version) if upload.mask is not None else False,
        place=not whole,
        position=None if whole or state.boxes else state.position,
        positions=None if whole else state.boxes,
        size=VIEW_SIZE,
        label=f"{upload.series.name}, your upload",
        on_change=lambda: moved(state, upload),
    )
    tools(state, upload)
    boxes = state.all_boxes()
    if not boxes:
        return None
    at = min(boxes, key=lambda number: abs(number - state.at))
    return Placed(at, boxes, at != state.at, lambda number: show_slice(state, number))


def current(token: str, upload: Upload) -> State:
    """Return this upload's state; a new one takes its masks, and a 64x64 image gets its box."""
    state = st.session_state.get(STATE)
    if state is not None and state.token == token:
        return state
    _, rows, columns = upload.series.hu.shape
    st.session_state[STATE] = state = State(token, at=len(upload.series.hu) // 2)
    if (rows, columns) == (SIZE, SIZE):
        state.position = ((SIZE - 1) / 2, (SIZE - 1) / 2)
    for name, content in upload.series.masks:
        bring(state, upload, name, content)
    return state


def moved(state: State, upload: Upload) -> None:
    """Apply what the viewer reports: a new slice or a new position of the box."""
    view = st.session_state[VIEWER].get("view")
    if not view:
        return
    state.at, state.trouble = int(view["slice"]), ""
    if view["row"] is None:
        return
    position = (float(view["row"]), float(view["column"]))
    if position == (state.boxes.get(state.at) if state.boxes else state.position):
        return
    put(state, upload, position)


def put(state: State, upload: Upload, position: Box) -> None:
    """Put the box on the lesion of a mask file nearest to a position, or at the position itself."""
    if state.drawn == "mask" and upload.marked is not None:
        row, column = (round(value) for value in position)
        follow(state, upload, lesion_of(upload.marked, (state.at, row, column)))
        return
    if state.drawn:
        clear(state, upload)
    state.position = position


def show_slice(state: State, number: int) -> None:
    """Make the viewer show a slice."""
    state.at, state.turn = number, state.turn + 1


def tools(state: State, upload: Upload) -> None:
    """Show the tools: outline the lesion, take several slices, load a mask, start again."""
    ready = state.position is not None or bool(state.boxes)
    with st.container(horizontal=True, gap="xsmall"):
        st.button(
            "Outline it",
            icon=":material/draw:",
            help="Find the lesion's edge around the box's middle, and follow it through the slices. The "
            "box then moves to the outline's middle in each slice. Check the result: on LIDC's lesions its "
            "Dice with the readers' outlines is 0.79 on average (1 is perfect) after a click in the "
            "middle, and 0.76 after one 3 pixels off.",
            disabled=not ready,
            on_click=find,
            args=(state, upload),
        )
        with st.popover("Slices and mask", icon=":material/layers:"):
            several(state, upload)
        if state.drawn or state.slices:
            st.button("Clear", icon=":material/close:", on_click=clear, args=(state, upload))
    if state.trouble:
        st.error(state.trouble)
    if state.caption:
        st.caption(state.caption)


def several(state: State, upload: Upload) -> None:
    """Let the user choose the nodule's slices or load a mask."""
    count = len(upload.series.hu)
    if count > 1 and not state.boxes:
        key = f"upload_slices_{state.token}_{state.turn}"
        first, last = state.slices or (state.at, state.at)
        if key not in st.session_state or state.slices is None:
            st.session_state[key] = (first + 1, last + 1)
        st.slider(
            "The nodule's slices",
            1,
            count,
            key=key,
            help="All of them get the box at the same position.",
            disabled=state.position is None,
            on_change=take_slices,
            args=(state, key),
        )
    key = f"upload_mask_{state.token}_{state.turn}"
    st.file_uploader(
        f"A mask of the lesion: {MASKS}",
        key=key,
        help="Every value except 0 is lesion. A mask with a position is placed on the image by it; npy and "
        "png must have the image's own slices, rows and columns.",
        on_change=take_mask,
        args=(state, upload, key),
    )


def take_slices(state: State, key: str) -> None:
    """Apply the chosen slices of the nodule."""
    first, last = st.session_state[key]
    state.slices = (first - 1, last - 1)


def take_mask(state: State, upload: Upload, key: str) -> None:
    """Apply a mask file from the uploader."""
    mask = st.session_state[key]
    if mask is not None:
        bring(state, upload, mask.name, mask.getvalue())


def bring(state: State, upload: Upload, name: str, content: bytes) -> None:
    """Apply the largest lesion of a mask file."""
    try:
        upload.marked = read_mask(content, name, upload.series)
    except UserError as error:
        state.trouble, state.turn = str(error), state.turn + 1
        return
    state.drawn, state.trouble = "mask", ""
    lesion = lesion_of(upload.marked)
    follow(state, upload, lesion)
    show_slice(state, max(state.boxes, key=lambda number: int(lesion[number].sum())))
    state.caption = (
        "Outlined by the mask; the box is in the middle of its bounding box in each slice, as in the "
        "model's own data. Click another lesion of the mask to choose it."
    )


def find(state: State, upload: Upload) -> None:
    """Outline the lesion around the box's centre."""
    at = min(state.all_boxes(), key=lambda number: abs(number - state.at))
    row, column = state.all_boxes()[at]
    try:
        outline = outline_nodule(upload.series.hu, at, row, column, upload.series.places_mm)
    except UserError as error:
        state.trouble = str(error)
        return
    upload.marked, state.drawn, state.trouble, state.slices = None, "found", "", None
    state.caption = f"{outline.caption} It was found automatically: check it. Clear it if it is wrong."
    state.at = at
    follow(state, upload, outline.mask)


def follow(state: State, upload: Upload, mask: np.ndarray) -> None:
    """Outline this lesion, and centre the box on it in each slice."""
    upload.outline(mask)
    state.boxes = centres(mask)
    state.turn += 1


def clear(state: State, upload: Upload) -> None:
    """Remove the outline or the choice of slices; the box stays in place on the slice in view."""
    position = state.all_boxes().get(state.at, state.position)
    upload.outline(None)
    upload.marked = None
    state.position, state.boxes, state.slices = position, {}, None
    state.drawn = state.caption = state.trouble = ""
    state.turn += 1
