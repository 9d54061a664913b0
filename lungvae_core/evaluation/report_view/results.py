"""The sections of figures. Each takes a report and the unit to show (None for all), and returns no blocks if
the report lacks that part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from lungvae_core.evaluation import report_words
from lungvae_core.evaluation.report import (
    FIGURES,
    UNITS,
    Confusion,
    Difference,
    Interval,
    ReconstructionPart,
    Report,
    SomeFigures,
    UnitFigures,
)
from lungvae_core.evaluation.report_view.blocks import (
    Beside,
    Block,
    Bullets,
    Cell,
    Dots,
    Forest,
    Panels,
    Square,
    Step,
    Steps,
    Strip,
    Table,
    Text,
    note,
)
from lungvae_core.evaluation.report_words import Row, baseline_name, figure
from lungvae_core.number_text import DASH, interval, number, plural, with_interval

_BESIDE = ("auc", "balanced_accuracy", "sensitivity", "specificity", "average_precision", "brier", "ece")


def forest(report: Report, unit: str | None) -> list[Block]:
    """AUCs of the model and, beside it, of every baseline on the same folds."""
    model = f"Model ({report_words.model_name(report)})"
    rows = {one: report_words.forest(report, one, model) for one in reversed(UNITS)}
    units = list(rows) if unit is None else [unit]
    # No number is shown without its size baseline: patients have none, so nodules are shown below.
    if unit not in (None, "nodule") and len(rows[units[0]]) < 2 <= len(rows["nodule"]):
        units += ["nodule"]
    groups = [(f"Per {one}" if len(units) > 1 else "", rows[one]) for one in units]
    title = "AUC of the model and of every baseline, with 95 % intervals"
    blocks = _forest("forest", title, groups, legend=True)
    text = (
        "AUC: how often a malignant one scores above a benign one; 0.5 is chance. Intervals come from "
        "drawing whole patients again; all are on the same folds and the same lesions."
    )
    baselines = report_words.ordered_baselines(report)
    readers = [baseline_name(name) for name, one in baselines.items() if one.uses_readers]
    if not baselines:
        text += " **No baseline was run, so nothing says what size alone gives.**"
    elif readers:
        text += f" These need a reader at prediction time: {', '.join(readers)}. The model does not."
    return [*blocks, note(text)] if blocks else []


def leak(report: Report, unit: str | None) -> list[Block]:
    """Where the paper's figure comes from, step by step."""
    if report.leak is None or not report.leak.steps:
        return []
    drawn: list[list[Block]] = []
    for name, title in report_words.LEAK_FIGURES.items():
        steps = report_words.leak_steps(report, name)
        bars = [Step(step, about, value, gain) for step, about, value, gain in steps if value is not None]
        drawn.append([Steps(f"leak-{name}", f"The leak, step by step: {title}", bars, title)] if bars else [])
    rows = [
        [
            one.step,
            one.words,
            with_interval(one.slice, one.low, one.high),
            *map(number, (one.nodule, one.accuracy)),
        ]
        for one in report.leak.steps
    ]
    return [
        Text(report_words.leak_total(report)),
        Beside(*drawn),
        note(
            "Blue: the honest protocol with the same settings. Orange: what each liberty adds; some move the "
            "accuracy alone."
        ),
        Table(["Step", "What it is", "AUC per slice", "AUC per nodule", "Accuracy"], rows),
    ]


def figures(report: Report, unit: str | None) -> list[Block]:
    """Every figure with its interval in a table of all units, and the baselines' figures."""
    shown = unit or report_words.main_unit(report)
    own = None if shown is None else report.units.of(shown)
    if own is None:
        return []
    units = {one: there for one in UNITS if (there := report.units.of(one)) is not None}
    groups: dict[bool, list[Row]] = {True: [], False: []}
    rows: list[list[str]] = []
    for name in FIGURES:
        values = [there.figure(name) for there in units.values()]
        if not any(values):
            continue
        (title, about), higher = report_words.FIGURE_WORDS[name], name not in report_words.LOWER_IS_BETTER
        rows.append([title, *map(figure, values), f"{about}; {'higher' if higher else 'lower'} is better"])
        if (value := own.figure(name)) is not None:
            groups[higher].append(Row(title, value, "model" if higher else "size"))
    tested = "; ".join(
        f"{plural(there.count, one)}, {there.malignant:,} malignant" for one, there in units.items()
    )
    return [
        *_forest(
            "figures",
            f"Every figure per {shown} with its 95 % interval; the table has the numbers",
            [("Higher is better", groups[True]), ("Lower is better", groups[False])],
            axis=f"0 to 1, per {shown}",
            limits=(0.0, 1.0),
        ),
        Table(
            ["Figure", *(f"Per {one}" for one in units), "What it is"],
            rows,
            title="All units as a table",
            caption=f"Value (95 % interval from drawing whole patients again). Tested: {tested}.",
            folded=True,
        ),
        *_baselines(report),
    ]


