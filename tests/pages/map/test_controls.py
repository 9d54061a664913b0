"""Controls of the latent map: each is in the address, and what the address gets wrong is reported."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import run


def page() -> None:
    import dataclasses
    import json

    import streamlit as st

    from lungvae_core.serving.http.routes import registry
    from pages.map import controls

    model = registry().load("tiny-gvae")
    st.text(json.dumps(dataclasses.asdict(controls.show(model))))


def opened(**query: str) -> AppTest:
    app = AppTest.from_function(page, default_timeout=60)
    for name, value in query.items():
        app.query_params[name] = value
    return run(app)


def view(app: AppTest) -> dict:
    return json.loads(app.text[0].value)


def one(app: AppTest, name: str) -> str:
    value = app.query_params[name]
    return value if isinstance(value, str) else value[0]


def test_the_view_of_an_empty_address_is_all_lesions_by_malignancy(models):
    assert view(opened()) == {
        "unit": "slice",
        "method": "umap",
        "dims": 2,
        "by": "malignancy",
        "map_key": "",
        "where": "",
        "contours": False,
        "clusters": "",
    }


def test_a_filter_in_the_address_fills_its_widgets_and_can_be_changed(models):
    where = [
        {"search": "TEST-0001"},
        {"column": "diameter_mm", "from": 5.0},
        {"column": "split", "in": ["train"]},
    ]
    app = opened(where=json.dumps(where))
    assert app.text_input(key="map_search").value == "TEST-0001"
    assert app.number_input(key="map_where_diameter_mm_from").value == 5
    assert app.multiselect(key="map_where_split").value == ["train"]
    assert json.loads(view(app)["where"]) == where
    run(app.number_input(key="map_where_diameter_mm_to").set_value(12.0))
    conditions = json.loads(one(app, "where"))
    assert conditions[1] == {"column": "diameter_mm", "from": 5.0, "to": 12.0}
    run(app.button(key="map_where_clear").click())
    assert view(app)["where"] == ""
    assert "where" not in app.query_params


@pytest.mark.parametrize(
    "where", ["[[[", '[{"column": "nowhere", "in": ["x"]}]', '[{"column": "diameter_mm", "in": ["5"]}]']
)
def test_a_filter_that_cannot_be_is_reported_and_left_out(models, where):
    app = opened(where=where)
    assert app.toast
    assert view(app)["where"] == ""


def test_density_is_drawn_on_flat_maps_only(models):
    app = opened(density="1")
    assert view(app)["contours"]
    run(app.segmented_control(key="map_dims").set_value("3"))
    assert not view(app)["contours"]
    assert one(app, "density") == "1"  # for when the map is flat again


def test_a_custom_map_that_is_not_made_yet_shows_the_stored_one(models):
    app = opened(method="tsne", made="perplexity:12")
    assert view(app)["map_key"] == ""
    assert app.session_state["map_waiting"][4] == {"perplexity": 12}
    assert app.slider(key="map_tsne_perplexity").value == 12


@pytest.mark.parametrize("made", ["perplexity:9999", "nowhere:1", "perplexity:x"])
def test_parameters_beyond_their_bounds_are_reported_and_dropped(models, made):
    app = opened(method="tsne", made=made)
    assert app.toast
    assert "made" not in app.query_params
    assert view(app)["map_key"] == ""
