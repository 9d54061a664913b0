"""The group panel's charts: points in standard deviations, filled where the interval excludes zero."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungvae_core.explore.typical import Contrast
from lungvae_core.palette import GREY, SKY
from pages.map import group_figures

NAN = float("nan")
DIFFERENCES = [
    Contrast("diameter_mm", 14.0, 10.0, 4.0, 2.0, 6.0, 4.0, 30),
    Contrast("score", 0.5, 0.6, -0.1, -0.3, 0.1, 0.2, 30),
    Contrast("texture", 4.0, 4.5, -0.5, NAN, NAN, 1.0, 2),  # too few patients for an interval
    Contrast("ssim", NAN, 0.8, NAN, NAN, NAN, 0.1, 0),  # nobody in the group has it
]


def test_differences_are_in_standard_deviations_the_first_on_top():
    figure = group_figures.contrasts(DIFFERENCES)
    [points] = figure.data
    assert list(points.x) == [-0.5, -0.5, 1.0]  # drawn from the bottom; what is unknown is left out
    assert list(points.marker.color) == [GREY, GREY, SKY]
    assert list(points.marker.symbol) == ["circle-open", "circle-open", "circle"]
    np.testing.assert_allclose(points.error_x.array, [0, 1.0, 0.5])
    np.testing.assert_allclose(points.error_x.arrayminus, [0, 1.0, 0.5])
    assert figure.layout.yaxis.ticktext[-1] == "diameter<br>14.0 mm, rest 10.0 mm"
    assert "difference +4.00 mm (95 %: +2.00 to +6.00)" in points.text[-1]
    assert "too few patients for an interval" in points.text[0]


def test_shares_of_ratings_are_stacked_from_1_to_5():
    composition = pd.DataFrame({"group": [0.5, 0, 0, 0, 0.5], "all": [0.2] * 5}, index=range(1, 6))
    figure = group_figures.shares(composition)
    assert [bar.name for bar in figure.data] == ["1", "2", "3", "4", "5"]
    assert list(figure.data[0].x) == [0.5, 0.2]
    assert sum(bar.x[0] for bar in figure.data) == 1
    assert len({bar.marker.color for bar in figure.data}) == 5
    assert figure.layout.barmode == "stack"
