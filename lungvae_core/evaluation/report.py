"""The report of an evaluation: one JSON file with its protocol, figures with intervals, and comparisons.

`lungvae evaluate`, `validate` and `classify` write it; pages, the HTML file, the model card and the command
line only show it. docs/evaluation.md describes the fields. docs/evaluation-report.schema.json is the JSON
schema, generated from the models below by

    python -m lungvae_core.evaluation.report

A figure that cannot be computed (an AUC of a single class) is null, never NaN, which is not JSON.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lungvae_core.data.counted import Counted
from lungvae_core.errors import UserError
from lungvae_core.evaluation.older_reports import OLDER_FORMAT, is_older, upgraded
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS, Description
from lungvae_core.files import read_json, write_json, write_text
from lungvae_core.json_text import plain as plain
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.epochs import Validation

REPORT_FORMAT = 1
OF_RUN = "evaluation.json"  # the report of a run's own classifier, in its folder
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "evaluation-report.schema.json"
UNITS = ("slice", "nodule", "patient")
# The figures of a unit, in display order; `evaluation.figures` computes them.
FIGURES = (
    "auc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "f1",
    "average_precision",
    "brier",
    "ece",
)
SIZES = ("diameter", "area", "slices")  # the baselines that use only a lesion's size

Unit = Literal["slice", "nodule", "patient"]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Interval(_Part):
    """A figure with its 95 % interval."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Confusion(_Part):
    """Counts at the chosen threshold; positive is malignant."""

    tp: Count
    fp: Count
    tn: Count
    fn: Count


class _Curve(_Part):
    @model_validator(mode="after")
    def _of_one_length(self) -> Self:
        if len({len(values) for _, values in self}) > 1:
            raise ValueError("the lists of a curve differ in length")
        return self


class Roc(_Curve):
    """The ROC curve; both lists of one length."""

    fpr: list[Share]
    tpr: list[Share]


class PrecisionRecall(_Curve):
    """The precision-recall curve; both lists of one length."""

    recall: list[Share]
    precision: list[Share]


class ReliabilityBin(_Part):
    """Units of similar probability: its mean, and the share that is malignant with its 95 % interval."""

    mean_probability: float
    share: float
    count: Count
    low: float | None = None
    high: float | None = None


class Curves(_Part):
    """What the plots of a unit draw."""

    roc: Roc
    pr: PrecisionRecall
    reliability: list[ReliabilityBin] = []


class SomeFigures(_Part):
    """Figures of a baseline: the AUC at least."""

    auc: Interval
    accuracy: Interval | None = None
    balanced_accuracy: Interval | None = None
    sensitivity: Interval | None = None
    specificity: Interval | None = None
    precision: Interval | None = None
    f1: Interval | None = None
    average_precision: Interval | None = None
    brier: Interval | None = None
    ece: Interval | None = None
    count: Count | None = None
    malignant: Count | None = None
    patients: Count | None = None
    auc_by_fold: list[float | None] | None = None
    confusion: Confusion | None = None
    curves: Curves | None = None

    def figure(self, name: str) -> Interval | None:
        """The figure of that name (one of FIGURES), or None."""
        figure: Interval | None = getattr(self, name)
        return figure


class UnitFigures(SomeFigures):
    """All figures of the model on one unit, each unit tested exactly once."""

    count: Count
    malignant: Count
    patients: Count


class ByUnit(_Part):
    """Figures per slice, nodule and patient."""

    slice: SomeFigures | None = None
    nodule: SomeFigures | None = None
    patient: SomeFigures | None = None

    def of(self, unit: str) -> SomeFigures | None:
        """The figures of a unit by name, or None."""
        return getattr(self, unit, None)

    def auc(self, unit: str) -> Interval | None:
        """The AUC of a unit by name, or None."""
        figures = self.of(unit)
        return None if figures is None else figures.auc


class Units(ByUnit):
    """The model's figures per slice, nodule and patient."""

    slice: UnitFigures | None = None
    nodule: UnitFigures | None = None
    patient: UnitFigures | None = None

    def of(self, unit: str) -> UnitFigures | None:
        """The figures of a unit by name, or None."""
        return getattr(self, unit, None)


