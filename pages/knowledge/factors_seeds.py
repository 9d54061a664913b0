"""The Factors page's last part: GVAE beside DirVAE over seeds, if somebody has trained them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from lungvae_core.app_files import ROOT
from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement.compare import figure_words
from lungvae_core.evaluation.disentanglement.seeds import read_over_seeds
from lungvae_core.number_text import with_interval
from pages.knowledge import factors_figures
from pages.shared import charts, common

SEEDS = ROOT / "docs" / "seeds.json"  # written by benchmarks/seeds.py


def show() -> None:
    """Show the chart, what follows from it, and every difference; or say how to make them."""
    st.header("GVAE and DirVAE over seeds", anchor="seeds")
    if not SEEDS.is_file():
        st.info(
            "No seeds were compared yet: `python benchmarks/seeds.py` trains small models of both priors and "
            "writes docs/seeds.json.",
            icon=":material/casino:",
        )
        return
    try:
        report = read_over_seeds(SEEDS)
    except UserError as error:
        st.warning(f"docs/seeds.json cannot be shown: {error}", icon=":material/warning:")
        return
    keys = {key.split("/")[0] for group in report["groups"] for key in group["figures"]}
    names = {"raw": "Lesions", "without_size": "Lesions, without size", "phantom": "Phantom"}
    options = {name: title for name, title in names.items() if name in keys}
    variant = common.segmented("Figures of", options, key="factors-seeds")
    charts.show(
        charts.kept(factors_figures.over_seeds, report, variant), alt="Scores of both priors over seeds"
    )
    st.caption(source(report))
    clear = [entry for entry in report["differences"] if entry["clear"]]
    st.markdown(verdict(clear, report["comparisons"]))
    with st.expander(f"All {report['comparisons']} differences"):
        st.markdown("\n".join(f"- {difference(entry)}" for entry in report["differences"]))


def source(report: dict[str, Any]) -> str:
    """Say in one line what was trained and evaluated."""
    settings, judged = report["settings"], report["data"]["judged"]
    return (
        f"{len(report['seeds'])} seeds of each prior; not the shipped models but small ones: width "
        f"{settings['width']}, {settings['dimensions']} dimensions, {settings['epochs']} epochs on "
        f"{report['data']['train']['patients']} patients, judged on {judged['patients']} others "
        f"({report['groups'][0]['data']['nodules']:,} nodules). Bars: mean and standard deviation over "
        "seeds; grey: mean of the null."
    )


def verdict(clear: list[dict[str, Any]], comparisons: int) -> str:
    """Say in a paragraph what follows from the seeds."""
    if not clear:
        return (
            f"None of the {comparisons} differences between the priors is significant over seeds (Welch's "
            "test, Bonferroni): neither prior is better here."
        )
    lines = "\n".join(f"- {difference(entry)}" for entry in clear)
    return (
        f"{len(clear)} of {comparisons} differences are significant over seeds (Welch's test, p times the "
        f"number of comparisons below 0.05), for these small models on these patients:\n{lines}"
    )


def difference(entry: dict[str, Any]) -> str:
    """Describe one difference in words."""
    against = "DirVAE" if entry["second"][1] == "code" else "DirVAE's log-ratios"
    less = with_interval(entry["difference"], entry["low"], entry["high"], signed=True)
    return (
        f"{figure_words(entry['figure'])}: GVAE less {against} {less}, GVAE higher in {entry['won']} of "
        f"{entry['of']} pairs of seeds"
    )