def _baselines(report: Report) -> list[Block]:
    """One table per unit of the model and its baselines, which have too many figures for one table."""
    baselines = report_words.ordered_baselines(report)
    parts = {unit: {name: one.of(unit) for name, one in baselines.items()} for unit in UNITS}
    every = [part for of_unit in parts.values() for part in of_unit.values() if part is not None]
    names = [name for name in _BESIDE if any(part.figure(name) is not None for part in every)]
    head = ["", *(report_words.FIGURE_WORDS[name][0] for name in names), "Needs readers"]
    blocks: list[Block] = []
    for unit in ("nodule", "slice", "patient"):
        own = report.units.of(unit)
        rows = [
            [baseline_name(name), *_beside(part, names), "yes" if baselines[name].uses_readers else "no"]
            for name, part in parts[unit].items()
            if part is not None
        ]
        if own is not None and rows:
            rows = [["The model", *_beside(own, names), "no"], *rows]
            blocks.append(Table(head, rows, title=f"Beside the baselines, per {unit}", folded=True))
    if baselines:
        about = [f"**{baseline_name(name)}**: {one.words}." for name, one in baselines.items()]
        blocks.append(note("The baselines' other figures and intervals are in the JSON."))
        blocks.append(Bullets(about, soft=True))
    return blocks


def _beside(part: SomeFigures, names: list[str]) -> list[str]:
    """The AUC with its interval, other figures as values only, since the table would be too wide."""
    values = {name: part.figure(name) for name in names}
    return [
        figure(value) if name == "auc" or value is None else number(value.value)
        for name, value in values.items()
    ]


def curves(report: Report, unit: str | None) -> list[Block]:
    """ROC, precision-recall and reliability curves, and the confusion matrix at the threshold."""
    blocks: list[Block] = []
    for one in UNITS if unit is None else (unit,):
        own = report.units.of(one)
        if own is not None and (own.curves is not None or own.confusion is not None):
            blocks.append(Panels(one, "" if unit else f"Per {one}", _squares(own), _confusion(own.confusion)))
    if blocks:
        text = "Dashed: chance; for reliability, perfect calibration."
        blocks.append(note(f"{text} {report.description.threshold}"))
    return blocks


def _squares(own: UnitFigures) -> list[Square]:
    if own.curves is None:
        return []
    roc, pr, bins = own.curves.roc, own.curves.pr, own.curves.reliability
    chance = (own.malignant / max(own.count, 1),) * 2
    auc, ap, ece = (
        "" if value is None else f"{name} {number(value.value)}"
        for name, value in (("AUC", own.auc), ("AP", own.average_precision), ("ECE", own.ece))
    )
    squares = [
        Square("ROC", auc, "1 − specificity", "sensitivity", roc.fpr, roc.tpr),
        Square("Precision and recall", ap, "recall", "precision", pr.recall, pr.precision, chance),
    ]
    if bins:
        probabilities, shares = [one.mean_probability for one in bins], [one.share for one in bins]
        squares.append(
            Square(
                "Reliability", ece, "probability said", "share malignant", probabilities, shares, bins=bins
            )
        )
    return squares


def _confusion(counts: Confusion | None) -> list[tuple[str, list[Cell]]]:
    if counts is None:
        return []

    def cell(count: int, other: int, right: bool) -> Cell:
        return Cell(count, count / (count + other) if count + other else None, right)

    return [
        ("is malignant", [cell(counts.tp, counts.fn, True), cell(counts.fn, counts.tp, False)]),
        ("is benign", [cell(counts.fp, counts.tn, False), cell(counts.tn, counts.fp, True)]),
    ]


