"""The sections of figures: each takes a report and gives HTML, or nothing where it has no such part."""

from __future__ import annotations

from html import escape
from typing import Any

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import FIGURES, UNITS, Interval, Report, SomeFigures, UnitFigures
from lungvae_core.evaluation.report_html import parts, svg
from lungvae_core.evaluation.report_words import Row
from lungvae_core.number_text import DASH, number

_BESIDE = ("auc", "balanced_accuracy", "sensitivity", "specificity", "average_precision", "brier", "ece")
KINDS = (
    ("model", "the model"),
    ("size", "size alone"),
    ("readers", "needs readers' ratings"),
    ("pixels", "from pixels, without a latent space of ours"),
)


def forest(report: Report) -> str:
    """AUCs of the model with every baseline beside it."""
    groups = [(f"Per {unit}", words.forest(report, unit)) for unit in reversed(UNITS)]
    kinds = {row.kind for _, rows in groups for row in rows}
    plot = svg.forest(groups, title="AUC of the model and of baselines, with 95 % intervals")
    if not plot:
        return ""
    without = "" if report.baselines else " No baseline was run, so nothing says what size alone gives."
    return parts.section(
        "forest",
        "The model beside simpler ways",
        f'<div class="keys">{svg.legend([kind for kind in KINDS if kind[0] in kinds])}</div>'
        f"<figure>{plot}<figcaption>AUC and its 95 % interval from drawing whole patients again. All on the "
        f"same folds and the same lesions.{without}</figcaption></figure>",
    )


def figures(report: Report) -> str:
    """Every figure of every unit in a table, and the baselines' figures."""
    found = [(unit, report.units.of(unit)) for unit in UNITS if report.units.of(unit) is not None]
    head = ["Figure", *(f"Per {unit}" for unit, _ in found)]
    rows = []
    for name in FIGURES:
        title, higher, about = words.FIGURE_WORDS[name]
        cells = [words.figure(figures.figure(name)) for _, figures in found if figures is not None]
        rows.append([f"{title}\n{about}; {'higher' if higher else 'lower'} is better", *cells])
    counts = [
        f"{figures.count:,}, {figures.malignant:,} malignant" for _, figures in found if figures is not None
    ]
    rows.append(["Tested", *counts])
    body = parts.table(head, rows, caption="Value (95 % interval from drawing whole patients again).")
    if report.baselines:
        body += _baselines(report)
    return parts.section("figures", "All figures", body)


def curves(report: Report) -> str:
    """ROC, precision-recall, reliability and confusion of each unit."""
    body = ""
    for unit in UNITS:
        found = report.units.of(unit)
        if found is not None and (found.curves is not None or found.confusion is not None):
            body += f'<h3>Per {unit}</h3><div class="panels">{"".join(_panels(unit, found))}</div>'
    if not body:
        return ""
    return parts.section(
        "curves",
        "Curves and confusion",
        "<p>Dashed: what chance gives (for reliability: what perfect calibration gives). Probabilities and "
        f"thresholds are as the protocol settled them.</p>{body}",
    )


def calibration(report: Report) -> str:
    """Calibration before and after."""
    part = report.calibration
    rows = []
    for unit in UNITS:
        found = None if part is None else getattr(part, unit)
        if found is not None:
            rows.append(
                [
                    f"Per {unit}",
                    number(found.before),
                    number(found.after),
                    number(found.temperature, 2),
                    number(found.bias, 2),
                ]
            )
    if not rows:
        return ""
    return parts.section(
        "calibration",
        "Calibration and threshold",
        f"<p>Probability = sigmoid(logit / temperature + bias). "
        f"{escape(words.threshold_from(report))}</p>"
        + parts.table(["Unit", "ECE before", "ECE after", "Temperature, mean", "Bias, mean"], rows, numbers=1)
        + '<p class="soft">ECE: expected calibration error over ten bins of equal numbers; 0 is perfect. The '
        "reliability plots above are after calibration.</p>",
    )


