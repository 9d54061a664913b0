"""Factors: how much each dimension carries of readers' ratings, size and the phantom's known factors."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lungvae_core.data.counted import counted_in_words
from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement.assess import SPACES, load
from lungvae_core.evaluation.disentanglement.compare import SPACE_WORDS
from pages.knowledge import factors_figures, factors_seeds
from pages.shared import charts, common, url

ON = {"lesions": "The lesions", "phantom": "Generated slices with known factors"}
KINDS = {"linear": "Ridge regression", "boosted": "Boosted trees"}
SHOWN = {"information": "Information", "spearman": "Rank correlation", "importance": "Importance to trees"}


def main() -> None:
    """Draw the page from top to bottom."""
    common.introduce("Factors")
    model = common.current_model()
    try:
        report = load(model.entry.folder)
    except UserError as error:
        st.info(str(error), icon=":material/grid_on:")
    else:
        show_report(report)
    factors_seeds.show()


def show_report(report: dict[str, Any]) -> None:
    """Show the report of the model in use."""
    on, space = pick(report)
    phantom = report["phantom"] if on == "phantom" else None
    variants = report["spaces"][space] if phantom is None else {"phantom": phantom["free"]}
    st.caption(source(report, phantom))
    if report["seen"].startswith("LEAK"):
        st.warning("Labels of these lesions shaped the codes.", icon=":material/warning:")
    st.header("Dimensions by factors", anchor="dimensions")
    dimensions(variants)
    st.header("What all dimensions together predict", anchor="probes")
    kind = common.segmented("By", KINDS, key="factors-probe")
    charts.show(
        charts.kept(factors_figures.probe_bars, variants, kind),
        alt="How well codes predict each factor, compared with size",
    )
    st.caption(
        "On patients that the probe was not fitted on; 95 % intervals from resampling patients. 0 (AUC: "
        "0.5) is chance. *Without size*: the residual of the factor after a spline of the log diameter, "
        "fitted on other patients."
        if phantom is None
        else "On slices that the probe was not fitted on; 95 % intervals from resampling slices."
    )
    if phantom is None and report.get("attributes"):  # older reports have none
        attributes(report["attributes"])
    scores(variants, phantom, report["effort"]["bins"])


def pick(report: dict[str, Any]) -> tuple[str, str]:
    """Pick lesions or generated slices, and for lesions the coordinates of their codes."""
    options = {name: title for name, title in ON.items() if name == "lesions" or report["phantom"]}
    spaces = {each: SPACE_WORDS[each].capitalize() for each in report["spaces"]}
    help = ". ".join(f"{title}: {SPACES[each]}" for each, title in spaces.items())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        on = url.segmented("on", "Look at", options, key="factors-on")
        if on == "phantom" or len(spaces) == 1:
            return on, "code"
        return on, url.segmented("space", "Coordinates", spaces, key="factors-space", help=help)


def source(report: dict[str, Any], phantom: dict[str, Any] | None) -> str:
    """Say in a few sentences which lesions or generated slices were assessed, and how."""
    data, effort = report["data"], report["effort"]
    if phantom is not None:
        return (
            f"{phantom['sizes']['free']:,} {phantom['what']}; a slice is a unit. Null draws: "
            f"{effort['draws']} (of trees {min(5, effort['refits'])}), seed {report['seed']}."
        )
    return (
        f"{data['name']}: {data['nodules']:,} nodules of {data['patients']:,} patients, codes averaged "
        f"over a nodule's slices. {report['seen']} {effort['folds']} folds by patient, "
        f"{effort['draws']} null draws (of trees {effort['refits']}), seed {report['seed']}. "
        f"{counted_in_words(report)}"
    )


def scores(variants: dict[str, dict[str, Any]], phantom: dict[str, Any] | None, bins: int) -> None:
    """Show the scores beside their null; with a phantom also those that need known factors."""
    st.header("Scores", anchor="scores")
    moved = None if phantom is None else phantom["moved"]
    charts.show(
        charts.kept(factors_figures.score_panels, variants, moved),
        alt="Disentanglement scores and their null",
    )
    st.caption(
        "0 is entangled, 1 a dimension for every factor. Averages over factors (modularity and DCI "
        f"disentanglement: over dimensions); {bins} equal-mass bins; 95 % intervals by leaving "
        "groups of patients out. Grey: null, from its mean to its 95th percentile. A score that overlaps "
        "its null says nothing; mutual information is biased upwards in both."
        + (
            ""
            if phantom is None
            else " FactorVAE and BetaVAE: which of nine factors a group of slices shares, chance 1 in 9."
        )
    )


def attributes(part: dict[str, Any]) -> None:
    """Show how well the code predicts each rating, beside a constant and one reader against the others."""
    st.header("Attributes predicted", anchor="attributes")
    st.table(factors_figures.attributes_table(part))
    st.caption(
        f"Per nodule, {part['tested']}, 95 % intervals over patients; MAE is the mean absolute error in "
        f"steps of the scale. {part['note']}"
    )


def dimensions(variants: dict[str, dict[str, Any]]) -> None:
    """Show the heat map and the controls for what it shows."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        variant = next(iter(variants))
        if len(variants) > 1:
            names = {each: factors_figures.NAMES[each] for each in variants}
            variant = common.segmented("Factors", names, key="factors-variant")
        measure = common.segmented("Show", SHOWN, key="factors-show")
        part = variants[variant]
        count = len(part["information"])
        every = count > 24 and st.toggle(f"All {count} dimensions", key="factors-all")
    charts.show(
        charts.kept(factors_figures.heat_map, part, measure, count if every else min(24, count)),
        alt="Information of each dimension about each factor",
    )
    st.caption(
        "The most informative dimensions first. White outline: more information than any dimension has of "
        "that factor in 95 % of draws with patients shuffled."
    )


main()
