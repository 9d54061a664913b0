"""The sections on question and method: question, protocol, data, labels, limits, command, checklist."""

from __future__ import annotations

import json
from dataclasses import replace

from lungvae_core import NOTICE
from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.report import UNITS, Report
from lungvae_core.evaluation.report_view.blocks import Block, Bullets, Checklist, Code, Flow, Table, Text
from lungvae_core.evaluation.report_view.checklist import SOURCES, checklist
from lungvae_core.evaluation.report_view.results import short
from lungvae_core.number_text import DASH, duration, plural


def question(report: Report, unit: str | None) -> list[Block]:
    """What was asked."""
    patients = "whose labels were **not** kept from" if report.leaks else "who are new to"
    return [
        Text(
            "How well does the score of a variational autoencoder's codes rank lesions on CT, "
            f"{report.task_in_words}, in {report.data.name}, on patients {patients} the model, and is that "
            "more than the lesion's size alone gives?"
        )
    ]


def protocol(report: Report, unit: str | None) -> list[Block]:
    """The protocol in words, folds, seeds and the settings chosen inside the folds."""
    folds = (
        f"{plural(report.folds, 'outer fold')} by patient, {report_words.seeds(report)}"
        f"{', whose logits are averaged' if len(report.seeds) > 1 else ''}."
        if report.folds
        else "No folds: the model was trained elsewhere and is not changed."
    )
    blocks: list[Block] = [Text(f"{_sentence(report.protocol_in_words)} {folds}")]
    if report.nodule_rule:
        rule = _sentence(report.nodule_rule_in_words or "", capital=False)
        text = f"From slices to a nodule: **{report.nodule_rule}**, {rule}"
        blocks.append(Text(f"{text} A patient is malignant if any labelled nodule is."))
    if report.transductive:
        saw = "The" if report.leaks else "Transductive: the"
        never = "" if report.leaks else ", never the labels,"
        blocks.append(Text(f"{saw} encoder saw the pixels{never} of patients it is tested on."))
    rows = report.settings_chosen or []
    if names := list(dict.fromkeys(name for row in rows for name in row)):
        head = [name.replace("_", " ") for name in names]
        lines = [[short(row.get(name)) for name in names] for row in rows]
        blocks.append(Table(head, lines, title="What was chosen, and on whom"))
    return blocks


def data(report: Report, unit: str | None) -> list[Block]:
    """The data and how many of them were judged."""
    part = report.data
    tested = "; ".join(
        f"{plural(own.count, one)} ({own.malignant:,} malignant)"
        for one in UNITS
        if (own := report.units.of(one)) is not None
    )
    counted = "" if part.counted is None else f" {part.counted.in_words()}"
    name = _sentence(f"{part.name}. {part.source}" if part.source else part.name)
    return [
        Text(f"{name} Content hash `{part.content_hash[:16] or 'not known'}`."),
        *_flow(report),
        Text(f"Tested, each exactly once: {tested}.{counted}"),
    ]


def _flow(report: Report) -> list[Block]:
    """How many of the data set have a label, and which; empty if an older report did not count them."""
    part, labelled = report.data, report.data.labelled
    if labelled is None or part.nodules is None:
        return []
    malignant, whole = labelled.malignant_nodules, labelled.nodules

    def share(count: int) -> list[str]:
        return [f"{count:,} nodules", f"{count / whole:.1%}" if whole else DASH]

    every, kept = (
        [f"{getattr(rows, unit):,} {unit}" for unit in ("patients", "nodules", "slices")]
        for rows in (part, labelled)
    )
    boxes = [
        ("In the data set", every),
        (f"Labelled under {report.label_rule}", [*kept, f"left out: {part.nodules - whole:,} nodules"]),
        ("Malignant", share(malignant)),
        ("Benign" if report.task == "mvb" else "The rest", share(whole - malignant)),
    ]
    return [Flow(boxes)]


def labels(report: Report, unit: str | None) -> list[Block]:
    """Task and label rule."""
    return [
        Text(
            f"Task **{report.task}**: {report.task_in_words}. Label rule **{report.label_rule}**: "
            f"{_sentence(report.label_rule_in_words, capital=False)} Rules move AUCs by some 0.04, so that "
            "figures of different rules cannot be compared. Labels are readers' opinion."
        )
    ]


def limits(report: Report, unit: str | None) -> list[Block]:
    """What the figures do not mean."""
    return [Text(f"**{NOTICE}**"), Bullets(report_words.limits(report))]


def reproduce(report: Report, unit: str | None) -> list[Block]:
    """Command, versions, hardware, time and settings."""
    took = "" if report.seconds is None else f", {duration(report.seconds)}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    settings = json.dumps(report.model.config, indent=1, ensure_ascii=False)
    return [
        Code(report.command or "The command was not recorded.", "bash"),
        Text(
            f"{report.hardware or 'Hardware not recorded'}{took}. {versions}. {report.created} Data with "
            f"content hash `{report.data.content_hash or 'not known'}`; {report_words.seeds(report)}. The "
            "HTML file is made from the report's JSON: `lungvae report report.json --out report.html`"
        ),
        Code(settings, "json", title="Settings of the model"),
    ]


def checked(report: Report, shown: set[str]) -> list[Block]:
    """The checklist in the spirit of TRIPOD+AI and CLAIM, with links to the sections `shown`."""
    sources = "; ".join(f"{name} ({source})" for name, source in SOURCES)
    text = (
        f"In the spirit of {sources}, in our own words; the guidelines themselves are what counts. What was "
        "not done is said so."
    )
    groups = [
        (heading, [item if item.where in shown else replace(item, where="") for item in items])
        for heading, items in checklist(report)
    ]
    return [Text(text), Checklist(groups)]


def _sentence(text: str, *, capital: bool = True) -> str:
    """The text as a sentence with a full stop."""
    text = text.strip().rstrip(".")
    if capital and text[:1].islower():
        text = text[:1].upper() + text[1:]
    return f"{text}." if text else text