def comparisons(report: Report) -> str:
    """The model against baselines on the same lesions, in sentences and as a forest of differences."""
    found = words.comparisons(report)
    if not found:
        return ""
    rows = [
        Row(
            f"Less {words.baseline_name(comparison.baseline)}"[:34],
            Interval(value=part.difference, low=part.low, high=part.high),
            "model",
            note=f"per {comparison.unit}",
        )
        for _, comparison in found
        if (part := comparison.paired or comparison.delong) is not None
    ]
    listed = "".join(
        f"<li>{escape(name[0].upper() + name[1:])}: {escape(words.compared(comparison))}</li>"
        for name, comparison in found
    )
    table = [
        [
            f"{words.baseline_name(comparison.baseline)}, per {comparison.unit}",
            *(_difference(part) for part in (comparison.paired, comparison.delong)),
        ]
        for _, comparison in found
    ]
    plot = svg.forest(
        [("", rows)], title="Differences of AUC", axis="AUC of the model less AUC of the baseline", zero=0.0
    )
    return parts.section(
        "comparisons",
        "Compared with the baselines",
        f"<ul>{listed}</ul><figure>{plot}<figcaption>Right of the line the model is ahead. 95 % intervals "
        "from drawing the same patients for both.</figcaption></figure>"
        + parts.table(["Baseline", "Paired bootstrap over patients", "DeLong"], table)
        + '<p class="soft">DeLong takes lesions for independent, which lesions of one patient are not; the '
        "paired bootstrap is what counts. Several comparisons, none corrected for their number.</p>",
    )


def size_matched(report: Report) -> str:
    """The AUC among lesions of like size."""
    found = {unit: part for unit, part in (report.size_matched or {}).items() if part is not None}
    if not found:
        return ""
    said = "".join(
        f"<li>Per {escape(unit)}: AUC <b>{words.figure(part.auc)}</b>, {part.pairs:,} pairs"
        f"{f', {escape(part.what)}' if part.what else ''}.</li>"
        for unit, part in found.items()
    )
    return parts.section(
        "size-matched",
        "At equal size",
        "<p>Malignant and benign lesions of like size, so that size alone gives nothing (0.5):</p>"
        f"<ul>{said}</ul>",
    )


def subgroups(report: Report) -> str:
    """AUC, sensitivity and specificity by size, texture, readers, thickness and scanner."""
    if not report.subgroups:
        return ""
    groups, rows = [], []
    for name, members in report.subgroups.items():
        heading = words.SUBGROUP_WORDS.get(name, name.replace("_", " "))
        groups.append(
            (heading, [Row(f"{one.group} (n {one.count:,})", one.auc, "model") for one in members if one.auc])
        )
        rows += [
            [
                heading if one is members[0] else "",
                one.group,
                f"{one.count:,}",
                f"{one.malignant:,}",
                f"{one.patients:,}",
                words.figure(one.auc),
                words.figure(one.sensitivity),
                words.figure(one.specificity),
            ]
            for one in members
        ]
    plot = svg.forest(groups, title="AUC by subgroup")
    return parts.section(
        "subgroups",
        "Subgroups",
        f"<figure>{plot}<figcaption>AUC within each group. A dash in the table: too few of a class. Groups "
        "differ in more than their name; a difference is no cause.</figcaption></figure>"
        + parts.table(
            ["", "Group", "n", "Malignant", "Patients", "AUC", "Sensitivity", "Specificity"], rows, numbers=2
        ),
    )


def spread(report: Report) -> str:
    """Folds and seeds."""
    folds = [
        (f"Per {unit}", figures.auc_by_fold)
        for unit in UNITS
        if (figures := report.units.of(unit)) is not None and figures.auc_by_fold
    ]
    seeds = [
        (f"Per {unit}", [getattr(row, unit) for row in report.per_seed])
        for unit in UNITS
        if report.per_seed and any(getattr(row, unit) is not None for row in report.per_seed)
    ]
    body = ""
    if folds:
        plot = svg.strip(folds, title="AUC by fold", axis="AUC, a dot a fold")
        body += f"<h3>Folds</h3><figure>{plot}</figure>"
    if seeds and report.per_seed:
        listed = "; ".join(f"{name.lower()} {words.spread(report.per_seed, name[4:])}" for name, _ in seeds)
        plot = svg.strip(seeds, title="AUC by seed", axis="AUC, a dot a seed")
        body += f"<h3>Seeds</h3><figure>{plot}<figcaption>Mean AUC: {escape(listed)}.</figcaption></figure>"
    if report.stages:
        body += _stages(report)
    if not body:
        return ""
    if len(report.seeds) < 2:
        body += "<p>One seed: nothing is known of how far another training would differ.</p>"
    return parts.section("spread", "How much folds, seeds and labels move it", body)


def _titled(name: str) -> str:
    """A figure of the reconstruction with its unit."""
    title, unit, _ = words.RECONSTRUCTION_WORDS[name]
    return f"{title}, {unit}" if unit else title


def _digits(name: str) -> int:
    return 1 if words.RECONSTRUCTION_WORDS[name][1] else 4


