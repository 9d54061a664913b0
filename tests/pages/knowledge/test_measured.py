"""The Measured traversals page without a browser."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.data.properties import PROPERTIES
from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import charts, open_page, text
from tests.pages.knowledge.made_up import STEPS, made_up


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


def test_damaged_measurements_are_reported_in_a_sentence(models, tmp_path):
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
