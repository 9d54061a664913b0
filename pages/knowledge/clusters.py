"""Clusters: groups of lesions in the latent space, what they agree with, and how stable they are."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from lungvae_core.data.counted import counted_in_words
from lungvae_core.errors import UserError
from lungvae_core.explore import maps
from lungvae_core.explore.clusters.methods import TITLES
from lungvae_core.explore.clusters.report import Clusters, load_clusters
from lungvae_core.explore.clusters.words import in_words
from lungvae_core.serving.models.registry import LoadedModel
from pages.knowledge import clusters_figures
from pages.shared import charts, common, figures, url

ABREAST = 2


def main() -> None:
    """Draw the page from top to bottom."""
    common.introduce("Clusters")
    model = common.current_model()
    try:
        # Read again each time: the clusters may have been computed in the meantime.
        clusters = load_clusters(model.entry.folder, model.codes, len(model.nodules[0]))
    except UserError as error:
        common.stop(str(error))
    report = clusters.report
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = url.segmented("method", "Method", TITLES, key="clusters_method")
        kind = url.segmented("map", "Map", maps.TITLES, key="clusters_map")
    method = report["methods"][name]
    st.markdown(in_words(method, clusters.unit))
    if report["labels_shaped_codes"]:
        st.warning(
            "Labels shaped these codes (a joint phase or guides): figures on malignancy here are not a test.",
            icon=":material/warning:",
        )
    left, right = st.columns([1.35, 1], gap="medium")
    with left:
        on_map(model, clusters, name, kind)
    with right:
        how_chosen(method)
    st.caption(source(report))
    st.header("What the clusters correlate with", anchor="follow")
    follow(method)
    st.header("Whether they are stable", anchor="again")
    again(report, method)
    st.header("Each cluster", anchor="each")
    cards(model, clusters, name)
    if report["maps"]:
        st.header("How reliable the maps are", anchor="maps")
        trust(report, clusters.unit)


def source(report: dict[str, Any]) -> str:
    """Say in one line what was clustered, how, and how often."""
    unit = report["unit"]
    of = "" if report["sample"] is None else " (a random sample)"
    return (
        f"{report['units']:,} {unit}s{of} of {report['patients']:,} patients, "
        f"{report['dimensions']} dimensions: {report['space']}. Labelled: "
        f"{report['labelled']['units']:,} {unit}s, {report['labelled']['malignant']:,} malignant, by "
        f"{report['label_rule']}. {report['resamples']} draws of patients, "
        f"{report['permutations']} shuffles, "
        f"{report['featureless']} sets of codes without groups (normal, with the same mean and covariance), "
        f"seed {report['seed']}. {counted_in_words(report)}"
        + (" **A quick run: its intervals are rough.**" if report["quick"] else "")
    )


def on_map(model: LoadedModel, clusters: Clusters, name: str, kind: str) -> None:
    """Draw the run's map, coloured by cluster."""
    try:
        xy = model.map(clusters.unit, kind)[clusters.at]
    except UserError as error:
        st.info(str(error), icon=":material/info:")
        return
    rows = model.table.iloc[clusters.rows]
    texts = [
        f"{patient}, nodule {nodule}"
        for patient, nodule in zip(rows["patient_id"], rows["nodule"], strict=True)
    ]
    described = clusters.report["methods"][name]["clusters"]
    charts.show(
        charts.kept(clusters_figures.places, xy, clusters.members[name], described, texts),
        alt="The map of nodules, coloured by cluster",
        key="clusters-map",
        toolbar=True,
    )


def how_chosen(method: dict[str, Any]) -> None:
    """Show the settings that were tried and why one was chosen."""
    figure = charts.kept(clusters_figures.tried, method) or charts.kept(clusters_figures.sizes, method)
    charts.show(figure, alt="Settings tried, and how good each was", key="clusters-tried")
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in method["settings"].items())
    st.caption(f"Chosen: {settings}. How: {method['chosen_by']}. No label was used.")


def follow(method: dict[str, Any]) -> None:
    """Show AMI or NMI with every known attribute, beside chance."""
    if not method["attributes"]:
        st.info("With fewer than two clusters there is nothing to compare.", icon=":material/info:")
        return
    measure = common.segmented(
        "Measure",
        {"ami": "AMI", "nmi": "NMI"},
        help="By chance, AMI is 0 on average; NMI is not: the more groups, the higher.",
    )
    charts.show(
        charts.kept(clusters_figures.follows, method, measure),
        alt="Agreement of clusters with each attribute, compared with chance",
        key="clusters-follow",
    )
    by_name = {one["name"]: one for one in method["attributes"]}
    st.caption(
        f"{measure.upper()} between clusters and each attribute where it is known"
        + (", lesions in no cluster counting as one" if method["noise"] else "")
        + ". Shuffled: an attribute between patients, so that a patient's lesions stay together; patients "
        "between lesions. Ratings are the readers' mean, rounded; calcification is some or none."
    )
    st.markdown(" ".join(purity_sentences(by_name)))
    titles = {name: one["title"] for name, one in by_name.items()}
    figure = charts.kept(clusters_figures.along_k, method, titles)
    if figure is not None:
        st.markdown("**The same with another number of clusters**")
        charts.show(figure, alt="Agreement with attributes, by the number of clusters", key="clusters-along")
        st.caption("Shows the agreement of more clusters. k was not chosen by it.")


