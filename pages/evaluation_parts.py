"""The Evaluation page's parts: each shows one part of a report, or nothing where the report has none."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import FIGURES, UNITS, Interval, Report, UnitFigures
from lungvae_core.evaluation.report_words import Row
from lungvae_core.number_text import duration, number
from pages import charts
from pages import evaluation_figures as figures


def beside(report: Report, unit: str) -> None:
    """The forest of AUCs: the model with every baseline of the same folds beside it."""
    st.subheader("The model beside simpler ways")
    rows = words.forest(report, unit)
    groups = [("", rows)]
    # A number without its size baseline is not shown: patients have none, so nodules stand below.
    if len(rows) == 1 and unit != "nodule" and len(words.forest(report, "nodule")) > 1:
        groups = [(f"Per {unit}", rows), ("Per nodule", words.forest(report, "nodule"))]
    charts.show(
        charts.kept(figures.forest, groups, legend=True),
        alt="AUC of the model and of every baseline with their 95 % intervals",
        key="evaluation-forest",
    )
    said = "AUC: how often a malignant one scores above a benign one; 0.5 is chance."
    if not report.baselines:
        said += " **No baseline was run, so nothing says what size alone gives.**"
    elif any(one.uses_readers for one in report.baselines.values()):
        readers = [
            words.baseline_name(name)
            for name, one in words.ordered_baselines(report).items()
            if one.uses_readers
        ]
        said += f" These need a reader at prediction time: {', '.join(readers)}. The model does not."
    st.caption(said)


def leak(report: Report) -> None:
    """Where the paper's figure comes from."""
    st.subheader("What the leak is worth")
    st.markdown(words.leak_total(report))
    columns = st.columns(2, gap="large")
    for column, name in zip(columns, words.LEAK_FIGURES, strict=True):
        charts.show(
            charts.kept(figures.leak, report, name),
            where=column,
            alt="What each liberty of the released protocol adds",
            key=f"evaluation-leak-{name}",
        )
    st.caption(
        "Blue: the honest protocol with the same settings. Orange: what each liberty adds; some move the "
        "accuracy alone."
    )
    steps = report.leak.steps if report.leak else []
    st.markdown("\n".join(f"{number}. **{one.step}**: {one.words}." for number, one in enumerate(steps, 1)))
    table = [
        {
            "Step": one.step,
            "AUC per slice": words.figure(Interval(value=one.slice, low=one.low, high=one.high)),
            "AUC per nodule": number(one.nodule),
            "Accuracy": number(one.accuracy),
        }
        for one in steps
    ]
    with st.expander("As a table"):
        st.dataframe(table, hide_index=True)


def all_figures(report: Report, unit: str, own: UnitFigures) -> None:
    """Every figure with its interval, and a table of all units."""
    st.subheader(f"All figures, per {unit}")
    charts.show(
        charts.kept(figures.all_figures, own),
        alt="Every figure with its 95 % interval; the table below has the numbers",
        key="evaluation-figures",
    )
    with st.expander("All units as a table"):
        rows = [
            {
                "Figure": words.FIGURE_WORDS[name][0],
                **{
                    f"Per {one}": words.figure(found.figure(name))
                    for one in UNITS
                    if (found := report.units.of(one)) is not None
                },
                "What it is": words.FIGURE_WORDS[name][2],
            }
            for name in FIGURES
        ]
        st.dataframe(rows, hide_index=True)


def curves(report: Report, unit: str, own: UnitFigures) -> None:
    """ROC, precision and recall, reliability, and the confusion at the threshold."""
    if own.curves is None and own.confusion is None:
        return
    st.subheader(f"Curves and confusion, per {unit}")
    left, right = st.columns([3, 1], gap="medium", vertical_alignment="center")
    if own.curves is not None:
        charts.show(
            charts.kept(figures.curves, own),
            where=left,
            alt="ROC, precision against recall, and reliability",
            key="evaluation-curves",
        )
    if own.confusion is not None:
        charts.show(
            charts.kept(figures.confusion, own),
            where=right,
            alt="What was called malignant and benign, and what was",
            key="evaluation-confusion",
        )
    st.caption(f"Dashed: chance; for reliability, perfect calibration. {words.threshold_from(report)}")


