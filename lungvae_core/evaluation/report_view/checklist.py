"""What TRIPOD+AI and CLAIM ask of such a report, in our own words, and where it answers that, if it does.

TRIPOD+AI: Collins et al. 2024, BMJ 385:e078378. CLAIM, 2024 update: Tejani et al., doi 10.1148/ryai.240300.
This follows only their spirit: the guidelines' own texts are what counts, and a report written by a program
cannot answer what only a study's authors know.
"""

from __future__ import annotations

from dataclasses import dataclass

from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_words import baseline_name

YES, PARTLY, NOT, NONE = "answered", "partly", "not done", "does not apply"
MARKS = {YES: "yes", PARTLY: "partly", NOT: "not", NONE: "none"}
SOURCES = (
    ("TRIPOD+AI", "Collins et al. 2024, BMJ 385:e078378"),
    ("CLAIM, 2024 update", "Tejani et al. 2024, doi 10.1148/ryai.240300"),
)


@dataclass(frozen=True)
class Item:
    """One question and its answer."""

    guides: str  # which of the two ask it, with the number in TRIPOD+AI
    question: str  # in our own words
    state: str  # YES, PARTLY, NOT or NONE
    where: str = ""  # id of the section that answers
    answer: str = ""  # or what is missing

    @property
    def linked(self) -> bool:
        """Whether a section answers."""
        return bool(self.where) and self.state in (YES, PARTLY)


def checklist(report: Report) -> list[tuple[str, list[Item]]]:
    """(heading, items) for this report."""
    return [
        ("What and why", _purpose(report)),
        ("Data, patients and truth", _data(report)),
        ("Model and how it was made", _model(report)),
        ("Figures", _figures(report)),
        ("Use, fairness and openness", _openness(report)),
    ]


def _purpose(report: Report) -> list[Item]:
    return [
        Item(
            "TRIPOD+AI 1, CLAIM",
            "Name the kind of study, model, target and population in the title",
            YES,
            "top",
        ),
        Item("TRIPOD+AI 2, CLAIM", "A summary with figures and their intervals", YES, "summary"),
        Item(
            "TRIPOD+AI 3, CLAIM",
            "The clinical setting, intended users and place in care",
            NONE,
            "limits",
            "For research and education; no place in care is intended.",
        ),
        Item(
            "TRIPOD+AI 4, CLAIM",
            "The aim: making a model, testing one, or both",
            YES,
            "protocol",
            "Both, inside the folds." if report.description.trains else "Testing a trained model.",
        ),
    ]


def _data(report: Report) -> list[Item]:
    return [
        Item(
            "TRIPOD+AI 5, CLAIM",
            "Where the data come from, prospective or not, and when they were gathered",
            PARTLY,
            "data",
            "Source and content hash; retrospective. Dates are the collection's, and not in this report.",
        ),
        Item("TRIPOD+AI 6, 20, CLAIM", "Who was included and left out, with a flow of numbers", YES, "data"),
        Item(
            "TRIPOD+AI 20b", "Age, sex and other traits of the patients", NOT, answer="Not in the data set."
        ),
        Item(
            "TRIPOD+AI 7, 9, CLAIM",
            "How images were prepared, and what the model is given",
            PARTLY,
            "reproduce",
            "64 × 64 crops at a lesion that a reader marked; settings in full. Cropping is not the "
            "model's own work.",
        ),
        Item(
            "TRIPOD+AI 8, CLAIM",
            "How the truth was defined, by whom, and how far they agree",
            PARTLY,
            "labels",
            "The label rule over the readers' ratings. Readers' agreement is not in this report.",
        ),
        Item(
            "TRIPOD+AI 8",
            "An outcome of the patient (biopsy, follow-up)",
            NOT,
            "limits",
            "The truth is readers' opinion.",
        ),
        Item(
            "TRIPOD+AI 10, CLAIM",
            "How the sample size was chosen",
            NOT,
            "data",
            "All that the data set holds; no size was planned. The intervals say how much it tells.",
        ),
        Item(
            "TRIPOD+AI 11, CLAIM",
            "What was done about missing values",
            YES,
            "data",
            "Nodules without a label under the rule are left out and counted.",
        ),
        Item(
            "TRIPOD+AI 16, CLAIM",
            "How data for making and testing were kept apart, and at which level",
            PARTLY if report.leaks else YES,
            "protocol",
            "The patient, but labels of tested patients reached the model: it leaks."
            if report.leaks
            else "The patient. Another data set."
            if report.protocol == "external"
            else "The patient, in stratified folds."
            if report.folds
            else "The patient.",
        ),
    ]