def comparisons(report: Report, unit: str | None) -> list[Block]:
    """The model against the baselines on the same lesions, in sentences and as differences with intervals."""
    pairs = report_words.comparisons(report)
    rows: dict[str, list[Row]] = {}
    for _, one in pairs:
        part = one.paired or one.delong
        if part is not None:
            kind = report_words.kind_of(report, one.baseline)
            row = Row(f"less {baseline_name(one.baseline)}", part.interval, kind)
            rows.setdefault(f"Per {one.unit}", []).append(row)
    blocks: list[Block] = [
        Bullets([f"{name[0].upper()}{name[1:]}: {report_words.compared(one)}" for name, one in pairs]),
        *_forest(
            "differences",
            "The model's AUC less each baseline's, with 95 % intervals",
            rows.items(),
            axis="AUC of the model less AUC of the baseline",
            zero=0.0,
        ),
        note(
            "Differences of AUC on the same lesions, 95 % intervals by drawing the same patients for both. "
            "Right of the line the model is ahead. No interval is corrected for the number of comparisons."
        ),
        Table(
            ["Baseline", "Paired bootstrap over patients", "DeLong"],
            [
                [f"{baseline_name(one.baseline)}, per {one.unit}", _with_p(one.paired), _with_p(one.delong)]
                for _, one in pairs
            ],
            caption="DeLong takes lesions for independent, which lesions of one patient are not; the paired "
            "bootstrap is what counts.",
            folded=True,
        ),
    ]
    return blocks if pairs else []


def _with_p(part: Difference | None) -> str:
    if part is None or part.difference is None:
        return DASH
    text = figure(part.interval)
    return text if part.p is None else f"{text}; {report_words.p_words(part.p)}"


def subgroups(report: Report, unit: str | None) -> list[Block]:
    """AUC, sensitivity and specificity by size, texture, readers, thickness and scanner."""
    groups: list[tuple[str, list[Row]]] = []
    lines: list[list[str]] = []
    for name, members in (report.subgroups or {}).items():
        heading = report_words.SUBGROUP_WORDS.get(name, name.replace("_", " "))
        rows = [Row(f"{one.group} (n {one.count:,})", one.auc, "model") for one in members if one.auc]
        groups.append((heading, rows))
        for one in members:
            counts = [f"{count:,}" for count in (one.count, one.malignant, one.patients)]
            values = [figure(each) for each in (one.auc, one.sensitivity, one.specificity)]
            lines.append([heading, one.group, *counts, *values])
    blocks: list[Block] = [
        *_forest("subgroups", "AUC within each subgroup; the table has the numbers", groups),
        note(
            "AUC per nodule within each group. Groups differ in more than their name; a difference is no "
            "cause."
        ),
        Table(
            ["", "Group", "n", "Malignant", "Patients", "AUC", "Sensitivity", "Specificity"],
            lines,
            caption="A dash: too few lesions of a class.",
            numbers=2,
            folded=True,
        ),
    ]
    return blocks if report.subgroups else []


def calibration(report: Report, unit: str | None) -> list[Block]:
    """Calibration error before and after temperature and bias."""
    parts = {one: part for one in UNITS if (part := getattr(report.calibration, one, None)) is not None}
    groups: list[tuple[str, list[Row]]] = []
    rows: list[list[str]] = []
    for one, part in parts.items():
        both = (("before", part.before, "size"), ("after", part.after, "model"))
        groups.append((f"Per {one}", [Row(name, Interval(value=value), kind) for name, value, kind in both]))
        errors = [number(part.before), number(part.after)]
        rows.append([f"Per {one}", *errors, number(part.temperature, 2), number(part.bias, 2)])
    head = ["Unit", "ECE before", "ECE after", "Temperature, mean", "Bias, mean"]
    blocks: list[Block] = [
        Text(f"Probability = sigmoid(logit / temperature + bias). {report.description.threshold}"),
        *_forest(
            "calibration",
            "Calibration error before and after",
            groups,
            axis="ECE (0 is perfect)",
            limits=(0.0, 0.01),
        ),
        note(
            "ECE: expected calibration error over ten bins of equal numbers. The reliability above is after "
            "calibration."
        ),
        Table(head, rows, numbers=1, folded=True),
    ]
    return blocks if parts else []


def nodule_rules(report: Report, unit: str | None) -> list[Block]:
    """The rules from slices to a nodule."""
    rows = [Row(name, one.auc, "model") for name, one in (report.nodule_rules or {}).items()]
    about = f", {report.nodule_rule_in_words}" if report.nodule_rule_in_words else ""
    text = note(
        f"AUC per nodule by rule. The report's figures use {report.nodule_rule or 'one of them'}{about}; "
        "they do so whichever of these came out best."
    )
    blocks = _forest("rules", "AUC per nodule by the rule from slices to nodule", [("", rows)])
    return [*blocks, text] if blocks else []


def size_matched(report: Report, unit: str | None) -> list[Block]:
    """The AUC among lesions of similar size."""
    lines = [
        f"Per {one}, AUC **{figure(part.auc)}** over {part.pairs:,} pairs of a malignant and a "
        f"benign one of like size{f' ({part.what})' if part.what else ''}, where size alone gives 0.5."
        for one, part in (report.size_matched or {}).items()
        if part is not None
    ]
    return [Bullets(lines)] if lines else []


