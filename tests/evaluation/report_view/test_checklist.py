"""The checklist: what each protocol answers, and what it says was not done."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation.report import Report
from lungvae_core.evaluation.report_view.checklist import MARKS, NONE, NOT, PARTLY, YES, Item, checklist
from tests.evaluation.made_up import made_up


def items(protocol: str = "nested", **changes: object) -> dict[str, Item]:
    report = Report.model_validate(made_up(protocol) | changes)
    return {item.question: item for _, group in checklist(report) for item in group}


@pytest.mark.parametrize("protocol", ["nested", "frozen", "paper", "external"])
def test_every_item_has_a_state_and_what_is_missing_is_said(protocol: str) -> None:
    for item in items(protocol).values():
        assert item.state in MARKS
        assert item.guides.startswith(("TRIPOD+AI", "CLAIM"))
        assert item.answer or item.state == YES or (item.state == PARTLY and item.where), item
        assert item.linked == (bool(item.where) and item.state in (YES, PARTLY))


def test_a_leak_is_no_full_answer() -> None:
    question = next(name for name in items() if name.startswith("How data for making and testing"))
    assert items()[question].state == YES
    assert items("paper")[question].state == PARTLY
    assert "leaks" in items("paper")[question].answer


def test_a_comparison_that_was_not_made_is_not_done() -> None:
    question = "A comparison with simpler ways, on the same patients"
    assert items()[question].state == YES
    assert "Diameter alone" in items()[question].answer
    assert items(baselines=None, comparisons=None)[question].state == NOT


def test_one_seed_says_less_than_several() -> None:
    question = "Robustness: other seeds, folds and rules"
    assert items()[question].state == YES
    assert (items(seeds=[0])[question].state, items(seeds=[0])[question].answer) == (PARTLY, "One seed.")


def test_how_a_trained_model_was_trained_does_not_apply() -> None:
    question = "How it was trained, how settings were chosen, and on which data"
    assert items("external")[question].state == NONE
    assert not items("external")[question].linked