def reconstruction(report: Report) -> str:
    """How well held-out slices are drawn again."""
    part = report.reconstruction
    if part is None:
        return ""
    low, high = (number(end, 0) for end in part.window_hu)
    inside = part.inside_mask or {}
    rows = [
        [
            _titled(name),
            words.figure(part.whole.get(name), _digits(name)),
            words.figure(inside.get(name), _digits(name)),
            f"{better} is better",
        ]
        for name, (_, _, better) in words.RECONSTRUCTION_WORDS.items()
        if name in part.whole or name in inside
    ]
    body = (
        f"<p>Slices of held-out patients only: {part.slices:,} slices of {part.patients:,} patients, on 0..1 "
        f"of the window {low} to {high} HU unless a unit stands beside the figure. Another window "
        f"gives other figures.{escape(words.redrawn(part))}</p>"
        + parts.table(["", "Whole crop", "Inside the mask", ""], rows)
    )
    if part.by_size:
        bands = [(band, band.figures()) for band in part.by_size]
        # Inside the mask, the figures that there are of nothing else.
        keys = [(name, name) for name in words.RECONSTRUCTION_WORDS]
        keys += [(name, f"inside_{name}") for name in ("margin", "histogram_hu")]
        keys = [(name, key) for name, key in keys if any(key in figures for _, figures in bands)]
        lines = [
            [
                band.band,
                f"{band.slices:,}",
                *(words.figure(figures.get(key), _digits(name)) for name, key in keys),
            ]
            for band, figures in bands
        ]
        heads = ["Diameter", "Slices", *(_titled(name) for name, _ in keys)]
        body += "<h3>By size of the lesion</h3>" + parts.table(heads, lines)
    if part.spectrum:
        heads = ["Cycles a pixel", "Power of what is drawn, share of the slices' own"]
        lines = [
            [f"{band.from_cycles:.4g} to {band.to_cycles:.4g}", words.figure(band, 3)]
            for band in part.spectrum
        ]
        body += "<h3>By size of the detail</h3>" + parts.table(heads, lines)
    return parts.section("reconstruction", "Reconstruction", body)


def leak(report: Report) -> str:
    """Where the paper's figure comes from, step by step."""
    if report.leak is None or not report.leak.steps:
        return ""
    plots = ""
    for figure, title in words.LEAK_FIGURES.items():
        rows = [(step, value, gain) for step, _, value, gain in words.leak_steps(report, figure)]
        plots += svg.steps(rows, title=f"The leak, step by step: {title}", axis=title)
    table = []
    for found in report.leak.steps:
        interval = Interval(value=found.slice, low=found.low, high=found.high)
        table.append(
            [
                found.step,
                found.words,
                words.figure(interval),
                number(found.nodule),
                number(found.accuracy),
            ]
        )
    return parts.section(
        "leak",
        "What the leak is worth",
        f"<p>{escape(words.leak_total(report))}</p><figure>{plots}<figcaption>Blue: the honest protocol. "
        "Orange: what a step adds. Some steps move the accuracy alone.</figcaption></figure>"
        + parts.table(["Step", "What it is", "AUC per slice", "AUC per nodule", "Accuracy"], table),
    )


def external(report: Report) -> str:
    """What only other data can say."""
    part = report.external
    if part is None:
        return ""
    body = "<p>The model, its calibration and its threshold are as they were; nothing was fitted here.</p>"
    if part.calibration is not None:
        body += parts.table(
            ["", "Value (95 % interval)", "Perfect is"],
            [
                ["Calibration slope", words.figure(part.calibration.slope, 2), "1"],
                ["Calibration intercept", words.figure(part.calibration.intercept, 2), "0"],
            ],
        )
    if part.sensitivity_at_specificity:
        rows = [
            [f"{row.specificity:.2f}", words.figure(row.sensitivity), number(row.threshold)]
            for row in part.sensitivity_at_specificity
        ]
        body += "<h3>Sensitivity where the specificity is fixed</h3>" + parts.table(
            ["Specificity", "Sensitivity", "Threshold"], rows
        )
    if part.code_shift:
        rows = [[name.replace("_", " "), parts.short(value)] for name, value in part.code_shift.items()]
        body += "<h3>How far the codes lie from those it was trained on</h3>" + parts.table(
            ["", "Value"], rows
        )
    return parts.section("external", "On other data", body)


def diagnosis(report: Report) -> str:
    """Opinion and diagnosis."""
    part = report.diagnosis
    if part is None:
        return ""
    body = f"<p>{escape(words.diagnosis_about(part))}</p>"
    for group in part.groups:
        body += parts.table(
            ["AUC (95 % interval)", "Against the diagnosis", "Against the readers' opinion"],
            [
                [one.title, words.figure(one.diagnosis, 2), words.figure(one.opinion, 2)]
                for one in group.scores
            ],
            caption=words.diagnosis_group(group),
        )
    return parts.section("diagnosis", "Opinion and diagnosis", body)


