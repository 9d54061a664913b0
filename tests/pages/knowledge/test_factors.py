"""The Factors page without a browser."""

from __future__ import annotations

import json
import shutil

import pytest
from streamlit.testing.v1 import AppTest

from lungvae_core.evaluation.disentanglement.compare import compare
from lungvae_core.files import write_json
from lungvae_core.serving.http.routes import registry
from tests.pages.conftest import charts, open_page, text


@pytest.fixture
def assessed(models, report, tmp_path, monkeypatch):
    """A folder with one model that has a report."""
    folder = tmp_path / "models" / "tiny-dirvae"
    shutil.copytree(models / "tiny-dirvae", folder)
    write_json(folder / "disentanglement.json", report)
    monkeypatch.setenv("LUNGVAE_MODELS", str(folder.parent))
    registry.cache_clear()
    return folder


def opened(**query: str) -> AppTest:
    return open_page("knowledge/factors.py", **query)


def test_without_a_report_the_page_says_how_to_make_one(models):
    said = text(opened())
    assert "lungvae disentanglement" in said
    assert "Not a ranking of models" in said


def test_it_shows_dimensions_probes_and_scores_with_their_conditions(assessed, report):
    app = opened(model="tiny-dirvae")
    said = text(app)
    assert "24 nodules of 24 patients" in said
    assert "All 120 slices were used." in said
    assert "transductive" in said
    assert "95 % intervals" in said
    assert "null" in said
    heat, bars, dots = charts(app)[:3]
    assert heat["data"][0]["type"] == "heatmap"
    assert any(trace["type"] == "bar" for trace in bars["data"])
    assert any("null" in trace.get("name", "") for trace in dots["data"])


def test_log_ratios_and_phantoms_are_in_the_address(assessed):
    app = opened(model="tiny-dirvae", space="log_ratio")
    assert app.query_params["space"] in ("log_ratio", ["log_ratio"])
    app = opened(model="tiny-dirvae", on="phantom")
    assert "nine independent factors" in text(app)
    assert "chance 1 in 9" in text(app)


def test_a_damaged_report_is_reported(assessed):
    (assessed / "disentanglement.json").write_text("{}")
    assert "Make it again" in text(opened(model="tiny-dirvae"))


def test_seeds_are_compared_in_words_and_as_a_chart(assessed, report, tmp_path, monkeypatch):
    runs = []
    for prior in ("gaussian", "dirichlet"):
        for seed in range(3):
            copy = json.loads(json.dumps(report)) | {"prior": prior, "title": f"{prior}-{seed}"}
            copy["model"]["seed"] = seed
            copy["spaces"] = {"code": copy["spaces"]["code"]}
            entry = copy["spaces"]["code"]["raw"]["scores"]["mig"]
            entry |= {"value": (0.7 if prior == "gaussian" else 0.1) + 0.001 * seed, "null": {"mean": 0.01}}
            runs.append(copy)
    counts = {"slices": 60, "patients": 12}
    found = {
        "settings": {"width": 4, "dimensions": 4, "epochs": 2},
        "seeds": [0, 1, 2],
        "data": {"train": counts, "judged": counts},
        **compare(runs),
    }
    path = tmp_path / "seeds.json"
    write_json(path, found)
    from pages.knowledge import factors_seeds

    monkeypatch.setattr(factors_seeds, "SEEDS", path)
    app = opened(model="tiny-dirvae")
    said = text(app)
    assert "3 seeds of each prior" in said
    assert "mutual information gap (raw): GVAE less DirVAE +0.600" in said
    assert "GVAE higher in 9 of 9 pairs of seeds" in said
    path.write_text("[]")
    assert "cannot be shown" in text(opened(model="tiny-dirvae"))
    path.unlink()
    assert "benchmarks/seeds.py" in text(opened(model="tiny-dirvae"))


def test_attributes_predicted_stand_beside_the_constant_and_a_reader(assessed, report):
    app = opened(model="tiny-dirvae")
    assert set(report["attributes"]["ratings"]) == {"malignancy", "texture", "spiculation"}
    table = app.table[0].value
    assert list(table.columns) == list(report["attributes"]["predictors"].values())
    within = report["attributes"]["ratings"]["texture"]["model"]["within_one"]["value"]
    assert table.loc["texture"].iloc[0].startswith(f"{within:.2f}")
    assert "easy where ratings pile up" in text(app)


def test_an_older_report_without_attributes_is_shown(assessed, report):
    write_json(assessed / "disentanglement.json", {**report, "attributes": None})
    assert "pile up" not in text(opened(model="tiny-dirvae"))
    write_json(assessed / "disentanglement.json", {k: v for k, v in report.items() if k != "attributes"})
    assert "pile up" not in text(opened(model="tiny-dirvae"))
