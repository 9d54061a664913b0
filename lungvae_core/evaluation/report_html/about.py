"""Sections on what was asked and how: title, warning, protocol, data, labels, limits, command, checklist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Any

from lungvae_core import ATTRIBUTION, NOTICE
from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import UNITS, Report
from lungvae_core.evaluation.report_html import parts, svg
from lungvae_core.evaluation.report_html.checklist import NONE, NOT, PARTLY, SOURCES, YES, checklist
from lungvae_core.evaluation.report_words import Row
from lungvae_core.number_text import duration, plural

_STATES = {YES: "yes", PARTLY: "partly", NOT: "not", NONE: "none"}


def top(report: Report) -> str:
    """Title, notice, warning and the report in two sentences."""
    config = (
        report.model.config.get("model", {}) if isinstance(report.model.config.get("model"), dict) else {}
    )
    about = [words.model_name(report)]
    if "prior" in config and "dimensions" in config:
        about.append(f"{config['prior']} prior, {config['dimensions']} dimensions")
    about += [report.task_in_words, f"label rule {report.label_rule}", words.seeds(report)]
    said = f'<span class="notice">{escape(NOTICE)}</span><h1 id="top">{escape(words.title(report))}</h1>'
    said += f'<p class="soft">{escape("; ".join(about))}. {escape(report.created)}</p>'
    said += leak_band(report)
    if report.quick:
        said += (
            '<div class="caution"><b>A quick run, for a look.</b> Fewer epochs and settings than the '
            "preset's; not to be quoted.</div>"
        )
    return f'{said}<p class="verdict" id="summary">{escape(words.verdict(report))}</p>'


def leak_band(report: Report) -> str:
    """The band that nobody can miss, of a report that leaks; nothing of an honest one."""
    if not report.leaks:
        return ""
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in report.leaks)
    return (
        f'<div class="warning" role="alert"><strong>{words.LEAKS}</strong>'
        f"<p>{escape(words.why_leak(report))}</p>"
        f"<ul>{reasons}</ul></div>"
    )


def question(report: Report) -> str:
    """What was asked."""
    return parts.section(
        "asked",
        "What was asked",
        f"<p>How well does the score of a variational autoencoder's codes rank lesions on CT, "
        f"{escape(report.task_in_words)}, in {escape(report.data.name)}, on patients "
        f"{'whose labels were <b>not</b> kept from' if report.leaks else 'who are new to'} the model, and is "
        "that more than the lesion's size alone gives?</p>",
    )


def protocol(report: Report) -> str:
    """The protocol in words, folds, seeds and the settings that were chosen inside."""
    folds = (
        "No folds: the model was trained elsewhere and is not changed."
        if report.protocol == "external"
        else f"{plural(report.folds, 'outer fold')} by patient, {words.seeds(report)}"
        f"{', whose logits are averaged' if len(report.seeds) > 1 else ''}."
    )
    body = f"<p>{parts.sentence(report.protocol_in_words)} {escape(folds)}</p>"
    if report.nodule_rule:
        body += (
            f"<p>From slices to a nodule: <b>{escape(report.nodule_rule)}</b>, "
            f"{parts.sentence(report.nodule_rule_in_words or '', capital=False)} A patient is malignant if "
            "any labelled nodule is.</p>"
        )
    if report.transductive:
        body += (
            "<p>Transductive: the encoder saw the pixels, never the labels, of patients it is tested on.</p>"
            if not report.leaks
            else "<p>The encoder saw the pixels of patients it is tested on.</p>"
        )
    if report.nodule_rules:
        rows = [Row(f"{name}", found.auc, "model") for name, found in report.nodule_rules.items()]
        plot = svg.forest([("", rows)], title="AUC per nodule by the rule from slices to nodule")
        body += (
            f"<h3>Rules from slices to a nodule</h3><figure>{plot}<figcaption>AUC per nodule. The report's "
            "nodule figures use the rule that is named above, whichever of these came out best."
            "</figcaption></figure>"
        )
    if report.settings_chosen:
        body += _chosen(report.settings_chosen)
    return parts.section("protocol", "Protocol", body)


def data(report: Report) -> str:
    """The data and the flow of numbers to what was judged."""
    part, labelled = report.data, report.data.labelled
    malignant = labelled.malignant_nodules
    boxes = [
        (
            "In the data set",
            [f"{part.patients:,} patients", f"{part.nodules:,} nodules", f"{part.slices:,} slices"],
        ),
        (
            f"Labelled under {report.label_rule}",
            [
                f"{labelled.patients:,} patients",
                f"{labelled.nodules:,} nodules",
                f"{labelled.slices:,} slices",
                f"left out: {part.nodules - labelled.nodules:,} nodules",
            ],
        ),
        ("Malignant", [f"{malignant:,} nodules", parts.share(malignant, labelled.nodules)]),
        (
            "Benign" if report.task == "mvb" else "The rest",
            [
                f"{labelled.nodules - malignant:,} nodules",
                parts.share(labelled.nodules - malignant, labelled.nodules),
            ],
        ),
    ]
    flow = "<i>→</i>".join(
        f"<div><b>{escape(name)}</b>{''.join(f'<span>{escape(line)}</span>' for line in lines)}</div>"
        for name, lines in boxes[:2]
    )
    flow += "<i>→</i>" + "".join(
        f"<div><b>{escape(name)}</b>{''.join(f'<span>{escape(line)}</span>' for line in lines)}</div>"
        for name, lines in boxes[2:]
    )
    tested = "; ".join(
        f"{plural(figures.count, unit)} ({figures.malignant:,} malignant)"
        for unit in UNITS
        if (figures := report.units.of(unit)) is not None
    )
    counted = "" if part.counted is None else f" {escape(part.counted.in_words())}"
    return parts.section(
        "data",
        "Data and cohort",
        f"<p>{parts.sentence(f'{part.name}. {part.source}' if part.source else part.name)} Content hash "
        f'<code>{escape(part.content_hash[:16] or "not known")}</code>.</p><div class="flow">{flow}</div>'
        f"<p>Tested, each exactly once: {escape(tested)}.{counted}</p>",
    )


def labels(report: Report) -> str:
    """Task and label rule."""
    return parts.section(
        "labels",
        "Task and label rule",
        f"<p>Task <b>{escape(report.task)}</b>: {escape(report.task_in_words)}. Label rule "
        f"<b>{escape(report.label_rule)}</b>: {parts.sentence(report.label_rule_in_words, capital=False)} "
        "Rules move AUCs by some 0.04, so that figures of different rules cannot be compared. Labels are "
        "readers' opinion.</p>",
    )


def limits(report: Report) -> str:
    """What the figures do not mean."""
    listed = "".join(f"<li>{escape(said)}</li>" for said in words.limits(report))
    return parts.section(
        "limits", "What this does not mean", f"<p><b>{escape(NOTICE)}</b></p><ul>{listed}</ul>"
    )


def reproduce(report: Report) -> str:
    """Command, versions, hardware, time and settings."""
    took = "" if report.seconds is None else f", {duration(report.seconds)}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    settings = json.dumps(report.model.config, indent=1, ensure_ascii=False)
    return parts.section(
        "reproduce",
        "How to do it again",
        f"<pre>{escape(report.command or 'The command was not recorded.')}</pre>"
        f"<p>{escape(report.hardware or 'Hardware not recorded')}{took}. {escape(versions)}. Data with "
        f"content hash <code>{escape(report.data.content_hash or 'not known')}</code>; "
        f"{escape(words.seeds(report))}. "
        "This file is made from the report's JSON: "
        "<code>lungvae report report.json --out report.html</code></p>"
        f"<h3>Settings of the model</h3><pre>{escape(settings)}</pre>",
    )


def checked(report: Report) -> str:
    """The checklist of TRIPOD+AI and CLAIM, in their spirit."""
    rows = ""
    for heading, items in checklist(report):
        rows += f'<tr><th colspan="4">{escape(heading)}</th></tr>'
        for item in items:
            answer = escape(item.said)
            if item.where and item.state in (YES, PARTLY):
                answer = f'<a href="#{item.where}">above</a>{": " if answer else ""}{answer}'
            rows += (
                f"<tr><td>{escape(item.asked)}</td><td><span class='state {_STATES[item.state]}'>"
                f"{item.state}</span></td><td>{answer}</td><td><small>{escape(item.guides)}</small></td></tr>"
            )
    listed = "; ".join(f"{name} ({source})" for name, source in SOURCES)
    return parts.section(
        "checklist",
        "Checklist",
        f"<p>In the spirit of {escape(listed)}, in our own words; the guidelines themselves are what counts. "
        "What was not done is said so.</p><div class='wide'><table><thead><tr><th>Asked</th><th></th>"
        f"<th>Where, or why not</th><th>By</th></tr></thead><tbody>{rows}</tbody></table></div>",
    )


def attribution(report: Report) -> str:
    """Whose data these are."""
    whose = report.data.attribution or ATTRIBUTION
    return (
        f'<footer id="attribution"><p>Data: {escape(whose)}. The report holds figures only: no image and no '
        f"patient's record.</p><p><b>{escape(NOTICE)}</b></p></footer>"
    )


def _chosen(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = [[parts.short(row.get(name)) for name in names] for row in rows]
    return "<h3>What was chosen, and on whom</h3>" + parts.table(
        [name.replace("_", " ") for name in names], table
    )
