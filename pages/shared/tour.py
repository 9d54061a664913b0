"""A guided tour in a few steps: a slim banner above the pages leads from one to the next.

`?tour=3` in the address is the third step; the session remembers it, so that visiting another page does not
end the tour.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.models.answers import kept
from lungvae_core.serving.models.registry import LoadedModel
from pages.shared import url

HOME = "Lung lesion explorer"


@dataclass(frozen=True)
class Step:
    """One stop: its page, whether it uses the example lesion, and what to look at."""

    page: str  # its file
    title: str
    text: str
    lesion: bool = False

    @property
    def path(self) -> str:
        """The page's path in the address."""
        return self.page.rpartition("/")[0]


STEPS = (
    Step(
        "home.py",
        "What this is",
        "A model learned to describe each of thousands of lung lesions by a few dozen numbers and to draw "
        "it from them. This tour follows one lesion through it, in two minutes.",
    ),
    Step(
        "map/latent_map.py",
        "The map",
        "Every point is a lesion; similar ones, for the model, are close together. Point at some to see "
        "their images. Yellow points are lesions that readers found suspicious.",
    ),
    Step(
        "map/latent_map.py",
        "One lesion",
        "This one is among those that readers found suspicious. Its card is beside the map: its slices, "
        "every reader's ratings, the model's score with its interval, and the most similar lesions.",
        lesion=True,
    ),
    Step(
        "traversal/traversal.py",
        "Change it",
        "Drag the first slider. The image changes as you move; blue and orange show where it got darker "
        "and brighter. The images are generated, not scans.",
        lesion=True,
    ),
    Step(
        "predict/predict.py",
        "Judge it",
        "The same lesion, its reconstruction, and its score among those of all others. The interval shows "
        "how much the score depends on the patients in the data.",
        lesion=True,
    ),
    Step(
        "evaluation/evaluation.py",
        "How good is that?",
        "Figures without a leak: every patient is tested by a model that has not seen them, and compared "
        "with size alone. A model that cannot beat a ruler has learned little more than size.",
    ),
    Step(
        "home.py",
        "What it does not mean",
        "Before you go: the list below says what this does not mean. Every page has one.",
    ),
)
_STEP = "tour_step"


def banner(page: str) -> None:
    """Show the tour's banner above `page` (its path in the address) while the tour is on."""
    at = _step()
    if at is None:
        return
    step, last = STEPS[at - 1], len(STEPS)
    here = page == step.path
    with st.container(key="tour", horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
        text = step.text if here else "You left the tour; look around, then go on."
        title = step.title if step.title.endswith("?") else f"{step.title}."
        st.markdown(f"**{at} of {last} · {title}** {text}", width="stretch")
        with st.container(horizontal=True, wrap=False, gap="xsmall", width="content"):
            if not here and st.button("Go on", type="primary", key="tour_on", icon=":material/undo:"):
                go(at)
            if here and st.button("Back", key="tour_back", disabled=at == 1, icon=":material/arrow_back:"):
                go(at - 1)
            if (
                here
                and at < last
                and st.button("Next", type="primary", key="tour_next", icon=":material/arrow_forward:")
            ):
                go(at + 1)
            if st.button("End", key="tour_end", help="End the tour", icon=":material/close:"):
                end()


def go(at: int) -> None:
    """Go to a step, from 1."""
    step = STEPS[at - 1]
    st.session_state[_STEP] = at
    query = {"tour": str(at)}
    name = st.session_state.get("model_name")
    if name:
        query["model"] = name
        row = _example(name) if step.lesion else None
        if row is not None:
            query["row"] = str(row)
    st.switch_page(step.page, query_params=query)


def end() -> None:
    """Leave the tour; the page stays open."""
    st.session_state[_STEP] = None
    url.write("tour", None)
    st.rerun()


def tells_limits(title: str) -> bool:
    """Whether the tour is at its last step, which opens the home page's list of what results do not mean."""
    return title == HOME and st.session_state.get(_STEP) == len(STEPS)


def _step() -> int | None:
    """Return the step named by the address or the session, and write it to the address."""
    number = url.integer("tour", 1, len(STEPS))
    if number is not None:
        st.session_state[_STEP] = number
    at = st.session_state.get(_STEP)
    url.write("tour", None if at is None else str(at))
    return at


def _example(name: str) -> int | None:
    """Return the lesion nearest to the mean of suspected lesions; None if the model does not open."""
    try:
        model = registry().load(name)
    except UserError:
        return None
    return _nearest(model)


@kept
def _nearest(model: LoadedModel) -> int | None:
    rows, _ = model.nearness.neighbours(model.starts.get("malignant", model.starts["prior"]), 1)
    return int(rows[0]) if len(rows) else None