class JustAuc(_Part):
    """An AUC with its interval."""

    auc: Interval


class Stages(_Part):
    """The VAE before it has seen labels, and after the joint phase."""

    vae: ByUnit | None = None
    joint: ByUnit | None = None


class BaselineFigures(ByUnit):
    """A baseline on the same folds as the model."""

    words: str
    uses_readers: bool  # whether it needs a reader's outline, diameter or rating at prediction time


class Difference(_Part):
    """An AUC less another on the same units, its 95 % interval and two-sided p."""

    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    count: Count | None = None
    patients: Count | None = None

    @property
    def interval(self) -> Interval:
        """The difference as a figure."""
        return Interval(value=self.difference, low=self.low, high=self.high)


class Comparison(_Part):
    """The model's AUC less a baseline's: by resampling patients, and by DeLong, which ignores patients."""

    baseline: str
    unit: Unit
    paired: Difference | None = None
    delong: Difference | None = None


class SizeMatched(_Part):
    """The AUC among malignant and benign units of like size."""

    auc: Interval
    pairs: Count
    caliper: float | None = None
    what: str = ""
    patients: Count | None = None


class Subgroup(_Part):
    """The figures of the units that share an attribute; null where there are too few of a class."""

    group: str
    count: Count
    malignant: Count
    patients: Count
    auc: Interval | None = None
    sensitivity: Interval | None = None
    specificity: Interval | None = None


class UnitCalibration(_Part):
    """Expected calibration error before and after temperature and bias; these are means over folds."""

    before: float | None
    after: float | None
    temperature: float | None = None
    bias: float | None = None
    slope: Interval | None = None
    intercept: Interval | None = None


class Calibration(_Part):
    """Calibration of each unit."""

    slice: UnitCalibration | None = None
    nodule: UnitCalibration | None = None
    patient: UnitCalibration | None = None


class Labelled(_Part):
    """What is left under the label rule and the task."""

    slices: Count
    nodules: Count
    patients: Count
    malignant_nodules: Count


class DataPart(_Part):
    """The data set that was judged on.

    `nodules`, `patients` and `labelled` are None only in an evaluation.json of OLDER_FORMAT: `lungvae
    classify` did not count them then.
    """

    name: str
    source: str = ""
    attribution: str = ""
    content_hash: str = ""
    slices: Count
    nodules: Count | None = None
    patients: Count | None = None
    labelled: Labelled | None = None
    counted: Counted | None = None  # slices used and left out, with reasons; older reports have none


class ModelPart(_Part):
    """The model: its preset, its settings, and its name where it is a trained one."""

    preset: str
    config: dict[str, Any] = {}
    name: str | None = None


class SeedAucs(_Part):
    """The AUCs of one seed."""

    seed: int
    slice: float | None = None
    nodule: float | None = None
    patient: float | None = None


class LeakStep(_Part):
    """One row of the leak table: the figures after one more liberty of the paper's protocol, same folds."""

    step: str
    words: str
    slice: float | None = None  # AUC per slice
    nodule: float | None = None  # AUC per nodule
    accuracy: float | None = None
    low: float | None = None  # of the 95 % interval of the AUC per slice
    high: float | None = None


class Leak(_Part):
    """Where the paper's figure comes from, step by step."""

    steps: list[LeakStep]
    total: float | None = None  # the last step's AUC per slice less the first's


class ReconstructionBand(_Part):
    """Reconstruction of the lesions of one size."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    band: str
    slices: Count
    patients: Count | None = None

    @model_validator(mode="after")
    def _sound(self) -> ReconstructionBand:
        self.figures()
        return self

    def figures(self) -> dict[str, Interval]:
        """Its figures by name."""
        return {
            name: Interval.model_validate(value if isinstance(value, dict) else {"value": value})
            for name, value in (self.model_extra or {}).items()
            if isinstance(value, dict | float | int)
        }


class SpectrumBand(Interval):
    """The power of redrawn slices over that of the slices, in a band of cycles a pixel; 1 is alike."""

    from_cycles: float
    to_cycles: float


class ReconstructionPart(_Part):
    """Reconstruction of held-out patients' slices: on 0..1 of the window; in HU where the name says so."""

    window_hu: tuple[float, float]
    slices: Count
    patients: Count
    counted: Counted | None = None
    masked: Count | None = None  # slices with a mask; older reports do not say
    whole: dict[str, Interval]
    inside_mask: dict[str, Interval] | None = None
    by_size: list[ReconstructionBand] = []
    spectrum: list[SpectrumBand] = []


