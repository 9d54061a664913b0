"""Two models side by side: one selection, one set of controls, all of it in the address."""

from __future__ import annotations

import shutil

from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import all_component_data, open_page


def test_both_maps_are_linked_and_follow_one_control(models):
    app = open_page("compare.py", model="tiny-gvae", unit="nodule", method="pca", row="12")
    left, right = all_component_data(app, "latent_map")
    assert (left["model"], right["model"]) == ("tiny-gvae", "tiny-dirvae")
    assert left["link"] == right["link"] != ""
    for key in ("unit", "method", "by", "selection"):
        assert left[key] == right[key], key
    assert (left["unit"], left["method"], left["selection"]["rows"]) == ("nodule", "pca", [12])
    assert app.query_params["beside"] == "tiny-dirvae"


def test_the_lesion_is_shown_as_both_models_see_it(models):
    app = open_page("compare.py", model="tiny-dirvae", row="12")
    said = "\n".join(element.value for element in app.markdown)
    for title in ("Tiny dirvae", "Tiny gvae"):
        assert f"**Model score** of {title}" in said
    assert "nearest nodules" in said
    assert app.subheader[0].value.startswith("TEST-0002")


def test_without_a_lesion_it_says_what_to_do(models):
    assert any("Nothing selected yet" in info.value for info in open_page("compare.py").info)


def test_without_another_model_it_says_so(tiny_models, tmp_path, monkeypatch):
    folder = tmp_path / "models"
    shutil.copytree(tiny_models / "tiny-gvae", folder / "tiny-gvae")
    for name, path in (("MODELS", folder), ("RUNS", tmp_path / "runs"), ("DATA", tmp_path / "data")):
        monkeypatch.setenv(f"LUNGVAE_{name}", str(path))
    registry.cache_clear()
    app = open_page("compare.py", model="tiny-gvae")
    registry.cache_clear()
    assert "No other model" in app.error[0].value
