"""A report in words: names of figures and baselines, figures with their intervals, comparisons as sentences.

The page and the HTML file use the same words for a report because both take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from lungvae_core import ATTRIBUTION
from lungvae_core.evaluation.report import (
    SIZES,
    UNITS,
    BaselineFigures,
    Comparison,
    DiagnosisGroup,
    DiagnosisPart,
    HeldOut,
    Interval,
    ReconstructionPart,
    Report,
    SeedAucs,
    UnitFigures,
)
from lungvae_core.number_text import DASH, number, plural, with_interval

Part = TypeVar("Part")

LEAKS = "THIS PROTOCOL LEAKS"
QUICK = "**A quick run, for a look.** Fewer epochs and settings than the preset's; not to be quoted."
LEAK_SENTENCE = "These figures leak: they say nothing about patients who are new to the model."
# name -> (title, what it is)
FIGURE_WORDS = {
    "auc": ("AUC", "how often a malignant one scores above a benign one; 0.5 is chance"),
    "accuracy": ("Accuracy", "share called right at the threshold; follows the share that is malignant"),
    "balanced_accuracy": ("Balanced accuracy", "mean of sensitivity and specificity"),
    "sensitivity": ("Sensitivity", "share of the malignant that is called malignant (recall)"),
    "specificity": ("Specificity", "share of the benign that is called benign"),
    "precision": ("Precision", "share of those called malignant that is (positive predictive value)"),
    "f1": ("F1", "harmonic mean of precision and sensitivity"),
    "average_precision": (
        "Average precision",
        "area under precision against recall; chance is the share that is malignant",
    ),
    "brier": ("Brier score", "mean squared error of the probability"),
    "ece": ("ECE", "how far probability and share that is malignant lie apart, over ten bins"),
}
LOWER_IS_BETTER = ("brier", "ece")
BASELINE_WORDS = {
    "diameter": "Diameter alone",
    "area": "Mask area alone",
    "slices": "Number of slices alone",
    "ratings": "Readers' ratings",
    "ratings_size": "Ratings and size",
    "pca": "PCA-64 of pixels",
    "cnn": "Small CNN on pixels",
}
# Figure: title, unit, which direction is better.
RECONSTRUCTION_WORDS = {
    "ssim": ("SSIM", "", "higher"),
    "ms_ssim": ("MS-SSIM", "", "higher"),
    "mse": ("MSE", "", "lower"),
    "mae": ("MAE", "", "lower"),
    "psnr": ("PSNR", "dB", "higher"),
    "mae_hu": ("MAE", "HU", "lower"),
    "rmse_hu": ("RMSE", "HU", "lower"),
    "fine_power": ("Fine detail, share of the slices' own", "", "near 1"),
    "fine_invented": ("Invented share of the fine detail", "", "near 0"),
    "margin": ("Steepness of the margin, share of the slices' own", "", "near 1"),
    "histogram_hu": ("Distance of the HU histograms", "HU", "lower"),
}
SUBGROUP_WORDS = {
    "size_band": "Diameter",
    "readers": "Readers who rated it",
    "texture": "Texture (mean rating)",
    "slice_thickness": "Slice thickness",
    "manufacturer": "Scanner",
}
LEAK_FIGURES = {"slice": "AUC per slice", "accuracy": "Accuracy"}
STAGE_WORDS = {"vae": "VAE without labels", "joint": "After the joint phase"}
SIZE_WORDS = {"diameter": "readers' diameter", "area": "outline's area"}  # of the sizes beside a run's AUCs
DIAGNOSIS_GROUPS = {"all": "All patients", "one_nodule": "Patients with one nodule"}


@dataclass(frozen=True)
class Row:
    """One row of a forest plot."""

    name: str
    interval: Interval
    kind: str  # model, size, readers or pixels: colour and shape
    note: str = ""


def figure(interval: Interval | None, digits: int = 3) -> str:
    """0.943 (0.927 to 0.958), the 95 % interval; a dash where the figure could not be computed."""
    if interval is None:
        return DASH
    return with_interval(interval.value, interval.low, interval.high, digits)


def p_words(p: float | None) -> str:
    """A p-value in words; empty without one."""
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def model_name(report: Report) -> str:
    """The model's own name, otherwise its preset."""
    return report.model.name or report.model.preset