class Recalibration(_Part):
    """Slope and intercept of a logistic regression of the truth on the logit; 1 and 0 are perfect."""

    slope: Interval
    intercept: Interval


class AtSpecificity(_Part):
    """The sensitivity where the specificity is fixed."""

    specificity: float
    sensitivity: Interval
    threshold: float | None = None


class External(_Part):
    """What only a test on other data can say."""

    calibration: Recalibration | None = None
    sensitivity_at_specificity: list[AtSpecificity] = []
    code_shift: dict[str, Any] = {}
    seen: str = (
        ""  # patients that the model has learned from, how they were recognised, what was not compared
    )


class DiagnosisScore(_Part):
    """The AUCs of one way to rank patients: against the diagnosis, and against the readers' opinion."""

    name: str
    title: str
    diagnosis: Interval
    opinion: Interval | None = None  # null for the readers' own rating, which the opinion is made of


class DiagnosisGroup(_Part):
    """Patients with a confirmed diagnosis: all of them, or those with one nodule."""

    group: Literal["all", "one_nodule"]
    patients: Count
    malignant: Count  # by diagnosis
    opinion_malignant: Count  # by the readers, under the label rule
    agree: Count  # patients of whom both say the same
    scores: list[DiagnosisScore] = Field(min_length=1)


class DiagnosisPart(_Part):
    """Opinion and diagnosis, on the same patients."""

    source: str  # the table's file name
    diagnosed: Count  # patients with a known diagnosis in the table
    unknown: Count
    benign: Count  # among the scored patients
    primary: Count
    metastatic: Count
    groups: list[DiagnosisGroup] = Field(min_length=1)


class HeldOut(_Part):
    """Figures of the patients whose pixels the VAE never saw, where it saw those of others."""

    what: str
    units: Units
    baselines: dict[str, BaselineFigures] | None = None


class Views(_Part):
    """Figures of the same classifiers, from logits averaged over mirrored and turned views of each slice."""

    count: Count
    units: Units
    nodule_rules: dict[str, JustAuc]


