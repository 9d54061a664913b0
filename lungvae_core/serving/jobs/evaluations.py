"""The evaluations that the app can show: finished reports, and the progress of running evaluations.

Reports are in three places: workspace/evaluations/NAME/report.json (made from the page, or by
`lungvae evaluate` without --out), runs/RUN/*.json (next to a run), and models/reports/*.json and
models/MODEL/report*.json (shipped with the project). Those of runs' and models' own classifiers,
evaluation.json, come last.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lungvae_core.caches import bounded
from lungvae_core.errors import UserError
from lungvae_core.evaluation.report import OF_RUN, Report, load_report
from lungvae_core.files import check_name, modified, offered, read_json, shown
from lungvae_core.schema import Number, Part
from lungvae_core.serving.workspace.settings import Settings

REPORT = "report.json"


@dataclass(frozen=True)
class FoundReport:
    """A report as the app lists it."""

    name: str  # unique in the list; in the page's address
    path: Path
    protocol: str
    shipped: bool
    title: str


class EvaluationProgress(Part):
    """How far an evaluation has come."""

    what: str  # training, baselines, classifiers or figures, in that order
    done: Number  # of `total` units
    total: Number
    seconds_left: Number | None = None  # of `what`

    @property
    def fraction(self) -> float:
        """The finished part of `what`, 0..1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0


def evaluations_folder(settings: Settings | None = None) -> Path:
    """The folder of the reports made here, with one folder per report."""
    return (settings or Settings()).workspace / "evaluations"


def default_report(name: str, settings: Settings | None = None) -> Path:
    """The path to which an evaluation of that name writes its report."""
    return evaluations_folder(settings) / name / REPORT


def find_reports(settings: Settings | None = None) -> tuple[list[FoundReport], dict[str, str]]:
    """(reports, those made here first, newest first; {file: why it was left out}).

    JSON files of another kind (a run's config) are skipped silently, and so is a damaged evaluation.json,
    which Home describes with its model.
    """
    settings = settings or Settings()
    own = [*_files(evaluations_folder(settings), "*/*.json"), *_files(settings.runs, "*/*.json")]
    shipped = [
        *_files(settings.models, "reports/*.json"),
        *_files(settings.models, "*/report*.json"),
        *_files(settings.models, f"*/{OF_RUN}"),
    ]
    own.sort(key=modified, reverse=True)
    paths = sorted([*own, *shipped], key=lambda path: path.name == OF_RUN)
    reports: dict[str, FoundReport] = {}
    broken: dict[str, str] = {}
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen or not _is_report(path, modified(path)):
            continue
        seen.add(path.resolve())
        try:
            check_name(path.parent)
            check_name(path)
            report = read_report(path)
        except UserError as error:
            if path.name != OF_RUN:
                broken[shown(path)] = str(error)
            continue
        name = _name(path, reports)
        title = f"{name}: {report.model.name or report.model.preset}, {report.protocol}, {report.data.name}"
        title += " (LEAKS)" if report.leaks else ""
        reports[name] = FoundReport(name, path, report.protocol, path in shipped, title)
    return list(reports.values()), broken


def read_report(path: str | Path) -> Report:
    """The report in a file, cached until the file changes. UserError if it is damaged or missing."""
    path = Path(path)
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise UserError(f"The report is missing: {path} does not exist.") from error
    return _read(path, changed)


def read_progress(out: str | Path) -> EvaluationProgress | None:
    """How far the evaluation that writes the report `out` has come; None before it has written anything."""
    out = Path(out)
    with contextlib.suppress(UserError, ValidationError):
        progress = read_json(out.parent / f"{out.stem}.work" / "progress.json", what="")
        return EvaluationProgress.model_validate(progress)
    return None


def _files(folder: Path, pattern: str) -> list[Path]:
    return [path for path in offered(folder, pattern) if path.is_file()]


def _name(path: Path, taken: Container[str]) -> str:
    """A short name: the file's, or its folder's if all files have the same name."""
    stem = path.stem if path.parent.name == "reports" else path.parent.name
    if path.parent.name != "reports" and path.name != REPORT:
        stem = f"{stem}-{path.stem}"
    number, name = 2, stem
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


@bounded(64 * 2**20)
def _read(path: Path, _changed: int) -> Report:
    return load_report(path)


@bounded(2**20)
def _is_report(path: Path, _changed: int) -> bool:
    """Whether a JSON file is meant as a report, even a damaged one."""
    if path.name in (REPORT, OF_RUN):
        return True
    try:
        content = read_json(path, what="The report")
    except UserError:
        return path.name.startswith("report")
    return isinstance(content, dict) and {"format", "protocol", "units"} <= set(content)
