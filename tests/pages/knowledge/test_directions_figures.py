"""The Directions page's charts, of directions made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pages.knowledge import directions_figures as figures


def score(value: float | None, name: str = "auc") -> dict[str, Any]:
    ends = (None, None) if value is None else (value - 0.1, value + 0.1)
    return {"name": name, "value": value, "low": ends[0], "high": ends[1]}


@pytest.fixture
def report() -> dict[str, Any]:
    def stability(value: float | None) -> dict[str, Any]:
        ends = {"value": value, "low": value and value - 0.1, "high": value and value + 0.1}
        return {"pattern": {"halves": {**ends, "null": 0.1, "null_high": 0.3, "p": 0.01}}}

    matched = {
        "all": {"diameter": score(0.9)},
        "band": {"auc": score(0.7), "diameter": score(0.6)},
        "size": {"auc": score(None), "diameter": score(0.5)},
    }
    return {
        "directions": {
            "malignancy": {"score": score(0.8), "matched": matched, "stability": stability(0.9)},
            "diameter": {"score": score(0.4, "r2"), "matched": None, "stability": stability(None)},
        },
        "angles": {"names": ["malignancy", "malignancy_without_size"], "cosine": [[1, -0.5], [-0.5, 1]]},
    }


def test_directions_have_a_name_for_people():
    assert figures.title("malignancy_without_size") == "malignancy, size projected out"
    assert figures.title("texture") == "texture"


def test_aucs_and_r2_have_panels_of_their_own_with_their_chance(report):
    figure = figures.held_out(report)
    auc, r2 = figure.data
    assert (list(auc.x), list(r2.x)) == ([0.8], [0.4])
    np.testing.assert_allclose(auc.error_x.array, 0.1)
    assert auc.text[0].startswith("malignancy: 0.8")
    assert [shape.x0 for shape in figure.layout.shapes] == [0.5, 0.0]


def test_directions_stand_beside_the_diameter_among_lesions_of_like_size(report):
    figure = figures.like_sizes(report)
    everything, band, size = figure.data
    assert list(everything.x) == [0.9, 0.8]  # from the bottom: the diameter itself, then the directions
    assert list(band.x) == [0.6, 0.7]
    assert list(size.x) == [0.5]  # too few pairs for the direction
    assert everything.y[0] > band.y[0] > size.y[0]  # one above the other
    report["directions"]["malignancy"]["matched"] = None
    assert figures.like_sizes(report) is None


def test_stability_stands_beside_shuffled_values_and_what_is_unknown_is_left_out(report):
    bars, shuffled = figures.steadiness(report, "halves", "pattern").data
    assert (list(bars.x), list(bars.y)) == (["malignancy"], [0.9])
    assert list(shuffled.y) == [0.1]
    np.testing.assert_allclose(shuffled.error_y.array, [0.2])


def test_cosines_go_from_minus_1_to_1(report):
    [cells] = figures.angles(report, "cosine").data
    assert cells.z.tolist() == [[1, -0.5], [-0.5, 1]]
    assert (cells.zmin, cells.zmax) == (-1, 1)
    assert list(cells.x) == ["malignancy", "malignancy, size projected out"]


@pytest.mark.parametrize("scored", [True, False])
def test_a_walk_has_a_panel_a_property_and_the_score_first(scored):
    values = np.linspace(-2, 2, 5)
    curves = {"diameter, px": values + 10, "mean HU": values * 0}
    figure = figures.along(values, curves, values / 10 + 0.5 if scored else None, at=0.5)
    assert [note.text for note in figure.layout.annotations] == [
        *(["model score, 0 to 1"] if scored else []),
        "diameter, px",
        "mean HU",
    ]
    assert list(figure.data[scored].y) == [8, 9, 10, 11, 12]
    assert {shape.x0 for shape in figure.layout.shapes} == {0.5}


def test_a_flip_is_drawn_over_its_distance_with_the_score_to_pass():
    change: Any = SimpleNamespace(distance=3.0, path_scores=np.array([0.2, 0.4, 0.6]), target=0.5)
    figure = figures.path(change)
    assert (list(figure.data[0].x), list(figure.data[0].y)) == ([0, 1.5, 3], [0.2, 0.4, 0.6])
    assert figure.layout.shapes[0].y0 == 0.5