def external(report: Report, unit: str | None) -> list[Block]:
    """Calibration, sensitivity at fixed specificity and the shift of codes: what only other data can show."""
    part = report.external
    if part is None:
        return []
    blocks: list[Block] = [
        Text("The model, its calibration and its threshold are as they were; nothing was fitted here.")
    ]
    if part.calibration is not None:
        blocks.append(
            Text(
                f"Calibration slope **{figure(part.calibration.slope, 2)}** (1 is perfect), "
                f"intercept **{figure(part.calibration.intercept, 2)}** (0 is perfect)."
            )
        )
    if part.sensitivity_at_specificity:
        fixed = part.sensitivity_at_specificity
        rows = [Row(f"at specificity {one.specificity:.2f}", one.sensitivity, "model") for one in fixed]
        lines = [[f"{one.specificity:.2f}", figure(one.sensitivity), number(one.threshold)] for one in fixed]
        title = "Sensitivity where the specificity is fixed"
        blocks += _forest("sensitivity", title, [("", rows)], axis="Sensitivity")
        blocks.append(Table(["Specificity", "Sensitivity", "Threshold"], lines, title=title, folded=True))
    if part.code_shift:
        lines = [[name.replace("_", " "), short(value)] for name, value in part.code_shift.items()]
        title = "How far the codes lie from those it was trained on"
        blocks.append(Table(["", "Value"], lines, title=title, folded=True))
    return blocks


def spread(report: Report, unit: str | None) -> list[Block]:
    """AUCs of folds and of seeds."""
    lines: list[Dots] = []
    means: list[str] = []
    seeds = report.per_seed or []
    for one in UNITS:
        own = report.units.of(one)
        folds = [] if own is None else [value for value in own.auc_by_fold or [] if value is not None]
        values = [value for row in seeds if (value := getattr(row, one)) is not None]
        if folds:
            lines.append(Dots(f"Folds, per {one}", folds, "pixels"))
        if values:
            lines.append(Dots(f"Seeds, per {one}", values, "model"))
            means.append(f"per {one} {report_words.spread(seeds, one)}")
    text = "A dot a fold or seed; the stroke is the mean."
    if means:
        text += f" Mean AUC over seeds: {'; '.join(means)}."
    if len(report.seeds) < 2:
        text += " One seed: nothing is known of how far another training would differ."
    return [Strip("spread", "AUC of each fold and seed", lines), note(text)] if lines else []


def stages(report: Report, unit: str | None) -> list[Block]:
    """The same folds' VAE before it saw labels and after the joint phase."""
    parts = {name: getattr(report.stages, name, None) for name in report_words.STAGE_WORDS}
    groups: dict[str, list[Row]] = {f"Per {one}": [] for one in UNITS}
    for (name, part), one in product(parts.items(), UNITS):
        if part is not None and (auc := part.auc(one)) is not None:
            kind = "pixels" if name == "vae" else "model"
            groups[f"Per {one}"].append(Row(report_words.STAGE_WORDS[name], auc, kind))
    blocks = _forest("stages", "AUC before and after the joint phase", groups.items())
    text = note("The same folds' VAE without labels, and after the joint phase.")
    return [*blocks, text] if blocks else []


def diagnosis(report: Report, unit: str | None) -> list[Block]:
    """Model, readers and size against the confirmed diagnosis and, beside it, against the opinion."""
    part = report.diagnosis
    if part is None:
        return []
    tables = [
        Table(
            ["AUC (95 % interval)", "Against the diagnosis", "Against the readers' opinion"],
            [[one.title, figure(one.diagnosis, 2), figure(one.opinion, 2)] for one in group.scores],
            caption=report_words.diagnosis_group(group),
        )
        for group in part.groups
    ]
    about = note(report_words.diagnosis_about(part))
    return [Text(report_words.diagnosis_verdict(part)), *tables, about]


def reconstruction(report: Report, unit: str | None) -> list[Block]:
    """How well held-out slices are reconstructed."""
    part = report.reconstruction
    if part is None:
        return _validation(report)
    low, high = (number(end, 0) for end in part.window_hu)
    sizes, details = _by_size(part), _by_detail(part)
    power = note("Power of what is drawn over that of the slices: below 1 detail is missing.")
    return [
        Text(
            f"{part.slices:,} slices of {part.patients:,} patients; on 0..1 of the window {low} to {high} HU "
            "unless a unit stands beside the figure. Another window gives other figures, and redrawing well "
            f"is not knowing what is malignant.{report_words.redrawn(part)}"
        ),
        Beside(
            [_whole_and_inside(part)], [block for block in (*sizes, *details) if isinstance(block, Forest)]
        ),
        *([power] if part.spectrum else []),
        *(block for block in (*sizes, *details) if isinstance(block, Table)),
    ]


