"""The Latent map page without a browser."""

from __future__ import annotations

import shutil

from streamlit.testing.v1 import AppTest

from lungvae_core import NOTICE
from lungvae_core.files import read_json, write_json
from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import component_data, open_page, press, run, text


def opened(**query: str) -> AppTest:
    return open_page("map/latent_map.py", **query)


def map_component(app: AppTest) -> dict:
    found = component_data(app, "latent_map")
    assert found is not None
    return found


def test_the_page_says_what_it_shows_and_what_that_does_not_mean(models):
    app = opened()
    said = text(app)
    assert NOTICE in said
    assert "Distances and axes have no clinical meaning" in said
    assert "not a probability of cancer" in said
    assert "CT slices in the model's window" in said


def test_the_address_carries_the_view(models):
    app = opened(model="tiny-dirvae", unit="nodule", method="pca", colour="rating-texture")
    payload = map_component(app)
    assert payload["api"].endswith("/tiny-dirvae")
    assert (payload["unit"], payload["method"], payload["by"]) == ("nodule", "pca", "rating-texture")
    app.selectbox(key="map_colour").set_value("size").run()
    assert app.query_params["colour"] == "size"
    assert app.query_params["unit"] == "nodule"


def test_a_nonsense_address_falls_back(models):
    app = opened(unit="planet", method="magic", colour="<script>", row="-1", model="none")
    payload = map_component(app)
    assert (payload["unit"], payload["method"], payload["by"]) == ("slice", "umap", "malignancy")
    assert payload["selection"]["rows"] == []


def test_a_row_in_the_address_is_selected_and_listed(models):
    app = opened(row="7")
    assert map_component(app)["selection"]["rows"] == [7]
    assert "1 slice of 1 nodule of 1 patient" in text(app)
    assert app.session_state["selected_rows"] == [7]


def test_the_selection_outlives_a_change_of_colour_and_of_model(models):
    app = opened(row="7")
    app.selectbox(key="map_colour").set_value("patient").run()
    assert app.session_state["selected_rows"] == [7]
    run(app.sidebar.selectbox[0].set_value("tiny-dirvae"))
    assert map_component(app)["selection"]["rows"] == [7]


def test_a_selection_of_other_data_is_dropped(models):
    app = opened()
    app.session_state["selected_rows"] = [7]
    app.session_state["selected_data"] = "other"
    app.run()
    assert map_component(app)["selection"]["rows"] == []


def test_a_group_in_the_address_is_selected_and_stays_there(models):
    app = opened(rows="3-5,9")
    assert app.session_state["selected_rows"] == [3, 4, 5, 9]
    assert app.query_params["rows"] == "3-5,9"
    app.session_state["latent_map"] = {"selection": {"id": 90, "rows": [], "focus": None}}
    app.run()
    assert "rows" not in app.query_params
    app = opened(rows="3-5,x")
    assert "cannot be read" in app.toast[0].value
    assert not app.exception


def test_the_selection_can_be_taken_to_the_other_pages(models):
    app = opened(row="7")
    labels = {button.label for button in app.button}
    assert {"Walk", "Predict", "Path"} <= labels
    press(app, "Predict")
    assert app.title[0].value == "Predict"
    assert app.query_params["row"] == "7"


def test_without_the_data_the_page_says_that_images_are_generated(models, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(models / "tiny-gvae", folder)
    config = folder / "config.json"
    write_json(config, {**read_json(config, what=""), "data_folder": ""})
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    monkeypatch.setenv("LUNGVAE_DATA", str(tmp_path / "nothing"))
    registry.cache_clear()
    assert "every image here is a reconstruction" in text(opened())


def test_a_model_without_a_map_says_how_to_make_one(models, tmp_path, monkeypatch):
    folder = tmp_path / "models" / "tiny-gvae"
    shutil.copytree(models / "tiny-gvae", folder)
    (folder / "map-slice.parquet").unlink()
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    registry.cache_clear()
    assert "lungvae map" in text(opened())


def test_without_any_model_the_page_says_so(models, tmp_path, monkeypatch):
    monkeypatch.setenv("LUNGVAE_MODELS", str(tmp_path / "nothing"))
    registry.cache_clear()
    assert "There is no model yet" in text(opened())
