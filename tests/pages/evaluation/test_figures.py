"""The Evaluation page's figures hold what the report says."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation.report import Interval, ReliabilityBin, Report
from lungvae_core.evaluation.report_view.blocks import Beside, Dots, Figure, Forest, Panels, Square, Strip
from lungvae_core.evaluation.report_view.sections import sections
from lungvae_core.evaluation.report_words import Row
from pages.evaluation import figures
from tests.evaluation.made_up import made_up


def test_figures_hold_what_the_report_says():
    report = Report.model_validate(made_up("paper"))
    blocks = {
        block.name: block
        for section in sections(report, "nodule")
        for part in section.blocks
        for block in ([*part.left, *part.right] if isinstance(part, Beside) else [part])
        if isinstance(block, Figure)
    }
    forest = figures.forest(blocks["forest"])
    shapes = {trace.marker.symbol for trace in forest.data}
    assert shapes == set(figures.SHAPES.values())
    assert forest.data[0].x[0] == report.units.nodule.auc.value
    leak = figures.steps(blocks["leak-slice"])
    ends = [bar.base[0] + bar.x[0] for bar in leak.data]
    assert ends == pytest.approx([step.slice for step in report.leak.steps])
    assert leak.data[1].base[0] == pytest.approx(report.leak.steps[0].slice)  # it hangs where the first ended
    [panels] = [
        block
        for section in sections(report, "nodule")
        for block in section.blocks
        if isinstance(block, Panels)
    ]
    drawn = figures.confusion(panels.confusion)
    counts = report.units.nodule.confusion
    assert any(f"<b>{counts.tp:,}</b>" in note.text for note in drawn.layout.annotations)
    assert figures.forest(blocks["differences"]).layout.shapes[0].x0 == 0


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 0.1, high=value + 0.1)


def test_a_forest_has_a_line_a_row_with_its_interval_and_number():
    rows = [Row("The model", interval(0.9), "model"), Row("Diameter", interval(0.8), "size")]
    forest = figures.forest(Forest("forest", "All", [("Per nodule", rows)], limits=(0.5, 1.0), legend=True))
    assert [trace.x[0] for trace in forest.data] == [0.9, 0.8]
    assert forest.data[0].error_x.array[0] == pytest.approx(0.1)
    assert list(forest.layout.yaxis.ticktext) == ["<b>Per nodule</b>", "<b>The model</b>", "Diameter"]
    assert [note.text for note in forest.layout.annotations] == [
        "<b>0.900 (0.800 to 1.000)</b>",
        "0.800 (0.700 to 0.900)",
    ]
    low, high = forest.layout.xaxis.range
    assert low < 0.5 < 1.0 < high
    assert figures.draw(Forest("forest", "None", [])).data == ()


def test_a_strip_has_every_dot_and_a_stroke_at_the_mean():
    drawn = figures.draw(
        Strip("folds", "Folds", [Dots("fold", [0.7, 0.9], "model"), Dots("none", [1.0], "size")])
    )
    assert [list(trace.x) for trace in drawn.data] == [
        [0.7, 0.9],
        pytest.approx([0.8, 0.8]),
        [1.0],
        [1.0, 1.0],
    ]
    assert list(drawn.data[2].y) == [-1]


def test_bins_of_a_calibration_curve_have_their_intervals():
    bins = [ReliabilityBin(mean_probability=0.2, share=0.3, low=0.1, high=0.6, count=10)]
    square = Square("Calibration", "", "said", "was", [0.2], [0.3], bins=bins)
    chance, curve = figures.curves([square]).data
    assert list(chance.y) == [0, 1]
    assert curve.error_y.array[0] == pytest.approx(0.3)
    assert curve.error_y.arrayminus[0] == pytest.approx(0.2)
    assert [list(each) for each in curve.customdata] == [[10]]
