"""All sections of a report, in display order: the page and the HTML file draw the same ones."""

from __future__ import annotations

from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view import about, results
from lungvae_core.evaluation.report_view.blocks import HALF, SHUT, WIDE, Section

# name, title, place on the page, function that makes the blocks
_SECTIONS = (
    ("asked", "What was asked", SHUT, about.question),
    ("forest", "The model beside simpler ways", WIDE, results.forest),
    ("leak", "What the leak is worth", WIDE, results.leak),
    ("protocol", "Protocol", SHUT, about.protocol),
    ("data", "Data and cohort", SHUT, about.data),
    ("labels", "Task and label rule", SHUT, about.labels),
    ("figures", "All figures", WIDE, results.figures),
    ("curves", "Curves and confusion", WIDE, results.curves),
    ("comparisons", "Compared with the baselines", WIDE, results.comparisons),
    ("subgroups", "Subgroups", WIDE, results.subgroups),
    ("calibration", "Calibration and threshold", HALF, results.calibration),
    ("nodule-rules", "From slices to a nodule", HALF, results.nodule_rules),
    ("size-matched", "At equal size", HALF, results.size_matched),
    ("external", "On other data", HALF, results.external),
    ("spread", "Folds and seeds", HALF, results.spread),
    ("stages", "Before and after labels", HALF, results.stages),
    ("diagnosis", "Opinion and diagnosis", WIDE, results.diagnosis),
    ("reconstruction", "Reconstruction of held-out patients", WIDE, results.reconstruction),
    ("limits", "What these figures do not mean", WIDE, about.limits),
    ("reproduce", "How to do it again", SHUT, about.reproduce),
)
_PER_UNIT = ("figures", "curves")


def sections(report: Report, unit: str | None = None) -> list[Section]:
    """The sections for which the report has content, with the figures of one unit or of all its units."""
    shown = []
    for name, title, place, make in _SECTIONS:
        per = f", per {unit}" if unit and name in _PER_UNIT else ""
        if blocks := make(report, unit):
            shown.append(Section(name, title + per, place, blocks))
    names = {"top", "summary", "attribution", *(section.name for section in shown)}
    return [*shown, Section("checklist", "Checklist", SHUT, about.checked(report, names))]