def comparisons(report: Report) -> None:
    """The model against the baselines, in sentences and as differences with intervals."""
    found = words.comparisons(report)
    if not found:
        return
    st.subheader("Compared with the baselines")
    st.markdown("\n".join(f"- {words.compared(one)}" for _, one in found))
    charts.show(
        charts.kept(figures.differences, report),
        alt="The model's AUC less each baseline's, with 95 % intervals",
        key="evaluation-differences",
    )
    st.caption(
        "Differences of AUC on the same lesions, 95 % intervals by drawing the same patients for both. Right "
        "of the line the model is ahead. None is corrected for the number of comparisons."
    )


def subgroups(report: Report) -> None:
    """AUC within groups of size, texture, readers, thickness and scanner."""
    if not report.subgroups:
        return
    st.subheader("Subgroups")
    charts.show(
        charts.kept(figures.subgroups, report),
        alt="AUC within each subgroup; the table has the numbers",
        key="evaluation-subgroups",
    )
    st.caption("AUC per nodule within each group. Groups differ in more than their name.")
    rows = [
        {
            "": words.SUBGROUP_WORDS.get(name, name),
            "Group": one.group,
            "n": one.count,
            "Malignant": one.malignant,
            "Patients": one.patients,
            "AUC": words.figure(one.auc),
            "Sensitivity": words.figure(one.sensitivity),
            "Specificity": words.figure(one.specificity),
        }
        for name, members in report.subgroups.items()
        for one in members
    ]
    with st.expander("As a table"):
        st.dataframe(rows, hide_index=True)
        st.caption("A dash: too few lesions of a class.")


def calibration(report: Report) -> None:
    """Calibration error before and after."""
    if report.calibration is None or not any(getattr(report.calibration, unit) for unit in UNITS):
        return
    st.subheader("Calibration")
    charts.show(
        charts.kept(figures.calibration, report),
        alt="Calibration error before and after",
        key="evaluation-calibration",
    )
    st.caption("Expected calibration error over ten bins, before and after temperature and bias.")


def at_equal_size(report: Report) -> None:
    """The AUC among lesions of like size."""
    found = {unit: part for unit, part in (report.size_matched or {}).items() if part is not None}
    if not found:
        return
    st.subheader("At equal size")
    for unit, part in found.items():
        st.markdown(
            f"Per {unit}, AUC **{words.figure(part.auc)}** over {part.pairs:,} pairs of a malignant and a "
            f"benign one of like size{f' ({part.what})' if part.what else ''}, where size alone gives 0.5."
        )


def nodule_rules(report: Report) -> None:
    """The rules from slices to a nodule."""
    if not report.nodule_rules:
        return
    st.subheader("From slices to a nodule")
    rows = [Row(name, found.auc, "model") for name, found in report.nodule_rules.items()]
    charts.show(
        charts.kept(figures.forest, [("", rows)]),
        alt="AUC of each rule from slices to nodules",
        key="evaluation-rules",
    )
    st.caption(
        f"AUC per nodule by rule. The report uses {report.nodule_rule or 'one of them'}"
        f"{f', {report.nodule_rule_in_words}' if report.nodule_rule_in_words else ''}."
    )


def external(report: Report) -> None:
    """Calibration, sensitivity at fixed specificity and the shift of codes on other data."""
    part = report.external
    if part is None:
        return
    st.subheader("On other data")
    if part.calibration is not None:
        st.markdown(
            f"Calibration slope **{words.figure(part.calibration.slope, 2)}** (1 is perfect), intercept "
            f"**{words.figure(part.calibration.intercept, 2)}** (0 is perfect)."
        )
    rows = [
        Row(f"at specificity {one.specificity:.2f}", one.sensitivity, "model")
        for one in part.sensitivity_at_specificity
    ]
    if rows:
        charts.show(
            charts.kept(figures.forest, [("", rows)], axis="Sensitivity"),
            alt="Sensitivity with its 95 % interval",
            key="evaluation-sensitivity",
        )
    if part.code_shift:
        with st.expander("How far the codes lie from those it was trained on"):
            st.json(part.code_shift)


def diagnosis(report: Report) -> None:
    """Model, readers and size against the confirmed diagnosis, beside the same against the opinion."""
    part = report.diagnosis
    if part is None:
        return
    st.subheader("Opinion and diagnosis")
    st.markdown(words.diagnosis_verdict(part))
    for group in part.groups:
        rows = {
            one.title: {
                "against the diagnosis": words.figure(one.diagnosis, 2),
                "against the readers' opinion": words.figure(one.opinion, 2),
            }
            for one in group.scores
        }
        st.caption(words.diagnosis_group(group))
        st.table(pd.DataFrame.from_dict(rows, orient="index"))
    st.caption(words.diagnosis_about(part))