class Report(_Part):
    """An evaluation, with everything that is needed to argue with it."""

    format: Literal[0, 1]  # OLDER_FORMAT is never written
    protocol: Literal["nested", "frozen", "paper", "external", "transductive", "joint", "released"]
    protocol_in_words: str
    task: str
    task_in_words: str
    label_rule: str
    label_rule_in_words: str
    leaks: list[str]  # how the labels of tested patients reached the model; empty for an honest protocol
    transductive: bool  # whether the encoder saw the pixels, never the labels, of tested patients
    data: DataPart
    model: ModelPart
    folds: Count
    seeds: list[int]
    quick: bool = False  # shortened for a look; its figures are not to be quoted
    nodule_rule: str | None = None
    nodule_rule_in_words: str | None = None
    units: Units
    nodule_rules: dict[str, JustAuc] | None = None
    per_seed: list[SeedAucs] | None = None
    stages: Stages | None = None
    baselines: dict[str, BaselineFigures] | None = None
    comparisons: dict[str, Comparison] | None = None
    size_matched: dict[str, SizeMatched | None] | None = None
    subgroups: dict[str, list[Subgroup]] | None = None
    calibration: Calibration | None = None
    reconstruction: ReconstructionPart | None = None
    settings_chosen: list[dict[str, Any]] | None = None
    leak: Leak | None = None
    external: External | None = None
    diagnosis: DiagnosisPart | None = None  # if a table of diagnoses was given; older reports have none
    classifier: dict[str, Any] | None = None  # its settings, of `lungvae classify`, as all of the next four
    pixels_compared: bool | None = None  # whether slices were compared between patients
    heldout: HeldOut | None = None
    views: Views | None = None
    validation: Validation | None = None  # the last epoch's figures of held-out slices
    seconds: float | None = None
    hardware: str = ""
    versions: dict[str, str] = {}
    command: str = ""
    created: str = ""

    @model_validator(mode="after")
    def _honest(self) -> Report:
        # Treat a report that could be mistaken for an honest one as damaged.
        if self.description.leaks and not self.leaks:
            raise ValueError(f"a report of the {self.protocol} protocol must say how it leaks")
        return self

    @model_validator(mode="after")
    def _counted(self) -> Report:
        data = self.data
        if self.format != OLDER_FORMAT and None in (data.nodules, data.patients, data.labelled):
            raise ValueError("the data's nodules, patients or labelled ones are not counted")
        return self

    @model_validator(mode="after")
    def _of_run_whole(self) -> Report:
        # Home, the model card and the comparison of two models show these AUCs of every run.
        for part, _ in self.parts if self.description.of_run else []:
            every: dict[str, ByUnit] = {"units": part.units}
            every |= {f"baselines.{name}": one for name, one in (part.baselines or {}).items()}
            for (name, one), unit in product(every.items(), ("slice", "nodule")):
                auc = one.auc(unit)
                if auc is None or None in (auc.value, auc.low, auc.high):
                    raise ValueError(f"{name}.{unit}.auc lacks a number")
        return self

    @property
    def description(self) -> Description:
        """Its protocol in words."""
        return PROTOCOLS[self.protocol]

    @property
    def parts(self) -> list[tuple[Report | HeldOut, bool]]:
        """(figures, whether they are of patients that the VAE never saw), the fairest last."""
        held_out = [] if self.heldout is None else [(self.heldout, True)]
        return [(self, self.description.held_out_only), *held_out]


def load_report(path: str | Path) -> Report:
    """Read a report from JSON. UserError if it is missing, damaged, from a newer version, or not a report."""
    path = Path(path)
    value = read_json(path, what="The report")
    if is_older(value):
        value = upgraded(value, path)
    if not isinstance(value, dict) or "format" not in value:
        raise UserError(f"{path} is not a report of `lungvae evaluate`, `validate` or `classify`.")
    made = value["format"]
    if isinstance(made, int) and made > REPORT_FORMAT:
        raise UserError(
            f"{path} was written by a newer version (format {made}; this one reads {REPORT_FORMAT}). "
            "Update lungvae."
        )
    try:
        return Report.model_validate(value)
    except ValidationError as error:
        raise UserError(
            f"The report {path} is damaged: {_first(error)}. Make it again with its command."
        ) from error


def load_run_report(run: Run) -> Report | None:
    """The report of a run's own classifier, or None without one; UserError if it is damaged."""
    return load_report(run.folder / OF_RUN) if run.has(OF_RUN) else None


def save_report(path: str | Path, report: dict[str, Any]) -> Report:
    """Check a report, write it atomically (NaN becomes null, arrays become lists) and return it as saved.

    If the report does not match docs/evaluation.md, raises UserError and writes nothing.
    """
    try:
        checked = Report.model_validate(plain(report))
    except ValidationError as error:
        raise UserError(
            f"The report for {path} was not written: {_first(error)}. This is a fault of the protocol, not "
            "of the data."
        ) from error
    write_json(Path(path), checked.model_dump(mode="json"))
    return checked


def schema_text() -> str:
    """The content of docs/evaluation-report.schema.json."""
    schema = Report.model_json_schema(mode="serialization")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _first(error: ValidationError) -> str:
    """The first error and its location, in one sentence."""
    problems = error.errors(include_url=False)
    first = problems[0]
    place = ".".join(map(str, first["loc"])) or "the report"
    message = str(first["msg"]).removeprefix("Value error, ")
    reason = {"extra_forbidden": "is not a field of a report", "missing": "is missing"}.get(first["type"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{place} {reason}{more}" if reason else f"{place}: {message}{more}"


if __name__ == "__main__":
    write_text(SCHEMA, schema_text())
