"""A valid report with any one value edited: shown, or refused in a sentence; never a trace."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.html import to_html
from lungvae_core.evaluation.report import Report, load_report
from lungvae_core.evaluation.report_view.sections import sections
from tests.conftest import ROOT
from tests.wrong_shapes import MISSING, replaced

REPORTS = sorted((ROOT / "models" / "reports").glob("*.json"))
EDITS = [
    *(None, True, "", "x" * 5_000, "<b>\u202e</b>", 0, -1, 1, 2, 10**15, 1e-308, -1e308, 1e308, 0.5),
    *([], {}, [[]], [None], [1e308] * 3, {"a": 1}, [{}], MISSING),
]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value; of lists the first and the last only."""
    if path:
        yield path
    inner = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, list) and value:
        inner = [(at, value[at]) for at in sorted({0, len(value) - 1})]
    for key, each in inner:
        yield from places(each, (*path, key))


def drawn(report: Report) -> None:
    """All that the page and the HTML file show of a report."""
    from pages.evaluation import parts

    to_html(report)
    for say in (words.verdict, words.limits, words.main_unit):
        say(report)
    for unit in words.units_of(report):
        parts.sections(sections(report, unit))


def tried(source: Path, count: int, seed: int, tmp_path: Path) -> tuple[int, int]:
    """(shown, refused) of so many edits of a report, drawn by chance."""
    whole = json.loads(source.read_text(encoding="utf-8"))
    every = [(path, value) for path in places(whole) for value in EDITS]
    file, shown = tmp_path / "report.json", 0
    for path, value in random.Random(seed).sample(every, count):
        file.write_text(json.dumps(replaced(whole, path, value)), encoding="utf-8")
        try:
            report = load_report(file)
        except UserError as error:
            if len(str(error)) > 1_500:
                pytest.fail(f"{path} = {value!r:.60} is told in {len(str(error))} letters")
            continue
        shown += 1
        try:
            drawn(report)
        except Exception as error:
            pytest.fail(f"{path} = {value!r:.60}: {error!r}")
    return shown, count - shown


@pytest.mark.parametrize("source", REPORTS, ids=lambda path: path.stem)
def test_edits_of_a_report_are_shown_or_refused(source: Path, tmp_path: Path):
    shown, refused = tried(source, 3, 1, tmp_path)
    assert shown + refused == 3


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("source", REPORTS, ids=lambda path: path.stem)
@pytest.mark.exhaustive
def test_many_edits_of_a_report_are_shown_or_refused(source: Path, tmp_path: Path):
    shown, refused = tried(source, 600, 2, tmp_path)
    print(f"{source.stem}: {shown} edits shown, {refused} refused")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("units", "slice", "curves", "roc", "tpr"), []),
        (("units", "nodule", "curves", "roc", "fpr", 0), MISSING),
        (("units", "slice", "curves", "pr", "recall"), [0.5]),
        (("reconstruction", "by_size", 0, "inside_mse", "value"), [{}]),
        (("reconstruction", "by_size", 0, "ms_ssim", "low"), [1e308] * 3),
    ],
)
def test_an_edit_that_cannot_be_drawn_is_refused(path: tuple, value: object, tmp_path: Path):
    whole = json.loads(REPORTS[0].read_text(encoding="utf-8"))
    file = tmp_path / "report.json"
    file.write_text(json.dumps(replaced(whole, path, value)), encoding="utf-8")
    with pytest.raises(UserError, match="damaged"):
        load_report(file)