def _validation(report: Report) -> list[Block]:
    """The last epoch's figures of held-out slices, which have no intervals; empty without them."""
    part = report.validation
    if part is None:
        return []
    return [
        Text(
            f"After the last epoch, held-out slices on 0..1 of the model's window: SSIM {number(part.ssim)}, "
            f"mean squared error {number(part.mse, 5)}, mean absolute error {number(part.mae, 4)}; KL "
            f"{number(part.kl, 1)} nats, {part.active_units} dimensions in use."
        )
    ]


def _redrawn_title(name: str) -> str:
    title, unit, _ = report_words.RECONSTRUCTION_WORDS[name]
    return f"{title}, {unit}" if unit else title


def _redrawn_cell(name: str, value: Interval | None) -> str:
    return figure(value, 1 if report_words.RECONSTRUCTION_WORDS[name][1] else 4)


def _whole_and_inside(part: ReconstructionPart) -> Table:
    """Each figure of the whole crop and inside the mask."""
    inside = part.inside_mask or {}
    rows = []
    for name, (_, _, better) in report_words.RECONSTRUCTION_WORDS.items():
        if name in part.whole or name in inside:
            cells = [_redrawn_cell(name, figures.get(name)) for figures in (part.whole, inside)]
            rows.append([_redrawn_title(name), *cells, better])
    return Table(["Figure", "Whole crop", "Inside the mask", "Better is"], rows)


def _by_size(part: ReconstructionPart) -> list[Block]:
    """SSIM by the lesion's diameter as a forest, all figures by diameter as a table."""
    bands = [(band, band.figures()) for band in part.by_size]
    keys: dict[str, str] = {}
    for name in report_words.RECONSTRUCTION_WORDS:
        # Figures that exist only inside the mask.
        names = (name, f"inside_{name}") if name in ("margin", "histogram_hu") else (name,)
        given = [key for key in names if any(key in figures for _, figures in bands)]
        keys |= {name: given[0]} if given else {}
    sizes = [
        Row(f"{band.band} (n {band.slices:,})", figures["ssim"], "model")
        for band, figures in bands
        if "ssim" in figures
    ]
    rows = []
    for band, figures in bands:
        cells = [_redrawn_cell(name, figures.get(key)) for name, key in keys.items()]
        rows.append([band.band, f"{band.slices:,}", *cells])
    head = ["Diameter", "Slices", *map(_redrawn_title, keys)]
    blocks = _forest(
        "bands", "SSIM by the lesion's diameter", [("By size of the lesion", sizes)], axis="SSIM"
    )
    return [*blocks, Table(head, rows, title="By size of the lesion", folded=True)] if rows else blocks


def _by_detail(part: ReconstructionPart) -> list[Block]:
    """The power of reconstructions by the size of the detail as a forest, and the same as a table."""
    details = [
        Row(f"{band.from_cycles:.3g} to {band.to_cycles:.3g}", band, "model") for band in part.spectrum
    ]
    rows = [[f"{band.from_cycles:.4g} to {band.to_cycles:.4g}", figure(band)] for band in part.spectrum]
    head = ["Cycles a pixel", "Power of what is drawn, share of the slices' own"]
    blocks = _forest(
        "spectrum",
        "Power of what is drawn over that of the slices, by the size of the detail",
        [("By cycles a pixel", details)],
        axis="power, drawn / slices",
        zero=1.0,
    )
    return [*blocks, Table(head, rows, title="By size of the detail", folded=True)] if rows else blocks


def _forest(name: str, title: str, groups: Iterable[tuple[str, list[Row]]], **how: Any) -> list[Block]:
    """A forest of the rows that have a value; empty if none has one."""
    filled = [(heading, [row for row in rows if row.interval.value is not None]) for heading, rows in groups]
    filled = [(heading, rows) for heading, rows in filled if rows]
    return [Forest(name, title, filled, **how)] if filled else []


def short(value: Any) -> str:
    """A value of any shape in a few words."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: DASH}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(short, value[:8])) + (f", … ({len(value)})" if len(value) > 8 else "")
    if isinstance(value, Mapping):
        if set(value) >= {"value", "low", "high"} and all(
            value[name] is None or isinstance(value[name], int | float) for name in ("value", "low", "high")
        ):
            return interval(value)
        return "; ".join(f"{name.replace('_', ' ')} {short(inner)}" for name, inner in value.items())
    return str(value)
