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


# For each heading and question: the guides that ask it, and the question in our own words.
_QUESTIONS = {
    "What and why": {
        "title": ("TRIPOD+AI 1, CLAIM", "Name the kind of study, model, target and population in the title"),
        "summary": ("TRIPOD+AI 2, CLAIM", "A summary with figures and their intervals"),
        "setting": ("TRIPOD+AI 3, CLAIM", "The clinical setting, intended users and place in care"),
        "aim": ("TRIPOD+AI 4, CLAIM", "The aim: making a model, testing one, or both"),
    },
    "Data, patients and truth": {
        "source": (
            "TRIPOD+AI 5, CLAIM",
            "Where the data come from, prospective or not, and when they were gathered",
        ),
        "flow": ("TRIPOD+AI 6, 20, CLAIM", "Who was included and left out, with a flow of numbers"),
        "traits": ("TRIPOD+AI 20b", "Age, sex and other traits of the patients"),
        "images": ("TRIPOD+AI 7, 9, CLAIM", "How images were prepared, and what the model is given"),
        "truth": ("TRIPOD+AI 8, CLAIM", "How the truth was defined, by whom, and how far they agree"),
        "outcome": ("TRIPOD+AI 8", "An outcome of the patient (biopsy, follow-up)"),
        "size": ("TRIPOD+AI 10, CLAIM", "How the sample size was chosen"),
        "missing": ("TRIPOD+AI 11, CLAIM", "What was done about missing values"),
        "apart": (
            "TRIPOD+AI 16, CLAIM",
            "How data for making and testing were kept apart, and at which level",
        ),
    },
    "Model and how it was made": {
        "model": (
            "TRIPOD+AI 12, 22, CLAIM",
            "The model in detail: inputs, layers, settings, software and versions",
        ),
        "training": (
            "TRIPOD+AI 12, CLAIM",
            "How it was trained, how settings were chosen, and on which data",
        ),
        "classes": ("TRIPOD+AI 13", "Unequal classes"),
        "output": ("TRIPOD+AI 15, CLAIM", "What the output is, and how the threshold was chosen"),
    },
    "Figures": {
        "discrimination": ("TRIPOD+AI 12e, 23, CLAIM", "Discrimination with uncertainty, per unit"),
        "calibration": ("TRIPOD+AI 12e, 23", "Calibration, as a figure and a plot"),
        "utility": ("TRIPOD+AI 12e", "Clinical utility, as a decision curve"),
        "simpler": ("CLAIM", "A comparison with simpler ways, on the same patients"),
        "readers": ("CLAIM", "A comparison with readers at work"),
        "subgroups": (
            "TRIPOD+AI 12e, 14, 23b, CLAIM",
            "Figures of subgroups and scanners; fairness over groups of people",
        ),
        "robustness": ("CLAIM", "Robustness: other seeds, folds and rules"),
        "failures": ("CLAIM", "Failures looked at one by one"),
        "elsewhere": ("TRIPOD+AI 23, CLAIM", "A test on data from elsewhere"),
        "updating": ("TRIPOD+AI 24", "Updating the model on the new data"),
    },
    "Use, fairness and openness": {
        "limits": ("TRIPOD+AI 25, 26, CLAIM", "What the figures do not mean"),
        "use": ("TRIPOD+AI 27", "How it would be used, and what happens with poor input"),
        "code": ("TRIPOD+AI 18, CLAIM", "Code, settings and data to do it again"),
        "registration": ("TRIPOD+AI 18", "Protocol registered beforehand"),
        "ethics": ("TRIPOD+AI 17, CLAIM", "Ethics and consent"),
        "funding": ("TRIPOD+AI 18, CLAIM", "Funding and interests"),
        "public": ("TRIPOD+AI 19", "Patients and the public involved"),
    },
}
# Answers that are the same for every report: state, where and answer of an Item.
_ANSWERS = {
    "title": (YES, "top", ""),
    "summary": (YES, "summary", ""),
    "setting": (NONE, "limits", "For research and education; no place in care is intended."),
    "source": (
        PARTLY,
        "data",
        "Source and content hash; retrospective. Dates are the collection's, and not in this report.",
    ),
    "flow": (YES, "data", ""),
    "traits": (NOT, "", "Not in the data set."),
    "images": (
        PARTLY,
        "reproduce",
        "64 × 64 crops at a lesion that a reader marked; settings in full. Cropping is not the model's own "
        "work.",
    ),
    "truth": (
        PARTLY,
        "labels",
        "The label rule over the readers' ratings. Readers' agreement is not in this report.",
    ),
    "outcome": (NOT, "limits", "The truth is readers' opinion."),
    "size": (
        NOT,
        "data",
        "All that the data set holds; no size was planned. The intervals say how much it tells.",
    ),
    "missing": (YES, "data", "Nodules without a label under the rule are left out and counted."),
    "model": (YES, "reproduce", "Every setting; the architecture is the code of the version that is named."),
    "utility": (NOT, "", "No decision is meant to hang on it."),
    "readers": (NOT, "limits", "Readers' ratings are a baseline; no reader read for this."),
    "failures": (NOT, "", "The report holds no image and no case."),
    "updating": (NONE, "", "It is tested as it is."),
    "limits": (YES, "limits", ""),
    "use": (NONE, "", "Not for clinical use."),
    "code": (YES, "reproduce", ""),
    "registration": (NOT, "", "The protocols are fixed in code; nothing was registered."),
    "ethics": (
        PARTLY,
        "attribution",
        "That of the collection, which is de-identified; nothing of our own was gathered.",
    ),
    "funding": (NOT, "", "For those who send the report to say."),
    "public": (NOT, "", "Nobody was."),
}