def purity_sentences(by_name: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences about purity and about how patients share clusters."""
    sentences = []
    if (malignancy := by_name.get("malignancy")) is not None:
        purity = malignancy["purity"]
        sentences.append(
            f"**Purity by malignancy {purity['value']:.1%}**: so many labelled lesions are of their "
            f"cluster's more frequent class; chance gives {purity['null']:.1%} (up to "
            f"{purity['null_high']:.1%})."
        )
    if (patient := by_name.get("patient")) is not None:
        sentences.append(
            f"**Patient, the confound**: NMI is {patient['nmi']['value']:.2f}, but with "
            f"{patient['groups']:,} patients chance alone gives {patient['nmi']['null']:.2f}; AMI is "
            f"{patient['ami']['value']:.3f} (chance up to {patient['ami']['null_high']:.3f})."
        )
        if "shared" in patient:
            shared = patient["shared"]
            sentences.append(
                f"Two lesions of one patient share a cluster in {shared['value']:.0%} of "
                f"{shared['pairs']:,} pairs, of different patients in {shared['others']:.0%} "
                f"(p {shared['p']:.3f})."
            )
    return sentences


def again(report: dict[str, Any], method: dict[str, Any]) -> None:
    """Show how stable the clusters are over patients."""
    if method["count"] < 2:
        st.info("With fewer than two clusters there is nothing to compare.", icon=":material/info:")
        return
    charts.show(
        charts.kept(clusters_figures.steadiness, method),
        alt="Stability of each cluster when patients are resampled",
        key="clusters-steady",
    )
    drawn, bare = method["stability"]["clusters"], method["featureless"]["clusters"]
    st.caption(
        f"Mean and middle 95 % of {report['resamples']} draws of patients with replacement, each taken "
        "once. Jaccard: similarity to the nearest cluster of a draw; by Hennig (2007) 0.75 and more is "
        "valid, below 0.6 not to be trusted (the dotted lines). Adjusted Rand: similarity of two draws' "
        f"clusters, 0 by chance. The draws gave {_range(drawn)} clusters, sets without groups "
        f"{_range(bare)}."
    )


def _range(ends: dict[str, int]) -> str:
    return str(ends["low"]) if ends["low"] == ends["high"] else f"{ends['low']} to {ends['high']}"


def cards(model: LoadedModel, clusters: Clusters, name: str) -> None:
    """Show a card per cluster: decoded mean code, name, words, and a link to its most typical lesion."""
    described = clusters.report["methods"][name]["clusters"]
    if not described:
        st.info("There is no cluster.", icon=":material/info:")
        return
    codes = model.nodules[1] if clusters.unit == "nodule" else model.codes
    images = model.decode(clusters.centres(name, codes))
    st.caption(
        "Images are the clusters' mean codes, decoded: not scans. SD: standard deviations of all "
        f"{clusters.unit}s. Intervals: 95 %, patients drawn again."
    )
    for start in range(0, len(described), ABREAST):
        for column, one in zip(st.columns(ABREAST), described[start : start + ABREAST], strict=False):
            with column, st.container(border=True):
                card(model, clusters, name, one, images[one["cluster"]])


def card(model: LoadedModel, clusters: Clusters, method: str, one: dict[str, Any], image: Any) -> None:
    """Show one cluster."""
    colour, _, mark = clusters_figures.style(one["cluster"])
    st.html(
        f'<b><span style="color: {colour}">{mark}</span> {one["cluster"]}: {escape(str(one["name"]))}</b>'
    )
    left, right = st.columns([1, 2.2])
    with left:
        figures.generated(model, image, "Mean code, decoded")
    with right:
        st.markdown(one["words"])
        if one["jaccard"]["value"] is not None:
            st.caption(f"Comes out again: Jaccard {one['jaccard']['value']:.2f}.")
        row = int(clusters.rows[one["typical"][0]])
        key = f"clusters-{method}-{one['cluster']}"
        if st.button("Walk from its most typical lesion", key=key, icon=":material/tune:"):
            common.walk(model, row=row)


def trust(report: dict[str, Any], unit: str) -> None:
    """Show the trustworthiness and continuity of the run's maps."""
    units = dict.fromkeys(one["unit"] for one in report["maps"])
    first = [unit] if unit in units else []
    chosen = common.segmented("Maps of", {each: f"{each}s" for each in [*first, *units]})
    charts.show(
        charts.kept(clusters_figures.maps, report["maps"], chosen),
        alt="Trustworthiness and continuity of each map",
        key="clusters-trust",
    )
    lesions = next(one["lesions"] for one in report["maps"] if one["unit"] == chosen)
    st.caption(
        f"{lesions:,} {chosen}s"
        + (", one a nodule" if chosen == "slice" else "")
        + ". Trustworthiness: whether neighbours on the map are neighbours in the latent space; "
        "continuity: whether those there are neighbours on the map. 1 is perfect, about 0.5 a map at "
        "random. Both measure neighbourhoods only: distances between groups have no meaning."
    )


main()
