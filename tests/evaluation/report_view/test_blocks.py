"""The building blocks of sections: what they derive from the values that they are given."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation.report import Interval
from lungvae_core.evaluation.report_view.blocks import KINDS, Cell, Dots, Forest, Step, Steps, ends
from lungvae_core.evaluation.report_words import Row
from lungvae_core.number_text import DASH


def test_a_missing_end_is_replaced_by_the_value() -> None:
    assert ends(Interval(value=0.5, low=0.4, high=0.6)) == (0.5, 0.4, 0.6)
    assert ends(Interval(value=0.5)) == (0.5, 0.5, 0.5)
    assert ends(Interval(value=None)) == (0.0, 0.0, 0.0)


def test_the_legend_has_the_kinds_of_its_rows_alone() -> None:
    one = Interval(value=0.5)
    forest = Forest("n", "t", [("", [Row("a", one, "size")]), ("b", [Row("c", one, "model")])])
    assert forest.kinds == {"model": KINDS["model"], "size": KINDS["size"]}


def test_a_step_is_labelled_with_its_gain() -> None:
    assert Step("a", "", 0.912, None).label == "0.912"
    assert Step("a", "", 0.966, 0.054).label == "0.966 (+0.054)"
    assert Step("a", "", 0.966, -0.01).label == "0.966 (−0.010)"


def test_a_waterfalls_axis_has_room_below_its_lowest_step() -> None:
    low, high, margin = Steps("n", "t", [Step("a", "", 0.9, None), Step("b", "", 1.0, 0.1)], "AUC").limits
    assert (low, high, margin) == pytest.approx((0.86, 1.0, 0.02))
    # Steps that are all alike still have a width.
    assert Steps("n", "t", [Step("a", "", 0.9, None)], "AUC").limits[2] == 0.01


def test_shares_and_means() -> None:
    assert Cell(3, 0.9412, True).percent == "94.1%"
    assert Cell(0, None, True).percent == DASH
    assert Dots("seeds", [0.5, 0.7], "model").mean == pytest.approx(0.6)