def spread(report: Report) -> None:
    """Folds, seeds, and the stages before and after labels."""
    folds = any(found.auc_by_fold for unit in UNITS if (found := report.units.of(unit)) is not None)
    if not folds and not report.per_seed and report.stages is None:
        return
    left, right = st.columns(2, gap="large")
    if folds or report.per_seed:
        with left:
            st.subheader("Folds and seeds")
            charts.show(
                charts.kept(figures.spread, report),
                alt="AUC of each fold and seed",
                key="evaluation-spread",
            )
            seeds = report.per_seed or []
            said = "A dot a fold or seed; the stroke is the mean."
            if len(report.seeds) < 2:
                said += " One seed: nothing is known of how far another training would differ."
            elif unit := words.main_unit(report):
                said += f" Over seeds, per {unit}: {words.spread(seeds, unit)}."
            st.caption(said)
    if report.stages is not None:
        with right:
            st.subheader("Before and after labels")
            charts.show(
                charts.kept(figures.stages, report),
                alt="AUC before and after the joint phase",
                key="evaluation-stages",
            )
            st.caption("The same folds' VAE without labels, and after the joint phase.")


def reconstruction(report: Report) -> None:
    """How well held-out slices are drawn again."""
    part = report.reconstruction
    if part is None:
        return
    st.subheader("Reconstruction of held-out patients")
    low, high = (number(end, 0) for end in part.window_hu)
    st.markdown(
        f"{part.slices:,} slices of {part.patients:,} patients; on 0..1 of the window {low} to "
        f"{high} HU unless a unit stands beside the figure. Another window gives other figures, and "
        f"redrawing well is not knowing what is malignant.{words.redrawn(part)}"
    )
    rows = [
        {
            "": f"{title}, {unit}" if unit else title,
            "Whole crop": words.figure(part.whole.get(name), 1 if unit else 4),
            "Inside the mask": words.figure((part.inside_mask or {}).get(name), 1 if unit else 4),
            "Better is": better,
        }
        for name, (title, unit, better) in words.RECONSTRUCTION_WORDS.items()
        if name in part.whole or name in (part.inside_mask or {})
    ]
    left, right = st.columns(2, gap="large")
    left.dataframe(rows, hide_index=True)
    bands = [
        Row(f"{band.band} (n {band.slices:,})", band.figures()["ssim"], "model")
        for band in part.by_size
        if "ssim" in band.figures()
    ]
    if bands:
        charts.show(
            charts.kept(figures.forest, [("", bands)], axis="SSIM"),
            where=right,
            alt="SSIM by the lesion's diameter",
            key="evaluation-bands",
        )
        right.caption("SSIM by the lesion's diameter.")
    if part.spectrum:
        details = [
            Row(f"{band.from_cycles:.3g} to {band.to_cycles:.3g}", band, "model") for band in part.spectrum
        ]
        charts.show(
            charts.kept(figures.forest, [("", details)], axis="power, drawn / slices", zero=1),
            where=right,
            alt="Power of what is drawn over that of the slices, by the size of the detail",
            key="evaluation-spectrum",
        )
        right.caption(
            "Power of what is drawn over that of the slices, by cycles a pixel: below 1 detail is missing."
        )


def made(report: Report) -> None:
    """Command, hardware, versions and settings."""
    with st.expander("How it was made"):
        st.code(report.command or "The command was not recorded.", language="bash", wrap_lines=True)
        took = "" if report.seconds is None else f", {duration(report.seconds)}"
        versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
        part = report.data
        st.markdown(
            f"{report.hardware}{took}. {versions}. {report.created}\n\nData: {part.name}, "
            f"{part.slices:,} slices, {part.nodules:,} nodules, {part.patients:,} patients; under the label "
            f"rule {part.labelled.nodules:,} nodules of {part.labelled.patients:,} patients, "
            f"{part.labelled.malignant_nodules:,} malignant. "
            f"{'' if part.counted is None else part.counted.in_words()} Content hash `{part.content_hash}`."
        )
        if part.attribution:
            st.caption(part.attribution)
        if report.settings_chosen:
            st.dataframe(pd.DataFrame(report.settings_chosen).astype(str), hide_index=True)
        st.json(report.model.config, expanded=False)