def about(report: Report) -> str:
    """Model, task, label rule and seeds in one line."""
    model = report.model.config.get("model")
    model = model if isinstance(model, dict) else {}
    parts = [model_name(report)]
    if "prior" in model and "dimensions" in model:
        parts.append(f"{model['prior']} prior, {model['dimensions']} dimensions")
    parts += [report.task_in_words, f"label rule {report.label_rule}", seeds(report)]
    return f"{'; '.join(parts)}. {report.created}"


def facts(report: Report, unit: str, own: UnitFigures) -> str:
    """What must accompany every figure of a unit: protocol, task, label rule, n, seeds, interval."""
    folds = f" {plural(report.folds, 'fold')} by patient," if report.folds else ""
    return (
        f"Protocol **{report.protocol}**: {report.protocol_in_words.rstrip('.')}. Task {report.task}, "
        f"{report.task_in_words}; label rule {report.label_rule}: {report.label_rule_in_words.rstrip('.')}. "
        f"Per {unit}: n = {own.count:,}, {own.malignant:,} malignant, {own.patients:,} patients;{folds} "
        f"{seeds(report)}{', logits averaged' if len(report.seeds) > 1 else ''}. Intervals: 95 %, by drawing "
        f"whole patients again. Data: {report.data.name}."
    )


def label_rule(report: Report) -> str:
    """The label rule by its name and in words: "median_high, the higher median of ..."."""
    return f"{report.label_rule}, {report.label_rule_in_words.rstrip('.')}"


def attribution(report: Report) -> str:
    """Where the data come from, as an attribution."""
    whose = report.data.attribution or ATTRIBUTION
    return f"Data: {whose}. The report holds figures only: no image and no patient's record."


def title(report: Report) -> str:
    """One line that names the report."""
    return f"{model_name(report)} on {report.data.name}: {report.task_in_words}, {report.description.title}"


def seeds(report: Report) -> str:
    """The seeds in words."""
    listed = ", ".join(map(str, report.seeds))
    return f"{'seed' if len(report.seeds) == 1 else 'seeds'} {listed}"


def units_of(report: Report) -> list[str]:
    """The units for which the report has figures."""
    return [unit for unit in UNITS if report.units.of(unit) is not None]


def main_unit(report: Report) -> str | None:
    """The unit to mention first: nodules, since slices of one nodule are not cases."""
    units = units_of(report)
    return next((unit for unit in ("nodule", "patient", "slice") if unit in units), None)


def baseline_name(name: str) -> str:
    """A baseline's name in words."""
    return BASELINE_WORDS.get(name, name.replace("_", " "))


def kind_of(part: Report | HeldOut, baseline: str) -> str:
    """What the named baseline uses: size, readers or pixels."""
    one = (part.baselines or {}).get(baseline)
    return "size" if baseline in SIZES else "readers" if one is not None and one.uses_readers else "pixels"


def forest(part: Report | HeldOut, unit: str, model: str = "Model") -> list[Row]:
    """The AUCs of the model, called `model`, and of every baseline on the same folds, per `unit`."""
    own = part.units.auc(unit)
    rows = [] if own is None else [Row(model, own, "model")]
    for name, baseline in ordered_baselines(part).items():
        auc = baseline.auc(unit)
        if auc is not None and auc.value is not None:
            rows.append(Row(baseline_name(name), auc, kind_of(part, name), note=baseline.words))
    return rows


def ordered_baselines(part: Report | HeldOut) -> dict[str, BaselineFigures]:
    """The baselines, sizes first."""
    return _ordered(part.baselines or {}, list(BASELINE_WORDS))


def _ordered(parts: dict[str, Part], order: list[str]) -> dict[str, Part]:
    """Parts by name in that order, other names last."""
    names = sorted(parts, key=lambda name: order.index(name) if name in order else len(order))
    return {name: parts[name] for name in names}


def best_size(part: Report | HeldOut, unit: str) -> tuple[str, Interval] | None:
    """The size baseline with the highest AUC per `unit`: (its name, its AUC); None if there is none."""
    rows = [
        (name, auc)
        for name, baseline in (part.baselines or {}).items()
        if name in SIZES and (auc := baseline.auc(unit)) is not None and auc.value is not None
    ]
    return max(rows, key=lambda row: row[1].value or 0.0, default=None)


