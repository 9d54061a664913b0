"""Two models side by side: one selection, one set of controls, all of it in the address."""

from __future__ import annotations

import shutil

import pytest

from lungvae_core.serving.http.routes import registry
from lungvae_core.serving.lesions.cases import case_of_row
from lungvae_core.serving.walks import comparison
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


@pytest.fixture
def both(models):
    return [registry().load(name) for name in ("tiny-gvae", "tiny-dirvae")]


def test_figures_stand_side_by_side_with_their_intervals(both):
    facts = comparison.facts(*both)
    assert list(facts.columns) == ["Tiny gvae", "Tiny dirvae"]
    assert list(facts.loc["prior"]) == ["Gaussian", "Dirichlet"]
    auc = next(row for row in facts.index if row.startswith("AUC per nodule"))
    assert all(" to " in value for value in facts.loc[auc])
    size = [row for row in facts.index if row.startswith("readers' diameter alone")]
    assert size
    assert both[0].evaluation.label_rule in comparison.facts_note(*both)
    assert "no claim about a prior" in comparison.facts_note(*both)


def test_neighbours_are_counted_by_nodule(both):
    first, second = (case_of_row(model, 12, count=6) for model in both)
    same = comparison.overlap(both[0], [first, first])
    assert same.startswith("6 of the 6")
    table = both[0].table
    keys = [
        {(table["patient_id"].iloc[row], table["nodule"].iloc[row]) for row in case.neighbours}
        for case in (first, second)
    ]
    shared = len(keys[0] & keys[1])
    assert comparison.overlap(both[0], [first, second]).startswith(str(shared) if shared else "None")
