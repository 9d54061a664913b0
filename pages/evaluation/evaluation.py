"""Evaluation: how good a model is, by which protocol, compared with size alone; and where leaks come from."""

from __future__ import annotations

import streamlit as st

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.html import to_html
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view.sections import sections
from lungvae_core.serving.jobs.evaluations import FoundReport, find_reports, read_report
from pages.evaluation import parts
from pages.evaluation.form import JOBS, NEW, REFRESH_SECONDS, new_evaluation, open_jobs, watch
from pages.shared import common, url


def main() -> None:
    """Draw the page from top to bottom."""
    common.introduce("Evaluation")
    no_jobs, waiting = "", []
    try:
        waiting = open_jobs()
    except UserError as error:  # shipped reports can be read even if nothing can be written
        no_jobs = str(error)
    reports, broken = find_reports()
    evaluations = [report for report in reports if not PROTOCOLS[report.protocol].of_run]
    form_picked = JOBS.form_picked(jobs_at_first=bool(evaluations or waiting))
    JOBS.show_error()
    if form_picked:
        if no_jobs:
            common.stop(no_jobs)
        new_evaluation()
        return
    if not no_jobs:
        active = any(job.active for job in waiting)
        st.fragment(watch, run_every=REFRESH_SECONDS if active else None)()
    for reason in broken.values():
        st.warning(reason)
    if not reports:
        st.info(
            f"There is no report yet. Choose “{NEW}”, or run `lungvae evaluate --preset dirvae --data "
            "data/lidc --task mvb --protocol nested`.",
            icon=":material/info:",
        )
        return
    titles = {report.name: report.title for report in reports}
    name = url.selectbox("report", "Report", titles, key="evaluation-report")
    listed = next(report for report in reports if report.name == name)
    try:
        show(listed, read_report(listed.path))
    except UserError as error:
        st.error(str(error))


def show(listed: FoundReport, report: Report) -> None:
    """Show a report, from its summary sentence to how it was made."""
    parts.leak_band(report)
    if report.quick:
        st.warning(report_words.QUICK, icon=":material/timer:")
    verdict(report)
    units = report_words.units_of(report)
    if not units:
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    main_unit = report_words.main_unit(report) or units[0]
    url.start("unit", [main_unit, *(one for one in units if one != main_unit)], key="evaluation-unit")
    with left:
        unit = url.segmented("unit", "Unit", {one: f"Per {one}" for one in units}, key="evaluation-unit")
    with right, st.container(horizontal=True, horizontal_alignment="right"):
        downloads(listed, report)
    own = report.units.of(unit)
    if own is not None:
        st.caption(report_words.facts(report, unit, own))
        parts.sections(sections(report, unit))
        st.caption(report_words.attribution(report))


def verdict(report: Report) -> None:
    """Sum up the report in a sentence, marked by whether the model beats size."""
    compared = (report.comparisons or {}).get("best_size")
    paired = None if compared is None else compared.paired
    ahead = paired is not None and paired.low is not None and paired.low > 0
    mark = st.success if ahead and not report.leaks and not report.quick else st.warning
    mark(report_words.verdict(report), icon=":material/straighten:")


def downloads(listed: FoundReport, report: Report) -> None:
    """Offer the report as JSON and as an HTML file to send."""
    st.download_button(
        "HTML to send",
        to_html(report),
        f"{listed.name}.html",
        "text/html",
        icon=":material/description:",
        key="evaluation-html",
        on_click="ignore",
        help="One file with figures, limits and a checklist, without internet access.",
    )
    st.download_button(
        "JSON",
        listed.path.read_bytes(),
        f"{listed.name}.json",
        "application/json",
        icon=":material/data_object:",
        key="evaluation-json",
        on_click="ignore",
    )


main()
