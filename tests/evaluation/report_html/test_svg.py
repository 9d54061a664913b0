"""Figures as SVG: where values stand, and which figures there are."""

from __future__ import annotations

import re

import pytest

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report_html import svg
from lungvae_core.evaluation.report_view.blocks import KINDS, Dots, Forest, Square, Step, Steps, Strip


def test_figures_are_drawn_where_they_belong():
    def rows(*values):
        return [words.Row(str(at), words.Interval(value=value), "model") for at, value in enumerate(values)]

    drawn = svg.forest(Forest("name", "t", [("", rows(0.5, 1.0, 0.75))], limits=(0.5, 1.0)))
    x = [float(found) for found in re.findall(r'<circle[^>]* cx="([\d.]+)"', drawn)]
    assert x[2] == pytest.approx((x[0] + x[1]) / 2, abs=0.1)
    assert svg.forest(Forest("name", "t", [("", rows(None))])) == ""
    assert svg.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    for low, high in ((0.9123, 0.9456), (-0.03, 0.12), (0, 1e-4), (0.5, 0.5)):
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in svg.ticks(low, high))
        assert len(svg.ticks(low, high)) <= 8


def test_what_is_given_cannot_become_markup() -> None:
    bad = '<script>"'
    row = words.Row(bad, words.Interval(value=0.5, low=0.4, high=0.6), "size", note=bad)
    for drawn in (
        svg.draw(Forest("name", bad, [(bad, [row])], axis=bad)),
        svg.draw(Steps("name", bad, [Step(bad, bad, 0.9, None), Step(bad, bad, 0.95, 0.05)], bad)),
        svg.draw(Strip("name", bad, [Dots(bad, [0.5, 0.6], "model")], bad)),
        svg.square(Square(bad, bad, bad, bad, [0, 1], [0, 1]), bad),
    ):
        assert drawn.startswith("<svg ")
        assert drawn.endswith("</svg>")
        assert "<script>" not in drawn
        assert "&lt;script&gt;" in drawn


def test_a_waterfall_goes_on_where_the_step_before_ended() -> None:
    drawn = svg.steps(Steps("n", "t", [Step("a", "", 0.9, None), Step("b", "", 0.95, 0.05)], "AUC"))
    bars = re.findall(r'<rect class="step (\w+)" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    assert [kind for kind, _, _ in bars] == ["honest", "leak"]
    assert float(bars[1][1]) == pytest.approx(float(bars[0][1]) + float(bars[0][2]), abs=0.2)
    assert svg.steps(Steps("n", "t", [], "AUC")) == ""
    assert svg.strip(Strip("n", "t", [])) == ""


def test_every_kind_has_a_shape_of_its_own() -> None:
    shapes = {kind: svg.marker(kind).split("points=")[-1] for kind in KINDS}
    assert len(set(shapes.values())) == len(KINDS)
