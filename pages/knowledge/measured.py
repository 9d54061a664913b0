"""Measured traversals: what each dimension does to a decoded lesion, in HU and pixels."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lungvae_core.data.counted import counted_in_words
from lungvae_core.errors import UserError
from lungvae_core.explore.measured import record
from lungvae_core.serving.models.registry import LoadedModel
from pages.knowledge import measured_figures
from pages.shared import charts, common, url


def main() -> None:
    """Draw the page from top to bottom."""
    common.introduce("Measured traversals")
    model = common.current_model()
    measured = read(model)
    dimensions = record.order(measured)
    chosen = choose(model, dimensions)
    summary(measured)
    charts.show(
        charts.kept(measured_figures.overview, measured, dimensions, chosen),
        alt="What every dimension changes, as squares: dimensions across, properties down",
        key=f"measured-map-{model.entry.name}",
        on_select="rerun",
        selection_mode="points",
    )
    st.caption(
        "Colour: change over the dimension's range, in standard deviations of reconstructed real lesions; "
        "blue falls, orange rises. A dot marks the properties that name the dimension. Click a square for "
        "its dimension."
    )
    detail(model, measured, dimensions)
    with st.expander("How it was measured, and how reliable it is", icon=":material/fact_check:"):
        trust(measured)


def read(model: LoadedModel) -> dict[str, Any]:
    """Read measured.json; stop the page if it is missing or unreadable."""
    try:
        measured = model.measured
    except UserError as error:
        common.stop(str(error))
    if measured is None:
        st.info(
            f"Nothing was measured for this model yet. Run `lungvae measure {model.entry.folder}` does, in "
            "a few minutes."
        )
        st.stop()
    return measured


def choose(model: LoadedModel, dimensions: list[int]) -> int:
    """Choose the dimension to show: the one clicked in the overview, else picked, else in the address."""
    key = f"measured-dimension-{model.entry.name}"
    event = st.session_state.get(f"measured-map-{model.entry.name}") or {}
    points = (event.get("selection") or {}).get("points") or []
    clicked = points[0].get("customdata") if points else None
    clicked = clicked[0] if isinstance(clicked, list) and clicked else clicked
    if clicked != st.session_state.get(f"{key}-clicked"):
        st.session_state[f"{key}-clicked"] = clicked
        if clicked in dimensions:
            st.session_state[key] = clicked
    if st.session_state.get(key) not in dimensions:
        named = url.choice("dimension", [str(each) for each in dimensions])
        st.session_state[key] = dimensions[0] if named is None else int(named)
    return int(st.session_state[key])


def summary(measured: dict[str, Any]) -> None:
    """Say how many dimensions have a name, and what that is based on."""
    named = sum(bool(one["properties"]) for one in measured["dimensions"])
    starts = measured["starts"]
    of = f", of {starts['of']}" if "of" in starts else ""  # older measurements do not say whose lesions
    st.markdown(
        f"**{named} of {measured['dimensions_count']} dimensions have a name.** "
        f"{starts['patients']} starting lesions, one a patient{of}, in {measured['steps']} steps; "
        f"seed {measured['seed']}; intervals are 95 %, patients resampled."
    )


def detail(model: LoadedModel, measured: dict[str, Any], dimensions: list[int]) -> None:
    """Show one dimension: its name, the strip, the curves, the effects."""
    key = f"measured-dimension-{model.entry.name}"
    names = {one["dimension"]: one["name"] for one in measured["dimensions"]}
    left, middle, right = st.columns([2, 3, 1.1], vertical_alignment="bottom")
    dimension = int(
        left.selectbox("Dimension", dimensions, format_func=lambda at: f"z {at} · {names[at]}", key=key)
    )
    url.write("dimension", str(dimension))
    one = measured["dimensions"][dimension]
    middle.markdown(effect_sentences(measured, one))
    if right.button("Walk it", icon=":material/tune:", help="Take this dimension to the Traversal page"):
        common.walk(model, dimension=dimension)
    values, codes = record.mean_walk(model.latent, model.codes, measured, dimension)
    low, high = model.window
    images = model.decode(codes)
    charts.show(
        charts.kept(measured_figures.strip, images, record.outlines(model.hu(images)), values),
        alt="Generated images along the dimension, each with the lesion outlined",
        key="measured-strip",
    )
    st.caption(
        f"Generated: the mean code of the starting lesions, with z {dimension} at each value; the line is "
        f"the outline that is measured. W {high - low:.0f} L {(low + high) / 2:.0f} HU."
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        charts.show(
            charts.kept(measured_figures.curves, measured, dimension),
            alt="The measured properties along the dimension's range",
            key="measured-curves",
        )
        st.caption(
            "The properties that it changes most, along its range: mean over the starting lesions with its "
            "95 % interval, relative to each lesion's own mean."
        )
    with right:
        charts.show(
            charts.kept(measured_figures.effects, measured, dimension),
            alt="How much the dimension changes each property",
            key="measured-effects",
        )
        st.caption("Orange: in the dimension's name.")
    judged(measured, one)


def judged(measured: dict[str, Any], one: dict[str, Any]) -> None:
    """Show what the judge predicts as the dimension rises, each rating beside how well it predicts it."""
    st.markdown("**Ratings that a judge predicts from the decoded images**")
    if not one.get("judged"):
        st.caption(record.why_not_judged(measured))
        return
    st.dataframe(measured_figures.judged(measured, one), hide_index=True, width="stretch")
    st.caption(
        "Change over the dimension's range with its 95 % interval, in the rating's own unit "
        "(calcification: share of readers who see any); the share of the starting lesions in which it "
        "rises with the dimension; Spearman's correlation with the dimension, median over the lesions. "
        "Beside it, the judge's agreement with the readers on unseen lesions: Spearman on their real "
        "slices, and on the model's reconstructions of them. Where that is low, its predictions say little."
    )


def effect_sentences(measured: dict[str, Any], one: dict[str, Any]) -> str:
    """Say what a dimension does, with the numbers behind its name."""
    sentences = [record.sentence(measured, one, key) for key in one["properties"]]
    if sentences:
        sentences.append(f"Selectivity {one['selectivity']:.0%}.")
    else:
        sentences.append(
            f"No property changes steadily enough for a name. Over the range the pixels change by "
            f"{one['inside_hu']:.0f} HU in the lesion and {one['outside_hu']:.0f} HU around it (root mean "
            "square)."
        )
    sentences.append(record.detail_sentence(measured, one["dimension"]))
    return " ".join(sentences).rstrip()


def trust(measured: dict[str, Any]) -> None:
    """Show the rule, the controls, and how the outlines compare with the readers' masks."""
    st.markdown(f"**Rule.** {measured['rule']}")
    kinds = {
        "shuffled": "each lesion's steps in a random order",
        "mixed": "each lesion moved along another dimension, drawn for it",
    }
    controls = [
        f"{each['named']} of {each['dimensions']} ({kinds[key]})"
        for key, each in measured["controls"].items()
    ]
    if controls:
        st.markdown(f"**Control.** Of random artificial dimensions the rule named {', '.join(controls)}.")
    st.markdown(
        f"**Outlines.** {measured['outlined']:.1%} of the decoded images gave a reliable outline; the "
        f"others are left out. {counted_in_words(measured)}"
    )
    if (judge := measured.get("judge")) and "ratings" in judge:
        st.markdown(
            "**Judge.** A small network that learned the readers' mean ratings from real slices of "
            f"patients other than the starting lesions'. {counted_in_words({'counted': judge['fitted']})} "
            f"Tested on unseen patients: {counted_in_words({'counted': judge['tested']})}"
        )
    outlines = measured["outlines"]
    if not outlines:
        return
    if counted := counted_in_words(outlines):  # older measurements lack the counts
        st.markdown(f"**Readers' masks.** {counted}")
    for key, what in (("real", "real slices"), ("reconstructed", "the model's reconstructions of them")):
        if key in outlines:
            bands = "; ".join(
                f"{each['band']} {each['dice']:.2f} (n {each['n']}, found over readers' area "
                f"{each['area_ratio']:.2f})"
                for each in outlines[key]
            )
            st.markdown(f"Dice against the readers' consensus masks, {what}: {bands}.")


main()
