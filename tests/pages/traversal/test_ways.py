"""Ways on the Traversal page: each section, and what the address keeps of it."""

from __future__ import annotations

import pytest

from tests.pages.conftest import component_data, fetched, open_page


@pytest.mark.parametrize("model", ["tiny-gvae", "tiny-dirvae"])
def test_a_film_from_a_to_b_is_in_the_address(models, model):
    app = open_page(
        "traversal/traversal.py", model=model, row="3", way="between", b_row="70", by="neighbours"
    )
    film = component_data(app, "filmstrip")
    answer = fetched(film["source"])
    assert answer["count"] == 25
    assert {curve["name"] for curve in answer["curves"]} >= {"Model score", "Distance from lesions"}
    assert "TEST-0000" in film["ends"][0]
    assert "TEST-0014" in film["ends"][1]
    assert app.query_params["b_row"] == "70"
    assert app.query_params["by"] == "neighbours"
    assert any("leads along" in element.value for element in app.markdown)


@pytest.mark.parametrize("way", ["grid", "sheet"])
def test_pictures_of_many_codes_can_be_taken_away(models, way):
    app = open_page("traversal/traversal.py", model="tiny-dirvae", start="prior", way=way)
    assert any(button.label == "PNG" for button in app.get("download_button"))
    assert app.query_params["way"] == way


def test_a_score_is_flipped_or_said_why_not(models):
    app = open_page("traversal/traversal.py", model="tiny-gvae", row="3", way="flip")
    assert component_data(app, "filmstrip") or app.warning or app.info


def test_without_directions_the_page_says_how_to_make_them(models):
    app = open_page("traversal/traversal.py", model="tiny-gvae", start="prior", way="direction")
    assert any("lungvae directions" in element.value for element in app.info)


def test_an_unknown_way_is_the_first(models):
    app = open_page("traversal/traversal.py", model="tiny-gvae", start="prior", way="sideways", by="nowhere")
    assert fetched(component_data(app, "filmstrip")["source"])["count"] == 25
