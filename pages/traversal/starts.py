"""The start or end of a walk: a lesion, a class mean, the prior or an upload; kept in the address.

Each picker has a key, which names its parameters in the address: the first picker of a page has ?start=name
or ?row=number, a picker "b" has ?b=name or ?b_row=number.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from lungvae_core.data.slices import malignancy_meaning, rating_text
from lungvae_core.parameters import integer
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks.live import code_name
from pages.shared import lesion_picker, selection, url

NAMED = {"prior": "Prior", "malignant": "Malignant", "benign": "Benign", "indeterminate": "Indeterminate"}
DRAWN = "Prior draw"
PICKED, LESION, UPLOADED = "Picked on the map", "Lesion", "Your image"
MOST_DRAWS = 10**9
KEY = "start"  # the key of a page's first picker


@dataclass(frozen=True)
class Start:
    """The start of a walk: its name in addresses and in the protocol, and in words."""

    name: str
    label: str
    row: int | None = None
    patient: str | None = None  # of the set; no classifier that saw this patient may score the walk

    @property
    def short(self) -> str:
        """A short form for file names."""
        kind = self.name.partition(":")[0]
        return "upload" if kind == "code" else self.name.replace(":", "-")


def parameters(key: str = KEY) -> tuple[str, str]:
    """Return the address parameters (for the name, for the row)."""
    return (key, "row") if key == KEY else (key, f"{key}_row")


def pick(model: LoadedModel, *, key: str = KEY, label: str = "Start from") -> Start:
    """Draw the picker; the choice is in the address once `remember` has been called with it."""
    picked = selection.rows(model)
    named = {NAMED[name]: name for name in NAMED if name in model.starts}
    upload = uploaded(model)
    kinds = [*([UPLOADED] if upload else []), *([PICKED] if picked else []), LESION, *named, DRAWN]
    by_name, by_row = parameters(key)
    row = url.row(model, by_row)
    widget = f"{key}-{model.entry.name}"
    if st.session_state.get(widget) not in kinds:
        name = url.sent(by_name)
        kind = DRAWN if name.startswith("draw:") else NAMED.get(name)
        if name and kind not in kinds:
            url.choice(by_name, [*named.values(), "draw:N"])  # says that there is no such start
        st.session_state[widget] = kind if kind in kinds else LESION if row is not None else kinds[0]
    with st.container(horizontal=True):
        st.segmented_control(
            label,
            kinds,
            key=widget,
            required=True,
            help="A lesion's code, the prior's mean, the mean code of the slices that readers rated "
            "malignant (above 3), benign (below 3) or indeterminate (3), or a code drawn from the prior.",
        )
        kind = st.session_state[widget]
        if kind == UPLOADED and upload is not None:
            return upload
        if kind == PICKED:
            row = st.selectbox(
                f"Lesion ({len(picked)} picked)",
                picked,
                format_func=lambda at: lesion_words(model, at),
                width=340,
                key=f"{widget}-picked",
            )
            return lesion(model, row)
        if kind == LESION:
            last = f"{key}-row-{model.entry.name}"
            row = st.session_state.get(last) if row is None else row
            suffix = "" if key == KEY else f" {key.upper()}"
            row = lesion_picker.pick(model, row, key=key, suffix=suffix, widths=(165, 75, 75))
            st.session_state[last] = row
            return lesion(model, row)
        if kind == DRAWN:
            return draw(key)
        return Start(named[kind], f"the {kind.lower()} mean")


def remembered(start: Start, key: str = KEY) -> dict[str, str]:
    """Return the address parameters of a start; none for an upload, since addresses are shared and kept."""
    by_name, by_row = parameters(key)
    if start.row is not None:
        return {by_row: str(start.row)}
    return {} if start.name.startswith("code:") else {by_name: start.name}


def draw(key: str) -> Start:
    """Draw a code from the prior, with a button for another; the number of the draw is in the address."""
    number = st.session_state.get(f"{key}-draw")
    if number is None:
        number = st.session_state[f"{key}-draw"] = url.read(parameters(key)[0], _draw) or 0
    if st.button("Draw another", icon=":material/casino:", key=f"{key}-draw-another"):
        number = st.session_state[f"{key}-draw"] = (number + 1) % MOST_DRAWS
    return Start(f"draw:{number}", f"draw {number} from the prior, which is not a patient's lesion")


def _draw(name: str, value: str) -> int:
    """Parse the number of "draw:7"; 0 for other starts."""
    kind, _, number = value.partition(":")
    return integer(name, number, 0, MOST_DRAWS - 1) if kind == "draw" else 0


def uploaded(model: LoadedModel) -> Start | None:
    """Return the image sent here from the Predict page, if this model encoded it."""
    code = st.session_state.get("start_code")
    if code is None or st.session_state.get("start_code_model") != model.entry.name:
        return None
    patient = st.session_state.get("start_code_patient")
    label = st.session_state.get("start_code_name", "your image")
    return Start(code_name(code, patient), label, patient=patient)


def lesion_words(model: LoadedModel, row: int) -> str:
    """Describe a slice by its key and, if there is one, the readers' rating."""
    entry = model.lesion(row)
    text = f"{entry['patient_id']}, nodule {entry['nodule']}, slice {entry['slice']}"
    rating = entry.get("malignancy")
    if rating is not None and not pd.isna(rating):
        text += f" (readers: malignancy {rating_text(rating)}, {malignancy_meaning(rating)})"
    return text


def lesion(model: LoadedModel, row: int) -> Start:
    """Return a lesion of the set as a start."""
    return Start(f"row:{row}", lesion_words(model, row), row, str(model.lesion(row)["patient_id"]))