def _panels(unit: str, found: UnitFigures) -> list[str]:
    panels = []
    if found.curves is not None:
        curves, prevalence = found.curves, found.malignant / max(found.count, 1)
        roc = svg.square_curve(
            curves.roc.fpr,
            curves.roc.tpr,
            title=f"ROC per {unit}",
            across="1 − specificity",
            up="sensitivity",
            note=f"AUC {number(found.auc.value)}",
        )
        pr = svg.square_curve(
            curves.pr.recall,
            curves.pr.precision,
            title=f"Precision and recall per {unit}",
            across="recall",
            up="precision",
            chance=prevalence,
            note=_note("AP", found.average_precision),
        )
        panels += [_panel("ROC", roc), _panel("Precision and recall", pr)]
        if curves.reliability:
            plot = svg.reliability(
                curves.reliability, title=f"Reliability per {unit}", note=_note("ECE", found.ece)
            )
            panels.append(_panel("Reliability", plot))
    if found.confusion is not None:
        counts = found.confusion
        panels.append(
            _panel(
                "At the threshold",
                "<table><tr><th></th><th>called malignant</th><th>called benign</th></tr>"
                + _counts("is malignant", ("right", counts.tp), ("wrong", counts.fn))
                + _counts("is benign", ("wrong", counts.fp), ("right", counts.tn))
                + "</table>",
            )
        )
    return panels


def _counts(name: str, *cells: tuple[str, int]) -> str:
    """A line of the confusion matrix: counts and their shares of the line."""
    whole = sum(count for _, count in cells)
    drawn = "".join(
        f"<td class='{kind}'><b>{count:,}</b>{parts.share(count, whole)}</td>" for kind, count in cells
    )
    return f"<tr><th>{name}</th>{drawn}</tr>"


def _panel(name: str, body: str) -> str:
    return f'<figure class="panel"><b>{escape(name)}</b>{body}</figure>'


def _note(name: str, value: Interval | None) -> str:
    return f"{name} {number(value.value)}" if value is not None else ""


def _baselines(report: Report) -> str:
    """A table a unit of the model and its baselines; a page is not wide enough for all figures."""
    names = [name for name in _BESIDE if any(_has(report, unit, name) for unit in UNITS)]
    head = ["", *(words.FIGURE_WORDS[name][0] for name in names), "Needs readers"]
    body = ""
    for unit in ("nodule", "slice", "patient"):
        own = report.units.of(unit)
        rows = [
            [words.baseline_name(name), *(_beside(found, one) for one in names), _yes(baseline.uses_readers)]
            for name, baseline in words.ordered_baselines(report).items()
            if (found := baseline.of(unit)) is not None
        ]
        if own is not None and rows:
            rows = [["The model", *(_beside(own, name) for name in names), "no"], *rows]
            body += f"<h3>Beside the baselines, per {unit}</h3>{parts.table(head, rows)}"
    listed = "".join(
        f"<li><b>{escape(words.baseline_name(name))}</b>: {escape(baseline.words)}.</li>"
        for name, baseline in words.ordered_baselines(report).items()
    )
    said = "<p class='soft'>Their other figures and intervals are in the JSON.</p>"
    return f"{body}{said}<ul class='soft'>{listed}</ul>"


def _yes(whether: bool) -> str:
    return "yes" if whether else "no"


def _beside(figures: SomeFigures, name: str) -> str:
    """The AUC with its interval; of other figures the value, for the table would be too wide."""
    found = figures.figure(name)
    return words.figure(found) if name == "auc" or found is None else number(found.value)


def _has(report: Report, unit: str, name: str) -> bool:
    return any(
        found.figure(name) is not None
        for baseline in (report.baselines or {}).values()
        if (found := baseline.of(unit)) is not None
    )


def _stages(report: Report) -> str:
    groups = []
    for unit in UNITS:
        rows = [
            Row(title, found.auc, "pixels" if name == "vae" else "model")
            for name, title in words.STAGE_WORDS.items()
            if (stage := getattr(report.stages, name)) is not None
            and (found := getattr(stage, unit)) is not None
        ]
        groups.append((f"Per {unit}", rows))
    plot = svg.forest(groups, title="Before and after the joint phase")
    return f"<h3>Before and after labels</h3><figure>{plot}<figcaption>The same folds.</figcaption></figure>"


def _difference(part: Any) -> str:
    if part is None or part.difference is None:
        return DASH
    said = words.figure(Interval(value=part.difference, low=part.low, high=part.high))
    return f"{said}; {words.p_words(part.p)}" if part.p is not None else said
