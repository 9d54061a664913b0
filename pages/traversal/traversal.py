"""Traversal: move along the latent dimensions and watch what the decoder makes of it."""

from __future__ import annotations

from html import escape

import numpy as np
import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.explore.traversal import strip
from lungvae_core.number_text import latent_value
from lungvae_core.palette import ORANGE, SKY
from lungvae_core.parameters import choice, integer, number
from lungvae_core.serving.models import scoring
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.walks import paths
from lungvae_core.serving.walks.live import DIFFERENCE_FULL, FARTHEST, moved_along, start_code
from lungvae_core.serving.walks.strips import Strip, offer
from pages.components.traversal import DirectionSlider, Released, Slider, traversal_view
from pages.shared import charts, common, film, url
from pages.traversal import starts, ways

STRIP_STEPS, GIF_STEPS = 11, 25
DIRECTIONS = {"malignancy": "More malignant", "diameter": "Larger"}


def main() -> None:
    """Draw the page from top to bottom."""
    common.compact()
    common.introduce("Traversal")
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
    span = paths.span(model, dimension, code)

    def strip_of(steps: int) -> Strip:
        values, codes = strip(model.latent, code, dimension, span, steps)
        return Strip(start.label, dimension, values, codes, start_code(model, start.name), start.patient)

    shown = strip_of(STRIP_STEPS)
    alt = f"Generated images: the whole range of dimension {dimension}, all else as set above"
    address = offer(model, shown, difference_full=DIFFERENCE_FULL)
    st.html(f'<img src="{escape(address)}" alt="{alt}" loading="lazy" style="width: 100%">')
    scores = model.score(shown.codes, patient=shown.patient)
    if scores is not None:
        charts.show(
            score_chart(shown.values, scores, float(code[dimension])),
            alt=f"The model's score over the whole range of dimension {dimension}",
        )
    film.downloads(
        f"{model.entry.name}_{start.short}_z{dimension}",
        "Walk",
        lambda: strip_of(GIF_STEPS).walk(model, difference_full=DIFFERENCE_FULL),
        lambda: shown.walk(model, difference_full=DIFFERENCE_FULL),
        key="walk",
        note="All carry the notice. The address of this page restores this model, start and dimension.",
    )


def live(model: LoadedModel, start: starts.Start) -> Released:
    """Show the component with the sliders."""
    code = start_code(model, start.name)
    here = _is_here(model, start)
    edits = _edits_in_address(model) if here else {}
    along = _along_in_address(model) if here else {}
    scores = model.score(code[None], patient=start.patient)
    real, spacing, label = None, None, f"From {start.label}."
    if start.row is not None:
        image, is_real = model.image(start.row)
        if is_real:
            real = image
            spacing = model.shown_spacing(start.row)
            if model.spacing_words:
                label += f" Its slice is {model.spacing_words}."
        else:
            label += " The slice itself is not on this machine; its reconstruction is shown instead."
    label = f"{label} {scoring.of_walk(model, start.patient)}".strip()
    where = model.latent.edited(moved_along(model, code, list(along.items())), edits)
    used, unused, ordered_by = paths.carried(model)
    sliders: list[Slider] = []
    for dimension in used + unused:
        low, high = paths.span(model, dimension, where).tolist()
        low, high = min(low, float(code[dimension])), max(high, float(code[dimension]))
        sliders.append((dimension, low, high, float(code[dimension]), model.latent.by_ratio(dimension)))
    return traversal_view(
        key="traversal",
        model=model.entry.name,
        start=start.name,
        start_label=label,
        start_image=model.decode(code[None])[0],
        real_image=real,
        spacing_mm=spacing,
        start_score=None if scores is None else float(scores[0]),
        sliders=sliders,
        names={at: (label.name, label.sentence) for at, label in paths.names(model).items()},
        used=len(used),
        ordered_by=ordered_by,
        directions=directions(model, code),
        has_map=has_map(model),
        edits=edits,
        along=along,
        dimension=_dimension_in_address(model),
        window=model.window,
    )


def directions(model: LoadedModel, code: np.ndarray) -> list[DirectionSlider]:
    """List the directions with a slider, and each slider's range from the start in standard deviations."""
    learned = paths.directions(model)
    if learned is None:
        return []
    point = learned.space.to(code[None])
    sliders = []
    for name, title in DIRECTIONS.items():
        if name in learned.directions:
            direction = learned.directions[name]
            at = float(direction.score(point)[0])
            low, high = direction.span
            description = (
                f"Moves the whole code the way in which {direction.label} rises among the lesions, by "
                "standard deviations from the start. For its accuracy see the page Directions."
            )
            sliders.append(DirectionSlider(name, title, min(low - at, 0.0), max(high - at, 0.0), description))
    return sliders


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
        dimension = _dimension_in_address(model)
        st.session_state[key] = order[0] if dimension is None else dimension
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
    columns = list(range(len(along)))
    line = {
        "type": "scatter",
        "x": columns,
        "y": scores.tolist(),
        "customdata": along.tolist(),
        "mode": "lines+markers",
        "line": {"color": SKY, "width": 2},
        "hovertemplate": "value %{customdata:.3g}<br>model score %{y:.2f}<extra></extra>",
    }
    place = float(np.interp(value, along, columns))
    now = {"x0": place, "x1": place, "y0": 0, "y1": 1, "xref": "x", "yref": "y domain"}
    here = {"x": place, "y": 0, "xref": "x", "yref": "y domain", "xanchor": "left", "yanchor": "bottom"}
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
                "range": [-0.5, len(along) - 0.5],
                "tickvals": columns,
                "ticktext": list(map(latent_value, along.tolist())),
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


def _dimension_in_address(model: LoadedModel) -> int | None:
    return url.integer("dimension", 0, model.entry.dimensions - 1)


def _is_here(model: LoadedModel, start: starts.Start) -> bool:
    """Whether the edits in the address belong to this start and model, not to earlier ones."""
    here = (model.entry.name, start.name)
    if st.session_state.setdefault("traversal-of", here) != here:
        st.session_state["traversal-of"] = here
        return False
    return True


def _edits_in_address(model: LoadedModel) -> dict[int, float]:

    def edit(at: str, value: str) -> tuple[int, float]:
        dimension = integer("edits", at, 0, model.entry.dimensions - 1)
        return dimension, number("edits", value, *model.latent.bounds)

    return url.pairs("edits", MOST_PAIRS, edit, longest=LONGEST_PAIRS)


def _along_in_address(model: LoadedModel) -> dict[str, float]:
    learned = paths.directions(model)
    names = [] if learned is None else list(learned.directions)

    def step(name: str, value: str) -> tuple[str, float]:
        return choice("along-by", name, names), number("along-by", value, -FARTHEST, FARTHEST)

    return url.pairs("along-by", MOST_PAIRS, step, longest=LONGEST_PAIRS)


main()
