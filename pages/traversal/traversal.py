"""Traversal: move along the latent dimensions and watch what the decoder makes of it."""

from __future__ import annotations

from html import escape

import numpy as np
import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore.traversal import strip
from lungvae_core.palette import ORANGE, SKY
from lungvae_core.parameters import choice, integer, number
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import paths
from lungvae_core.serving.walks.live import DIFFERENCE_FULL, FARTHEST, moved_along, start_code
from lungvae_core.serving.walks.render import Walk, gif, mp4, strip_png
from lungvae_core.serving.walks.strips import Strip, offer
from pages.components.traversal import Released, Slider, Way, traversal_view
from pages.shared import charts, common, layout, url
from pages.traversal import starts, ways

STRIP_STEPS, GIF_STEPS = 11, 25
DIRECTIONS = {"malignancy": "More malignant", "diameter": "Larger"}


def main() -> None:
    """Draw the page from top to bottom."""
    layout.compact()
    common.introduce(
        "Traversal",
        shows="Drag a slider, and the decoder draws the changed code as you move. Images labelled "
        "*generated* are not scans.",
        does_not_mean=(
            "- **Not the course of a disease.** A traversal shows generated images along one direction of "
            "what the decoder learned. No lesion was followed over time, and none turns from benign to "
            "malignant here.\n"
            "- **Not a clinical factor.** A dimension is a number that the training found useful. It may "
            "mix size, density, texture and surroundings, and another training would find others. Where it "
            "has a name, such as *grows*, that was measured on decoded lesions (page Measured traversals) "
            "and says what changes most when its value rises, on average; single lesions may differ.\n"
            "- **Not a probability of cancer.** The model score is the output of a classifier on codes, "
            "uncalibrated. A walk from a lesion is scored by the classifier that scores this lesion on "
            "every page; the text beside the start says what it and the encoder have seen of the patient. "
            "Its change along a walk describes the classifier, not biology; the walk may leave the region "
            "of the training lesions.\n"
            "- **Not sharp.** Every image here lacks fine detail, which the decoder cannot draw."
        ),
    )
    model = common.current_model()
    start = starts.pick(model)
    walk(model.entry.name, start)
    st.divider()
    ways.show(model, start)


@st.fragment
def walk(name: str, start: starts.Start) -> None:
    """Show the live view and below it one dimension's whole range; reruns when a slider is released."""
    model = common.current_model(again=True)
    if model.entry.name != name:  # the model was changed outside this fragment
        st.rerun()
    released = live(model, start)
    dimension = pick_dimension(model, released)
    _remember(start, dimension, released)
    moved = moved_along(model, start_code(model, start.name), list(released.along.items()))
    code = model.latent.edited(moved, released.edits)
    span = paths.span(model, dimension, code).tolist()
    shown = _strip(model, start, code, dimension, span, STRIP_STEPS)
    alt = f"Generated images: the whole range of dimension {dimension}, all else as set above"
    address = offer(model, shown, difference_full=DIFFERENCE_FULL)
    st.html(f'<img src="{escape(address)}" alt="{alt}" loading="lazy" style="width: 100%">')
    scores = model.score(shown.codes, patient=shown.patient)
    if scores is not None:
        charts.show(
            score_chart(shown.values, scores, float(code[dimension])),
            alt=f"The model's score over the whole range of dimension {dimension}",
        )
    smooth = _strip(model, start, code, dimension, span, GIF_STEPS)
    downloads(model, f"{model.entry.name}_{start.short}_z{dimension}", shown, smooth)


