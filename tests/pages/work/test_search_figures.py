"""The Search page's figures, on a search made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungvae_core.serving.jobs.searches import SearchState
from lungvae_core.training.search.book import COMPLETE, FAILED, HALTED
from lungvae_core.training.search.setup import make
from lungvae_core.training.search.spaces import one_of, space
from pages.work import search_figures
from pages.work.search_figures import in_boxes


def test_a_boxed_trial_has_a_point_in_the_boxes_of_every_axis():
    def point(axis, number):
        return {"x": axis, "customdata": [number]}

    assert in_boxes([]) == []
    assert in_boxes([point(0, 3), point(0, 1)]) == [1, 3]
    assert in_boxes([point(0, 3), point(0, 1), point(2, 3), point(2, 4)]) == [3]
    assert in_boxes([point(0, 1), point(2, 4)]) == []


def state(**options: Any) -> SearchState:
    """A search of two settings with four trials, of which one was halted."""
    config = make(
        space("gvae"),
        "/nowhere",
        ranges={"beta": (0.1, 10)},
        fixed={"width": 4},
        **{"trials": 4, "objective": "ssim", **options},
    )
    config = config.model_copy(
        update={"parameters": {"beta": config.parameters["beta"], "network": one_of("lean", "released")}}
    )
    table = pd.DataFrame(
        {
            "number": [0, 1, 2, 3, 4],
            "state": [COMPLETE, COMPLETE, HALTED, COMPLETE, FAILED],
            "value": [0.2, 0.6, 0.1, 0.4, np.nan],
            "epochs": [30, 30, 10, 30, 0],
            "beta": [0.1, 1.0, 2.0, 10.0, 5.0],
            "network": ["lean", "released", "lean", "released", "lean"],
        }
    )
    return SearchState(Path("search-1"), config, table, {}, None)


def test_each_trial_with_a_value_is_a_line_and_the_best_is_on_top():
    figure = search_figures.parallel(state())
    numbers = [line.customdata[0][0] for line in figure.data]
    assert numbers == [2, 0, 3, 1]  # the failed one has no value
    labels = list(figure.layout.xaxis.ticktext)
    assert labels[-2:] == ["epochs", "value:<br>ssim"]
    assert set(labels[:2]) == {"beta", "network"}
    heights = dict(zip(labels, figure.data[-1].y, strict=True))
    assert heights == {"beta": pytest.approx(1 / 3), "network": 1, "epochs": 1, "value:<br>ssim": 1}
    assert figure.data[0].y[-1] == 0  # the least value


def test_where_lower_is_better_the_least_is_on_top():
    assert [line.customdata[0][0] for line in search_figures.parallel(state(objective="mse")).data][-1] == 2


def test_the_best_value_so_far_never_gets_worse():
    trials, best = search_figures.best_so_far(state()).data
    assert (list(trials.x), list(trials.y)) == ([0, 1, 3], [0.2, 0.6, 0.4])  # halted ones do not count
    assert list(best.y) == [0.2, 0.6, 0.6]
    assert list(search_figures.best_so_far(state(objective="mse")).data[1].y) == [0.2, 0.2, 0.2]


def test_values_stand_against_each_setting_with_halted_trials_apart():
    search = state()
    figure = search_figures.scatters(search)
    complete, fewer = figure.data[:2]
    name = search.searched[0]
    assert figure.layout.annotations[0].text == f"{name} ({search.association(name):.2f})"
    assert list(complete.y) == [0.2, 0.6, 0.4]
    assert (list(fewer.y), fewer.marker.symbol) == ([0.1], "circle-open")
    axes = {search.searched[0]: figure.layout.xaxis, search.searched[1]: figure.layout.xaxis2}
    assert axes["beta"].type == "log"
    assert list(axes["network"].categoryarray) == ["lean", "released"]