def verdict(report: Report) -> str:
    """The report in a sentence or two: the model's AUC beside that of the lesion's size alone."""
    unit = main_unit(report)
    own = None if unit is None else report.units.of(unit)
    if unit is None or own is None or own.auc.value is None:
        return "The report has no figures of the model."
    caption = f"{LEAK_SENTENCE} " if report.leaks else ""
    caption += (
        f"Per {unit}, AUC {figure(own.auc)}, {report.task_in_words}, of {own.count:,} {unit}s of "
        f"{own.patients:,} patients, {own.malignant:,} of them malignant."
    )
    size = best_size(report, unit)
    if size is None:
        caption += " The data have no size to compare with."
    else:
        caption += f" {baseline_name(size[0])} gives {figure(size[1])} on the same folds."
    comparison = (report.comparisons or {}).get("best_size")
    if comparison is not None and comparison.unit == unit:
        caption += f" {compared(comparison)}"
    if report.quick:
        caption += " It was a quick run, for a look; its figures are not to be quoted."
    return caption


def compared(comparison: Comparison) -> str:
    """A comparison in words: "Per nodule, the model is ahead of diameter alone by 0.02 (0.00 to 0.04)"."""
    name = baseline_name(comparison.baseline)
    name = name if name[:2].isupper() else name[0].lower() + name[1:]
    difference = comparison.paired or comparison.delong
    if difference is None or difference.difference is None:
        return f"Per {comparison.unit}, the model was not compared with {name}."
    ahead = difference.difference >= 0
    low, high = difference.low, difference.high
    sentence = (
        f"Per {comparison.unit}, the model is {'ahead of' if ahead else 'behind'} {name} by "
        f"{number(abs(difference.difference))}"
    )
    if low is None or high is None:
        return f"{sentence}, without an interval."
    ends = " to ".join(map(number, (low, high) if ahead else (-high, -low)))
    clear = "includes 0, so no difference is shown" if low <= 0 <= high else "is clear of 0"
    return f"{sentence} ({'; '.join(filter(None, (ends, p_words(difference.p))))}): the interval {clear}."


def comparisons(report: Report) -> list[tuple[str, Comparison]]:
    """(description, comparison): best size, best of all, then the rest."""
    titles = {"best_size": "the best size baseline", "best": "the best baseline of all"}
    unique: dict[tuple[str, str], tuple[str, Comparison]] = {}
    for key, one in _ordered(report.comparisons or {}, [*titles, *BASELINE_WORDS]).items():
        unique.setdefault((one.baseline, one.unit), (titles.get(key) or baseline_name(one.baseline), one))
    return list(unique.values())


def leak_steps(report: Report, figure: str = "slice") -> list[tuple[str, str, float | None, float | None]]:
    """(step, words, value, gain over the step before) of the leak table.

    `figure` is one of LEAK_FIGURES: some liberties change the AUC, others only the accuracy.
    """
    rows = []
    before: float | None = None
    for step in report.leak.steps if report.leak else []:
        value: float | None = getattr(step, figure)
        gain = None if value is None or before is None else value - before
        rows.append((step.step, step.words, value, gain))
        before = before if value is None else value
    return rows


def leak_total(report: Report) -> str:
    """The total gain from all liberties of the paper's protocol, in one sentence."""
    steps = report.leak.steps if report.leak else []
    aucs = [step.slice for step in steps if step.slice is not None]
    if report.leak is None or len(aucs) < 2:
        return "The report has no leak table."
    total = report.leak.total if report.leak.total is not None else aucs[-1] - aucs[0]
    sentence = (
        f"The same settings give an AUC of {number(aucs[0])} per slice in the first row and "
        f"{number(aucs[-1])} in the last: the difference, {number(total)}, comes from the leak and not from "
        "what a model has learned."
    )
    accuracies = [step.accuracy for step in steps if step.accuracy is not None]
    if len(accuracies) > 1:
        sentence += f" The accuracy goes from {accuracies[0]:.1%} to {accuracies[-1]:.1%}."
    return sentence