def live(model: LoadedModel, start: starts.Start) -> Released:
    """Show the component with the sliders."""
    code = start_code(model, start.name)
    here = _is_here(model, start)
    edits = _edits_asked(model) if here else {}
    along = _along_asked(model) if here else {}
    scores = model.score(code[None], patient=start.patient)
    real, spacing, words = None, None, f"From {start.label}."
    if start.row is not None:
        image, is_real = model.image(start.row)
        if is_real:
            real = image
            spacing = model.shown_spacing(start.row)
            if model.spacing_words:
                words += f" Its slice is {model.spacing_words}."
        else:
            words += " The slice itself is not on this machine; its reconstruction is shown instead."
    words = f"{words} {scoring.of_walk(model, start.patient)}".strip()
    where = model.latent.edited(moved_along(model, code, list(along.items())), edits)
    used, unused, ordered_by = paths.carried(model)
    sliders = []
    for dimension in used + unused:
        low, high = paths.span(model, dimension, where).tolist()
        low, high = min(low, float(code[dimension])), max(high, float(code[dimension]))
        sliders.append(Slider(dimension, low, high, float(code[dimension])))
    low, high = model.window
    return traversal_view(
        key="traversal",
        model=model.entry.name,
        start=start.name,
        start_label=words,
        start_image=model.decode(code[None])[0],
        real_image=real,
        spacing_mm=spacing,
        start_score=None if scores is None else float(scores[0]),
        sliders=sliders,
        names={at: (label.name, label.sentence) for at, label in paths.names(model).items()},
        used=len(used),
        ordered_by=ordered_by,
        ways=directions(model, code),
        has_map=has_map(model),
        edits=edits,
        along=along,
        dimension=_dimension_asked(model),
        window=model.window,
        difference_hu=DIFFERENCE_FULL * (high - low),
    )


def directions(model: LoadedModel, code: np.ndarray) -> list[Way]:
    """List the directions with a slider, and each slider's range from the start in standard deviations."""
    known = paths.directions(model)
    if known is None:
        return []
    point = known.space.to(code[None])
    found = []
    for name, title in DIRECTIONS.items():
        if name in known.directions:
            direction = known.directions[name]
            at = float(direction.score(point)[0])
            low, high = direction.span
            told = (
                f"Moves the whole code the way in which {direction.label} rises among the lesions, by "
                "standard deviations from the start. For its accuracy see the page Directions."
            )
            found.append(Way(name, title, min(low - at, 0.0), max(high - at, 0.0), told))
    return found


def has_map(model: LoadedModel) -> bool:
    """Whether the model has the map that shows the walk."""
    try:
        return len(model.map("slice", "umap")) > 0
    except UserError:
        return False


def pick_dimension(model: LoadedModel, released: Released) -> int:
    """Pick the dimension for the strip: the one moved last, or another picked here."""
    key = f"dimension-{model.entry.name}"
    if released.dimension is not None and released.turn > st.session_state.get("traversal-turn", 0):
        st.session_state["traversal-turn"] = released.turn
        st.session_state[key] = released.dimension
    used, unused, _ = paths.carried(model)
    order = used + unused
    if st.session_state.get(key) not in order:
        asked = _dimension_asked(model)
        st.session_state[key] = order[0] if asked is None else asked
    named = {at: label.name for at, label in paths.names(model).items() if label.name}
    left, right = st.columns([1, 2] if named else [1, 3], vertical_alignment="bottom")
    dimension = left.selectbox(
        "Whole range of one dimension",
        order,
        format_func=lambda at: f"z {at} · {named[at]}" if at in named else f"z {at}",
        key=key,
    )
    right.caption(
        "From left to right this dimension runs through its whole range over the lesions, with everything "
        "else as set above. It follows the slider that you moved last."
    )
    return int(dimension)


