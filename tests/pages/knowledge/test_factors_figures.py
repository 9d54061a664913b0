"""The Factors page's figures and table."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lungvae_core.evaluation.disentanglement.assess import ordered
from lungvae_core.evaluation.disentanglement.scores import WORDS
from pages.knowledge import factors_figures


def test_cells_above_the_null_are_outlined_and_no_others(report):
    part = report["spaces"]["code"]["raw"] | {
        "factors": ["a", "b"],
        "information": [[0.1, 0.9], [0.8, 0.2]],
        "information_null": {"high": [0.5, 0.5]},
        "entropy": [2.0, 1.0],
        "spearman": [[0.0, -0.9], [0.8, 0.0]],
        "importance": [[0.0, 1.0], [1.0, 0.0]],
    }
    figure = factors_figures.heat_map(part, "spearman", 2)
    assert figure.data[0].z.max() == 0.9  # the sign is in the hover alone
    shares = factors_figures.heat_map(part, "information", 2).data[0].z
    assert shares.tolist() == [[0.05, 0.9], [0.4, 0.2]]
    outlines = [value for value in figure.data[1].x if value is not None]
    assert len(outlines) == 2 * 5
    assert ordered(part) == [0, 1]


def test_ratings_without_an_interval_are_shown(report):
    part = json.loads(json.dumps(report["attributes"]))
    part["ratings"]["texture"]["model"]["within_one"] |= {"low": None, "high": None}
    part["ratings"]["texture"]["model"]["mae"]["value"] = None
    cell = factors_figures.attributes_table(part).loc["texture"].iloc[0]
    assert cell.endswith(" within one, MAE –")
    assert "(" not in cell


def test_factors_have_a_name_for_people():
    assert [factors_figures.title(name) for name in ("log_diameter", "mean_hu")] == [
        "diameter (log)",
        "mean hu",
    ]


def probed(value: float | None, null: float | None = 0.1) -> dict[str, Any]:
    return {
        "value": value,
        "low": value and value - 0.1,
        "high": value and value + 0.1,
        "null": None if null is None else {"mean": null / 2, "high": null},
    }


def test_probes_are_bars_beside_their_null_and_the_diameter_alone():
    raw = {
        "probes": {
            "texture": {"measure": "r2", "linear": probed(0.4)},
            "margin": {"measure": "r2", "linear": probed(None)},
            "contrast": {"measure": "auc", "linear": probed(0.7, None)},
        }
    }
    without = {**raw, "size_alone": {"texture": 0.3}}
    figure = factors_figures.probe_bars({"raw": raw, "without_size": without}, "linear")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert [(list(bar.x), list(bar.y)) for bar in bars] == [(["texture"], [0.4]), (["contrast"], [0.7])] * 2
    assert [bar.name for bar in bars[::2]] == ["as it is", "without size"]
    alone = next(trace for trace in figure.data if trace.name == "the diameter alone")
    assert (list(alone.x), list(alone.y)) == (["texture"], [0.3])


def test_scores_have_a_panel_each_beside_their_null(report):
    figure = factors_figures.score_panels({"raw": report["spaces"]["code"]["raw"]})
    scores = report["spaces"]["code"]["raw"]["scores"]
    known = [name for name in WORDS if scores[name]["value"] is not None]
    drawn = [trace.y[0] for trace in figure.data if trace.name == "as it is"]
    assert drawn == [scores[name]["value"] for name in known]
    nulls = [trace.y[0] for trace in figure.data if "null" in trace.name]
    assert nulls == [scores[name]["null"]["mean"] for name in known if scores[name]["null"]]


def test_each_seed_is_a_dot_with_mean_and_null_of_its_prior():
    def group(prior: str, values: list[float]) -> dict[str, Any]:
        entry = {"values": values, "mean": sum(values) / 2, "sd": 0.1, "null": 0.05}
        return {"prior": prior, "space": "code", "figures": {"raw/mig": entry}}

    report = {"groups": [group("gaussian", [0.2, 0.4]), group("dirichlet", [0.1, 0.3])]}
    figure = factors_figures.over_seeds(report, "raw")
    assert [(trace.x[0], list(trace.y)) for trace in figure.data] == [
        ("GVAE", [0.05]),
        ("GVAE", [0.2, 0.4]),
        ("GVAE", pytest.approx([0.3])),
        ("DirVAE", [0.05]),
        ("DirVAE", [0.1, 0.3]),
        ("DirVAE", pytest.approx([0.2])),
    ]
    assert len({trace.marker.color for trace in figure.data[1::3]}) == 2