def spread(rows: list[SeedAucs], unit: str) -> str:
    """The AUCs of the seeds in words: mean, lowest and highest."""
    values = [value for row in rows if (value := getattr(row, unit)) is not None]
    if not values:
        return DASH
    mean = sum(values) / len(values)
    return (
        f"{number(mean)} (least {number(min(values))}, greatest {number(max(values))}, "
        f"{plural(len(values), 'seed')})"
    )


def limits(report: Report) -> list[str]:
    """What the figures do not mean, in sentences."""
    sentences = [f"These figures leak. {' '.join(report.leaks)}"] if report.leaks else []
    if report.quick:
        sentences.append(
            "This was a quick run: fewer epochs and settings than the preset's. Not to be quoted."
        )
    if report.transductive and not report.leaks:
        sentences.append(
            "Transductive: the encoder saw the pixels, never the labels, of patients that it is tested on, "
            "which may flatter it."
        )
    sentences += [
        "Malignancy here is the readers' opinion of how suspicious a nodule looks, not the outcome of a "
        "biopsy or of follow-up.",
        f"The label rule is {report.label_rule}: {report.label_rule_in_words}. Another rule moves AUCs by "
        "some 0.04; figures of different rules, tasks or units cannot be compared.",
    ]
    if report.protocol != "external":
        sentences.append(
            "Tested on patients of the same collection as it was fitted on: another hospital's scanners, "
            "readers and case mix may give other figures."
        )
    if any(baseline.uses_readers for baseline in (report.baselines or {}).values()):
        sentences.append(
            "Baselines that use readers (diameter, outline, ratings) know what a person found first; "
            "the model is also given a crop that is centred on a lesion a reader marked."
        )
    sentences += [
        "Slices of one nodule and nodules of one patient are alike: intervals come from drawing whole "
        "patients again, and slices are not cases.",
        "Intervals cover other patients, not another training; for that see the spread over seeds.",
        "Nobody has tested whether the model helps a reader or a patient.",
    ]
    return sentences


def why_leak(report: Report) -> str:
    """Why a report that leaks is shown and what it does not say, in two sentences."""
    return f"{report.description.why_leak} Its figures say nothing about patients who are new to the model."


def diagnosis_about(part: DiagnosisPart) -> str:
    """The data behind the figures against a diagnosis."""
    count = part.benign + part.primary + part.metastatic
    return (
        f"Opinion and diagnosis: {plural(count, 'patient')} with a confirmed diagnosis ({part.source}) were "
        f"scored: {part.benign} benign, {part.primary} primary lung cancer, {part.metastatic} metastatic. A "
        "patient counts by the highest score among their nodules, of the model, the readers and the size "
        "alike. Opinion is what readers suspected on CT. Intervals are 95 %, by drawing patients again; with "
        "so few patients they are wide."
    )


def diagnosis_group(group: DiagnosisGroup) -> str:
    """A group of patients with a diagnosis, in one line."""
    return (
        f"{DIAGNOSIS_GROUPS[group.group]}: {group.patients}, {group.malignant} malignant by diagnosis, "
        f"{group.opinion_malignant} by opinion; both agree on {group.agree}."
    )


def diagnosis_verdict(part: DiagnosisPart) -> str:
    """How well the readers' opinion, the model and size match the confirmed diagnosis, in one sentence."""
    group = part.groups[0]
    by_name = {one.name: one for one in group.scores}
    readers = "readers_mean" if "readers_mean" in by_name else "readers_median"
    titles = {readers: "the readers' own malignancy", "model": "the model", "diameter": "the diameter"}
    clauses = [
        f"{title} {figure(by_name[name].diagnosis, 2)}" for name, title in titles.items() if name in by_name
    ]
    return (
        f"Opinion is not diagnosis: AUC against the confirmed diagnosis of "
        f"{plural(group.patients, 'patient')} is of {'; of '.join(clauses)}."
    )


def redrawn(part: ReconstructionPart) -> str:
    """How many slices were reconstructed, how many of them have a mask, and why others were left out."""
    counted = "" if part.counted is None else f" {part.counted.in_words()}"
    return counted if part.masked is None else f"{counted} {part.masked:,} of them have a mask."