def score_chart(along: np.ndarray, scores: np.ndarray, value: float) -> charts.Chart:
    """Draw the classifier's score along the strip, its columns aligned with the strip's."""
    values = along.tolist()
    margin = (values[1] - values[0]) / 2
    line = {
        "type": "scatter",
        "x": values,
        "y": scores.tolist(),
        "mode": "lines+markers",
        "line": {"color": SKY, "width": 2},
        "hovertemplate": "value %{x:.3f}<br>model score %{y:.2f}<extra></extra>",
    }
    now = {"x0": value, "x1": value, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
    here = {"x": value, "y": 0, "xref": "x", "yref": "y domain", "xanchor": "left", "yanchor": "bottom"}
    tick = {"xref": "paper", "x": 0, "xanchor": "left", "yanchor": "bottom", "showarrow": False}
    return charts.Chart(
        [line],
        {
            "height": 190,
            "margin": {"l": 0, "r": 0, "t": 26, "b": 0},
            "showlegend": False,
            "title": {
                "text": "Model score along the strip (0 benign … 1 malignant)",
                "font": {"size": 14},
                "x": 0,
            },
            "xaxis": {
                "range": [values[0] - margin, values[-1] + margin],
                "showgrid": False,
                "zeroline": False,
            },
            "yaxis": {"range": [-0.05, 1.15], "showticklabels": False, "tickvals": [0, 0.5, 1]},
            "shapes": [{"type": "line", "line": {"color": ORANGE, "dash": "dot"}, **now}],
            "annotations": [
                {"text": "now", "showarrow": False, **here},
                # Inside the plot, which is as wide as the strip.
                *({"text": f"{at:g}", "y": at, **tick} for at in (0, 0.5, 1)),
            ],
        },
    )


def downloads(model: LoadedModel, name: str, shown: Strip, smooth: Strip) -> None:
    """Offer PNG, GIF and MP4, made on request."""

    def walk(strip: Strip) -> Walk:
        return strip.walk(model, difference_full=DIFFERENCE_FULL)

    left, right, third, rest = st.columns([1, 1, 1, 2], vertical_alignment="center")
    left.download_button(
        "Strip as PNG",
        lambda: strip_png(walk(shown)),
        f"{name}.png",
        "image/png",
        on_click="ignore",
        icon=":material/image:",
        width="stretch",
    )
    right.download_button(
        "Walk as GIF",
        lambda: gif(walk(smooth)),
        f"{name}.gif",
        "image/gif",
        on_click="ignore",
        icon=":material/animation:",
        width="stretch",
    )
    third.download_button(
        "Walk as MP4",
        lambda: mp4(walk(smooth)),
        f"{name}.mp4",
        "video/mp4",
        on_click="ignore",
        icon=":material/movie:",
        width="stretch",
    )
    rest.caption("All carry the notice. The address of this page restores this model, start and dimension.")


def _strip(
    model: LoadedModel,
    start: starts.Start,
    code: np.ndarray,
    dimension: int,
    span: list[float],
    steps: int,
) -> Strip:
    values, codes = strip(model.latent, code, dimension, np.array(span), steps)
    return Strip(start.label, dimension, values, codes, start_code(model, start.name), start.patient)


MOST_PAIRS, LONGEST_PAIRS = 4_096, 200_000  # edits: one per dimension, for the most that a model can have
# The address holds what a link shares: ?model, ?start or ?row, ?dimension, and ?edits=12:0.3,5:-1.2.
_OURS = ("start", "row", "edits", "along-by", "dimension")


def _remember(start: starts.Start, dimension: int, released: Released) -> None:
    address = {"dimension": str(dimension), **starts.remembered(start)}
    # Nine digits represent a float32 exactly, so the link shows exactly the same picture.
    if released.edits:
        address["edits"] = ",".join(f"{at}:{value:.9g}" for at, value in released.edits.items())
    if released.along:
        address["along-by"] = ",".join(f"{name}:{value:.9g}" for name, value in released.along.items())
    url.replace(_OURS, address)


def _dimension_asked(model: LoadedModel) -> int | None:
    return url.integer("dimension", 0, model.entry.dimensions - 1)


def _is_here(model: LoadedModel, start: starts.Start) -> bool:
    """Whether the edits in the address belong to this start and model, not to earlier ones."""
    here = (model.entry.name, start.name)
    if st.session_state.setdefault("traversal-of", here) != here:
        st.session_state["traversal-of"] = here
        return False
    return True


def _edits_asked(model: LoadedModel) -> dict[int, float]:

    def edit(at: str, value: str) -> tuple[int, float]:
        dimension = integer("edits", at, 0, model.entry.dimensions - 1)
        return dimension, number("edits", value, *model.latent.bounds)

    return url.pairs("edits", MOST_PAIRS, edit, longest=LONGEST_PAIRS)


def _along_asked(model: LoadedModel) -> dict[str, float]:
    known = paths.directions(model)
    names = [] if known is None else list(known.directions)

    def step(name: str, value: str) -> tuple[str, float]:
        return choice("along-by", name, names), number("along-by", value, -FARTHEST, FARTHEST)

    return url.pairs("along-by", MOST_PAIRS, step, longest=LONGEST_PAIRS)


main()