def checklist(report: Report) -> list[tuple[str, list[Item]]]:
    """(heading, items) for this report."""
    answers = _ANSWERS | _of_method(report) | _of_figures(report)
    return [
        (heading, [Item(*question, *answers[key]) for key, question in questions.items()])
        for heading, questions in _QUESTIONS.items()
    ]


def _of_method(report: Report) -> dict[str, tuple[str, str, str]]:
    """The answers on aim, split, training and threshold."""
    trains, threshold = report.description.trains, report.description.threshold
    thresholded = any(one is not None and one.balanced_accuracy for _, one in report.units)
    leaky = PARTLY if report.leaks else YES
    level = "The patient, in stratified folds." if report.folds else "The patient."
    if report.protocol == "external":
        level = "The patient. Another data set."
    if report.leaks:
        level = "The patient, but labels of tested patients reached the model: it leaks."
    made = (
        (leaky, "protocol", "") if trains else (NONE, "protocol", "Trained beforehand; see its model card.")
    )
    return {
        "aim": (YES, "protocol", "Both, inside the folds." if trains else "Testing a trained model."),
        "apart": (leaky, "protocol", level),
        "training": made,
        "classes": (YES, "figures", "Balanced accuracy and precision-recall stand beside accuracy.")
        if thresholded
        else (NOT, "figures", "AUC alone."),
        "output": (leaky, "calibration", f"A score with a probability. {threshold}")
        if thresholded
        else (PARTLY, "calibration", f"A score. {threshold}"),
    }


def _of_figures(report: Report) -> dict[str, tuple[str, str, str]]:
    """The answers on figures and comparisons."""
    calibrated = report.calibration or (report.external and report.external.calibration)
    baselines = ", ".join(map(baseline_name, report.baselines or {}))
    subgroups = "Size, texture, thickness, readers and scanner where known; no traits of persons."
    return {
        "discrimination": (YES if report.units.nodule else PARTLY, "figures", ""),
        "calibration": (YES if calibrated else PARTLY, "calibration", ""),
        "simpler": (
            YES if baselines else NOT,
            "comparisons" if report.comparisons else "forest",
            f"{baselines}." if baselines else "",
        ),
        "subgroups": (PARTLY if report.subgroups else NOT, "subgroups", subgroups),
        "robustness": (YES, "spread", "") if len(report.seeds) > 1 else (PARTLY, "spread", "One seed."),
        "elsewhere": (YES, "external", "")
        if report.protocol == "external"
        else (NOT, "limits", "`lungvae validate` does it where there are such data."),
    }
