"""The Evaluation page's parts: a report's sections and their blocks, drawn with Streamlit."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from itertools import groupby

import pandas as pd
import streamlit as st

from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view.blocks import (
    HALF,
    SHUT,
    Beside,
    Block,
    Bullets,
    Checklist,
    Code,
    Figure,
    Flow,
    Panels,
    Section,
    Table,
    Text,
)
from pages.evaluation import figures
from pages.shared import charts


def leak_band(report: Report) -> None:
    """Show a warning that nobody can miss if the report leaks."""
    if report.leaks:
        reasons = "".join(f"<li>{escape(reason)}</li>" for reason in report.leaks)
        st.html(
            f'<div class="leaks" role="alert"><strong>{report_words.LEAKS}</strong>'
            f"<p>{escape(report_words.why_leak(report))}</p><ul>{reasons}</ul></div>"
        )


def sections(shown: list[Section]) -> None:
    """Show the sections of figures, narrow ones in pairs; then, collapsed, how the report was made."""
    results = [section for section in shown if section.place != SHUT]
    for place, members in groupby(results, key=lambda section: section.place):
        columns = st.columns(2, gap="large") if place == HALF else [st.container()]
        for at, section in enumerate(members):
            with columns[at % len(columns)]:
                st.subheader(section.title)
                show(section.blocks)
    with st.expander("How it was made"):
        for section in shown:
            if section.place == SHUT:
                st.markdown(f"#### {section.title}")
                show(section.blocks)


def show(blocks: Iterable[Block]) -> None:
    """Show blocks one below the other."""
    for block in blocks:
        match block:
            case Text():
                (st.caption if block.soft else st.markdown)(block.text)
            case Bullets():
                (st.caption if block.soft else st.markdown)(_bullets(block.lines))
            case Table():
                _table(block)
            case Figure():
                chart = charts.kept(figures.draw, block)
                charts.show(chart, alt=block.title, key=f"evaluation-{block.name}")
            case Panels():
                _panels(block)
            case Beside():
                for column, part in zip(st.columns(2, gap="large"), (block.left, block.right), strict=True):
                    with column:
                        show(part)
            case Code(language="json"):
                st.caption(block.title)
                st.json(block.text, expanded=False)
            case Code():
                st.code(block.text, language=block.language, wrap_lines=True)
            case Flow():
                st.markdown(_bullets(f"**{name}**: {', '.join(lines)}" for name, lines in block.boxes))
            case Checklist():
                head = ["Asked", "State", "Where, or why not", "By"]
                rows = [
                    [item.question, item.state, item.answer or ("above" if item.linked else ""), item.guides]
                    for _, items in block.groups
                    for item in items
                ]
                _table(Table(head, rows))


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> None:
    """Show a table: as plain text, or sortable in an expander."""
    rows = pd.DataFrame([dict(zip(table.head, row, strict=True)) for row in table.rows])
    if table.folded:
        with st.expander(table.title or "As a table"):
            st.dataframe(rows, hide_index=True)
            if table.caption:
                st.caption(table.caption)
        return
    if table.title:
        st.markdown(f"**{table.title}**")
    if table.caption:
        st.caption(table.caption)
    if len(rows):
        st.table(rows.set_index(table.head[0]))


def _panels(panels: Panels) -> None:
    left, right = st.columns([3, 1], gap="medium", vertical_alignment="center")
    if panels.squares:
        charts.show(
            charts.kept(figures.curves, panels.squares),
            where=left,
            alt=", ".join(one.title for one in panels.squares),
            key="evaluation-curves",
        )
    if panels.confusion:
        charts.show(
            charts.kept(figures.confusion, panels.confusion),
            where=right,
            alt="What was called malignant and benign, and what was",
            key="evaluation-confusion",
        )
