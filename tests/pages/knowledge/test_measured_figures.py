"""The figures of the Measured traversals page."""

from __future__ import annotations

import copy

import numpy as np

from pages.knowledge import measured_figures
from tests.pages.knowledge.made_up import made_up


def test_figures_do_without_what_could_not_be_measured():
    made = copy.deepcopy(made_up())
    for one in made["dimensions"]:
        for part in ("moved", "walk"):
            del one[part]["texture_hu"]
    made["dimensions"][2]["walk"]["diameter_px"] = [[1.0, None, 2.0]] * 3
    assert measured_figures.overview(made, [2, 0, 1, 3], 0).data
    assert measured_figures.curves(made, 2).data
    assert measured_figures.effects(made, 2).data
    blank = made["dimensions"][1] | {"moved": {}, "walk": {}}
    made["dimensions"][1] = blank
    assert measured_figures.overview(made, [2, 0, 1, 3], 1).data
    assert measured_figures.curves(made, 1) is not None
    assert len(measured_figures.strip(np.zeros((2, 64, 64)), np.zeros((2, 5, 2)), np.zeros(2)).data) == 3


def test_the_property_that_changes_most_comes_first():
    made = made_up()
    assert measured_figures.strongest(made, 2)[0] == "diameter_px"
    assert set(measured_figures.strongest(made, 2)) == set(measured_figures.naming(made))
    made["dimensions"][2]["moved"] = {}
    assert measured_figures.strongest(made, 2) == []


def test_effects_are_in_standard_deviations_with_their_interval():
    figure = measured_figures.effects(made_up(), 2)
    [points] = figure.data
    assert (points.y[0], points.x[0]) == ("diameter", 0.9)
    np.testing.assert_allclose(points.error_x.array[0], 5.0 / 5.0 - 0.9)  # the spread is 5
    np.testing.assert_allclose(points.error_x.arrayminus[0], 0.9 - 4.0 / 5.0)


def test_curves_have_a_band_and_a_mean_for_each_property():
    figure = measured_figures.curves(made_up(), 2, count=2)
    assert len(figure.data) == 4
    band, mean = figure.data[:2]
    assert list(mean.x) == [-2, 0, 2]
    assert list(mean.y) == [1, 2, 3]
    assert list(band.y) == [1.1, 2.1, 3.1, 2.9, 1.9, 0.9]
    assert figure.layout.annotations[0].text == "diameter, px"


def test_a_strip_has_each_image_at_its_place_with_outline_and_value():
    images = np.stack([np.zeros((64, 64)), np.ones((64, 64))])
    figure = measured_figures.strip(images, np.ones((2, 5, 2)), np.array([-1.5, 2.0]))
    pixels = np.asarray(figure.data[0].z)
    step = 64 + measured_figures.GAP
    assert pixels.shape == (64, step + 64, 3)
    assert (pixels[0, 0] == 0).all()
    assert (pixels[0, step] == 255).all()
    assert list(figure.data[2].x) == [step + 1] * 5
    assert [note.text for note in figure.layout.annotations[::2]] == ["−1.5", "2"]


def test_what_judges_read_is_a_row_a_rating_the_steadiest_first():
    made = made_up()
    table = measured_figures.judged(made, made["dimensions"][0])
    assert table["rating"].tolist() == ["spiculation", "texture"]
    assert table["rises in"].tolist() == ["67%", "33%"]
    assert measured_figures.judged(made, {"judged": {}}).empty