def _model(report: Report) -> list[Item]:
    trained = not report.description.trains
    thresholded = any(one is not None and one.balanced_accuracy for _, one in report.units)
    leaky = PARTLY if report.leaks else YES
    return [
        Item(
            "TRIPOD+AI 12, 22, CLAIM",
            "The model in detail: inputs, layers, settings, software and versions",
            YES,
            "reproduce",
            "Every setting; the architecture is the code of the version that is named.",
        ),
        Item(
            "TRIPOD+AI 12, CLAIM",
            "How it was trained, how settings were chosen, and on which data",
            NONE if trained else leaky,
            "protocol",
            "Trained beforehand; see its model card." if trained else "",
        ),
        Item(
            "TRIPOD+AI 13",
            "Unequal classes",
            YES if thresholded else NOT,
            "figures",
            "Balanced accuracy and precision-recall stand beside accuracy." if thresholded else "AUC alone.",
        ),
        Item(
            "TRIPOD+AI 15, CLAIM",
            "What the output is, and how the threshold was chosen",
            leaky if thresholded else PARTLY,
            "calibration",
            f"A score{' with a probability' if thresholded else ''}. {report.description.threshold}",
        ),
    ]


def _figures(report: Report) -> list[Item]:
    external = report.protocol == "external"
    return [
        Item(
            "TRIPOD+AI 12e, 23, CLAIM",
            "Discrimination with uncertainty, per unit",
            YES if report.units.nodule else PARTLY,
            "figures",
        ),
        Item(
            "TRIPOD+AI 12e, 23",
            "Calibration, as a figure and a plot",
            YES if report.calibration or (report.external and report.external.calibration) else PARTLY,
            "calibration",
        ),
        Item(
            "TRIPOD+AI 12e",
            "Clinical utility, as a decision curve",
            NOT,
            answer="No decision is meant to hang on it.",
        ),
        Item(
            "CLAIM",
            "A comparison with simpler ways, on the same patients",
            YES if report.baselines else NOT,
            "comparisons" if report.comparisons else "forest",
            f"{', '.join(map(baseline_name, report.baselines))}." if report.baselines else "",
        ),
        Item(
            "CLAIM",
            "A comparison with readers at work",
            NOT,
            "limits",
            "Readers' ratings are a baseline; no reader read for this.",
        ),
        Item(
            "TRIPOD+AI 12e, 14, 23b, CLAIM",
            "Figures of subgroups and scanners; fairness over groups of people",
            PARTLY if report.subgroups else NOT,
            "subgroups",
            "Size, texture, thickness, readers and scanner where known; no traits of persons.",
        ),
        Item(
            "CLAIM",
            "Robustness: other seeds, folds and rules",
            YES if len(report.seeds) > 1 else PARTLY,
            "spread",
            "" if len(report.seeds) > 1 else "One seed.",
        ),
        Item("CLAIM", "Failures looked at one by one", NOT, answer="The report holds no image and no case."),
        Item(
            "TRIPOD+AI 23, CLAIM",
            "A test on data from elsewhere",
            YES if external else NOT,
            "external" if external else "limits",
            "" if external else "`lungvae validate` does it where there are such data.",
        ),
        Item("TRIPOD+AI 24", "Updating the model on the new data", NONE, answer="It is tested as it is."),
    ]


def _openness(report: Report) -> list[Item]:
    return [
        Item("TRIPOD+AI 25, 26, CLAIM", "What the figures do not mean", YES, "limits"),
        Item(
            "TRIPOD+AI 27",
            "How it would be used, and what happens with poor input",
            NONE,
            answer="Not for clinical use.",
        ),
        Item("TRIPOD+AI 18, CLAIM", "Code, settings and data to do it again", YES, "reproduce"),
        Item(
            "TRIPOD+AI 18",
            "Protocol registered beforehand",
            NOT,
            answer="The protocols are fixed in code; nothing was registered.",
        ),
        Item(
            "TRIPOD+AI 17, CLAIM",
            "Ethics and consent",
            PARTLY,
            "attribution",
            "That of the collection, which is de-identified; nothing of our own was gathered.",
        ),
        Item(
            "TRIPOD+AI 18, CLAIM",
            "Funding and interests",
            NOT,
            answer="For those who send the report to say.",
        ),
        Item("TRIPOD+AI 19", "Patients and the public involved", NOT, answer="Nobody was."),
    ]
