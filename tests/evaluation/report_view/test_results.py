"""The sections of figures: what each shows of a report, and that a missing part is no section."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view import results
from lungvae_core.evaluation.report_view.blocks import Beside, Bullets, Forest, Panels, Steps, Table, Text
from lungvae_core.number_text import DASH
from tests.evaluation.made_up import made_up


def report(protocol: str = "nested", **changes: object) -> Report:
    return Report.model_validate(made_up(protocol) | changes)


@pytest.mark.parametrize(
    ("section", "protocol", "without"),
    [
        (results.leak, "paper", {"leak": None}),
        (results.comparisons, "nested", {"comparisons": None}),
        (results.subgroups, "nested", {"subgroups": None}),
        (results.calibration, "nested", {"calibration": None}),
        (results.nodule_rules, "nested", {"nodule_rules": None}),
        (results.size_matched, "nested", {"size_matched": None}),
        (results.external, "external", {"external": None}),
        (results.stages, "nested", {"stages": None}),
        (results.reconstruction, "nested", {"reconstruction": None}),
        (
            results.forest,
            "nested",
            {"units": {"slice": None, "nodule": None, "patient": None}, "baselines": {}},
        ),
        (results.figures, "nested", {"units": {"slice": None, "nodule": None, "patient": None}}),
        (results.curves, "nested", {"units": {"slice": None, "nodule": None, "patient": None}}),
    ],
)
def test_a_part_that_a_report_lacks_is_no_section(section: Callable, protocol: str, without: dict) -> None:
    assert section(report(protocol), None)
    assert section(report(protocol, **without), None) == []


def test_the_model_stands_beside_its_baselines_per_unit() -> None:
    forest, text = results.forest(report(), None)
    assert isinstance(forest, Forest)
    assert [name for name, _ in forest.groups] == ["Per patient", "Per nodule", "Per slice"]
    nodules = dict(forest.groups)["Per nodule"]
    assert nodules[0].name == "Model (dirvae)"
    assert nodules[0].interval.value == 0.941
    assert isinstance(text, Text)
    assert "These need a reader at prediction time: Diameter alone" in text.text
    # Patients have no size baseline, so that nodules are shown below.
    [patients, *_] = results.forest(report(), "patient")
    assert isinstance(patients, Forest)
    assert [name for name, _ in patients.groups] == ["Per patient", "Per nodule"]
    assert "No baseline was run" in results.forest(report(baselines={}), None)[-1].text


def test_all_figures_are_in_a_table_of_all_units() -> None:
    table = next(block for block in results.figures(report(), None) if isinstance(block, Table))
    assert table.head == ["Figure", "Per slice", "Per nodule", "Per patient", "What it is"]
    [auc] = [row for row in table.rows if row[0] == "AUC"]
    assert auc[2] == "0.941 (0.927 to 0.952)"
    assert "Tested: 8,494 slices" in table.caption


def test_a_confusion_matrix_adds_up() -> None:
    panels = [block for block in results.curves(report(), None) if isinstance(block, Panels)]
    assert [panel.unit for panel in panels] == ["slice", "nodule", "patient"]
    for panel in panels:
        assert [square.title for square in panel.squares] == ["ROC", "Precision and recall", "Reliability"]
        own = report().units.of(panel.unit)
        assert own is not None
        assert sum(cell.count for _, cells in panel.confusion for cell in cells) == own.count
        for _, cells in panel.confusion:
            assert sum(cell.share for cell in cells) == pytest.approx(1)
    [only, _] = results.curves(report(), "slice")
    assert isinstance(only, Panels)
    assert only.heading == ""


def test_the_leak_is_drawn_step_by_step() -> None:
    beside = next(block for block in results.leak(report("paper"), None) if isinstance(block, Beside))
    [aucs] = beside.left
    assert isinstance(aucs, Steps)
    assert [step.label for step in aucs.steps][:2] == ["0.912", "0.966 (+0.054)"]


def test_comparisons_are_sentences_and_differences() -> None:
    bullets, forest, *_ = results.comparisons(report(), None)
    assert isinstance(bullets, Bullets)
    assert bullets.lines[0].startswith("The best size baseline: Per nodule, the model is ahead of mask area")
    assert isinstance(forest, Forest)
    assert forest.zero == 0.0


def test_small_groups_have_a_dash() -> None:
    table = next(block for block in results.subgroups(report(), None) if isinstance(block, Table))
    [part_solid] = [row for row in table.rows if row[1] == "part solid"]
    assert part_solid[5:] == [DASH] * 3


def test_values_of_any_shape_in_a_few_words() -> None:
    assert [results.short(value) for value in (True, False, None)] == ["yes", "no", DASH]
    assert results.short("text") == "text"
    assert results.short(list(range(10))) == "0, 1, 2, 3, 4, 5, 6, 7, … (10)"
    assert results.short({"inner_auc": {"wide": 0.123456}}) == "inner auc wide 0.1235"
    assert results.short({"value": 0.5, "low": 0.4, "high": 0.6}) == "0.500 (0.400 to 0.600)"
