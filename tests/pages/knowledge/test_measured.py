"""The Measured traversals page without a browser."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.data.properties import PROPERTIES
from lungvae_core.explore.measured.record import FORMAT
from lungvae_core.explore.measured.traverse import property_entries
from lungvae_core.serving.http.routes import registry
from pages.knowledge import measured_figures
from tests.pages.conftest import charts, open_page, text

STEPS = 3


def made_up() -> dict[str, Any]:
    """What `measure_run` would write of a model of 4 dimensions, of which the third is named."""

    def dimension(at: int) -> dict[str, Any]:
        named = at == 2
        moved = {key: [0.1, -0.1, 0.3, 0.05, 0.1, 0.6] for key in PROPERTIES}
        if named:
            moved["diameter_px"] = [4.5, 4.0, 5.0, 0.9, 0.98, 1.0]
        return {
            "dimension": at,
            "low": -2.0,
            "high": 2.0,
            "name": "grows" if named else "nothing steady",
            "properties": ["diameter_px"] if named else [],
            "others": [],
            "family": "size" if named else "",
            "selectivity": 0.8 if named else 0.0,
            "inside_hu": 30.0,
            "outside_hu": 20.0,
            "outlined": 1.0,
            "moved": moved,
            "walk": {key: [[1.0, 2.0, 3.0], [0.9, 1.9, 2.9], [1.1, 2.1, 3.1]] for key in PROPERTIES},
            "mm": {"diameter_mm": [3.15, 2.8, 3.5]} if named else {},
            "judged": {"spiculation": [0.8, 0.6, 1.0, 0.97, 2 / 3], "texture": [0.0, -0.1, 0.1, 0.1, 1 / 3]},
        }

    return {
        "format": FORMAT,
        "rule": "The rule.",
        "moved": ["change", "low", "high", "effect", "spearman", "agree"],
        "dimensions_count": 4,
        "steps": STEPS,
        "seed": 0,
        "starts": {"rows": [0, 5, 10], "patients": 3, "with_spacing": 3},
        "outlined": 0.987,
        "properties": property_entries(np.full(len(PROPERTIES), 5.0)),
        "dimensions": [dimension(at) for at in range(4)],
        "controls": {"shuffled": {"dimensions": 200, "named": 0}},
        "judged": ["change", "low", "high", "spearman", "rises"],
        "judge": {
            "ratings": {
                "real": {
                    "spiculation": {"value": 0.52, "low": 0.44, "high": 0.6, "n": 1480, "patients": 106},
                    "texture": {"value": None, "low": None, "high": None, "n": 12, "patients": 3},
                },
                "reconstructed": {
                    "spiculation": {"value": 0.41, "low": 0.3, "high": 0.5, "n": 1480, "patients": 106},
                    "texture": {"value": None, "low": None, "high": None, "n": 12, "patients": 3},
                },
            },
            "fitted": {"used": 8000, "left_out": {"of patients of the starting lesions": 20}},
            "tested": {"used": 1480, "left_out": {}},
            "epochs": 10,
            "seed": 0,
            "seconds": 100.0,
        },
        "counted": {"used": 9, "left_out": {"not drawn": 111}},
        "outlines": {
            "real": [
                {
                    "band": "all",
                    "n": 400,
                    "dice": 0.83,
                    "dice_median": 0.86,
                    "area_correlation": 0.93,
                    "area_ratio": 0.88,
                    "outlined": 1.0,
                }
            ]
        },
    }


@pytest.fixture
def measured(models, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    made = made_up()
    for name in ("tiny-gvae", "tiny-dirvae"):
        monkeypatch.setattr(registry().load(name), "measured", made)
    return made


def opened(**query: str) -> AppTest:
    return open_page("knowledge/measured.py", **query)


def test_without_measurements_the_page_says_how_to_make_them(models):
    app = opened(model="tiny-gvae")
    assert "lungvae measure" in app.info[0].value
    assert str(models / "tiny-gvae") in app.info[0].value
    assert not app.get("plotly_chart")


def test_damaged_measurements_are_told_in_a_sentence(models, tmp_path):
    (models / "tiny-gvae" / "measured.json").write_text("[]")
    try:
        app = opened(model="tiny-gvae")
        assert "Make it again" in app.error[0].value
    finally:
        (models / "tiny-gvae" / "measured.json").unlink()


def test_the_page_says_what_it_shows_and_what_that_does_not_mean(measured):
    said = text(opened(model="tiny-gvae"))
    assert NOTICE in said
    for words in ("Not a cause", "Not a clean factor", "Not every lesion", "Not a reader's measurement"):
        assert words in said
    assert "1 of 4 dimensions have a name" in said
    assert "3 starting lesions" in said
    assert "seed 0" in said
    assert "Generated" in said


def test_the_strongest_dimension_comes_first_with_its_numbers(measured):
    app = opened(model="tiny-gvae")
    assert app.selectbox(key="measured-dimension-tiny-gvae").value == 2
    said = text(app)
    assert "Diameter +4.50 px (+4.00 to +5.0)" in said
    assert "+3.15 mm" in said
    assert "Spearman +0.98" in said
    assert "Selectivity 80%" in said
    assert app.query_params["dimension"] == "2"


@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_the_overview_has_a_cell_for_each_dimension_and_property(measured, name):
    heat, squares, dots = charts(opened(model=name))[0]["data"][:3]
    count = sum(one.names for one in PROPERTIES.values())
    assert (heat["type"], len(squares["customdata"])) == ("heatmap", 4 * count)
    assert len(dots["x"]) == 1
    assert dots["y"] == ["diameter"]
    assert heat["zmin"] == -heat["zmax"]


def test_every_image_of_the_strip_is_marked_as_generated(measured):
    strip = charts(opened(model="tiny-gvae"))[1]
    marks = [each["text"] for each in strip["layout"]["annotations"]]
    assert marks.count("generated") == STEPS
    assert len(strip["data"]) == 1 + STEPS  # the images and their outlines


def test_another_dimension_is_chosen_by_hand_and_by_address(measured):
    app = opened(model="tiny-gvae", dimension="1")
    box = app.selectbox(key="measured-dimension-tiny-gvae")
    assert box.value == 1
    assert "No property changes steadily" in text(app)
    box.set_value(3).run()
    assert app.query_params["dimension"] == "3"
    for nonsense in ("77", "x", "²"):
        assert (
            opened(model="tiny-gvae", dimension=nonsense).selectbox(key="measured-dimension-tiny-gvae").value
            == 2
        )


def test_the_page_says_how_far_it_can_be_trusted(measured):
    said = text(opened(model="tiny-gvae"))
    assert "The rule." in said
    assert "0 of 200" in said
    assert "98.7%" in said
    assert "9 of 120 slices were used. Left out: 111 not drawn." in said
    assert "0.83 (n 400" in said


def test_what_a_judge_reads_stands_beside_how_good_it_is(measured):
    app = opened(model="tiny-gvae")
    (table,) = app.dataframe
    row = table.value.iloc[0]
    assert row["rating"] == "spiculation"
    assert row["change"] == "+0.80 (+0.60 to +1.00)"
    assert (row["rises in"], row["Spearman"]) == ("67%", "+0.97")
    assert (row["judge on real slices"], row["slices"]) == ("+0.52", "1,480")
    assert row["judge on reconstructed slices"] == "+0.41"
    assert table.value.iloc[1]["judge on real slices"] == "not known"
    page = text(app)
    assert "8,000 of 8,020 slices were used. Left out: 20 of patients of the starting lesions." in page
    assert "All 1,480 slices were used" in page
    assert "Not a reader's rating" in page


@pytest.mark.parametrize("judge", [None, {"why_not": "The data set has no readers' ratings."}])
def test_without_a_judge_the_page_says_why(measured, judge):
    measured["judge"] = judge
    for one in measured["dimensions"]:
        one["judged"] = {}
    app = opened(model="tiny-gvae")
    assert not app.dataframe
    assert ("lungvae measure --data" if judge is None else "no readers' ratings") in text(app)
    del measured["judge"]  # as before there was one
    for one in measured["dimensions"]:
        del one["judged"]
    assert "lungvae measure --data" in text(opened(model="tiny-gvae"))


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
