"""A part's scores beside their null, and a run's whole report."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement import assess, phantom_scores, scores
from lungvae_core.evaluation.disentanglement.factors import Factor, Factors
from lungvae_core.training.checkpoints import Run
from tests.evaluation.disentanglement.made import as_factors, made

EFFORT = assess.Effort(draws=20, refits=3, groups=5, resamples=50)


def test_a_part_of_aligned_and_of_random_codes_with_their_null():
    factors = as_factors(made())
    aligned = assess.assess_part(factors.values + 0.02 * made(seed=3), factors, 0, EFFORT)
    random = assess.assess_part(made(factors=6, seed=7), factors, 0, EFFORT)
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness"):
        entry = aligned["scores"][name]
        assert entry["low"] > entry["null"]["high"]
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert abs(random["scores"][name]["value"] - random["scores"][name]["null"]["mean"]) < 0.1
    assert aligned["probes"]["f0"]["linear"]["value"] > 0.99
    assert aligned["probes"]["f0"]["boosted"]["value"] > 0.9
    assert random["probes"]["f0"]["linear"]["value"] < 0.02
    assert random["probes"]["f0"]["boosted"]["value"] < 0.05
    over = np.array(aligned["information"]) > np.array(aligned["information_null"]["high"])
    assert over.tolist() == np.eye(3, dtype=bool).tolist()


def test_what_is_random_by_patient_is_not_reported():
    # Codes and factors that patients have in common, and that have nothing to do with each other: folds that
    # put a patient on both sides, or a null that shuffles nodules, would find something.
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 20)
    codes = generator.normal(size=(30, 12))[patient] + 0.05 * generator.normal(size=(600, 12))
    values = generator.normal(size=(30, 2))[patient]
    nodules = pd.DataFrame(
        {"patient_id": [f"P{n:02d}" for n in patient], "nodule": np.tile(np.arange(20), 30)}
    )
    factors = Factors([Factor("a", ""), Factor("b", "")], values, nodules, None, 0)
    found = assess.assess_part(codes, factors, 0, EFFORT)
    for probe in found["probes"].values():
        assert probe["linear"]["value"] < 0.1
        assert probe["boosted"]["value"] < 0.1
    assert found["scores"]["mig"]["null"]["p"] > 0.05
    leaky = scores.information(scores.Binned.of(codes), scores.Binned.of(values))
    by_nodule = generator.permutation(600)
    wrong = scores.information(scores.Binned.of(codes), scores.Binned.of(values), by_nodule)
    assert wrong.max() < 0.5 * leaky.max()  # such a null would call chance a finding


@pytest.mark.long
def test_a_runs_report(tiny_models):
    run = Run.open(tiny_models / "tiny-gvae")
    effort = assess.Effort(draws=3, refits=1, groups=2, resamples=10)
    report = assess.assess(run, effort=effort, seed=1, command="made by a test")
    json.dumps(report, allow_nan=False)
    assert report["data"]["nodules"] == 24
    assert report["seed"] == 1
    assert "transductive" in report["seen"]
    assert report["phantom"] is None
    assert set(report["spaces"]) == {"code"}
    part = report["spaces"]["code"]["raw"]
    assert np.shape(part["information"]) == (4, len(part["factors"])) == np.shape(part["spearman"])
    assert "log_diameter" not in report["spaces"]["code"]["without_size"]["factors"]
    again = assess.assess(run, effort=effort, seed=1, command="made by a test")
    assert report == again | {"seconds": report["seconds"]}


@pytest.mark.long
def test_a_dirichlet_runs_report_has_log_ratios_and_phantoms(tiny_models):
    run = Run.open(tiny_models / "tiny-dirvae")
    sizes = phantom_scores.Sizes(free=20, learn=1, test=1, group=2)
    effort = assess.Effort(draws=2, refits=1, groups=2, resamples=5)
    report = assess.assess(run, phantom=sizes, effort=effort)
    json.dumps(report, allow_nan=False)
    assert set(report["spaces"]) == {"code", "log_ratio"}
    assert set(report["phantom"]["moved"]) == {"factor_vae", "beta_vae"}
    assert {"angle_cos", "pleura_mm"} <= set(report["phantom"]["free"]["factors"])


def test_a_joint_runs_report_says_that_it_leaks(tiny_models, tmp_path):
    folder = tmp_path / "joint"
    shutil.copytree(tiny_models / "tiny-gvae", folder)
    raw = json.loads((folder / "config.json").read_text())
    raw["config"]["joint"]["rounds"] = 1
    (folder / "config.json").write_text(json.dumps(raw))
    effort = assess.Effort(draws=2, refits=1, groups=2, resamples=5)
    assert assess.assess(Run.open(folder), effort=effort)["seen"].startswith("LEAK")


def test_a_missing_and_a_strange_report_are_reported(tmp_path):
    with pytest.raises(UserError, match="lungvae disentanglement"):
        assess.load(tmp_path)
    (tmp_path / assess.FILE).write_text('{"format": 99}')
    with pytest.raises(UserError, match="has format 99; this version reads up to 1"):
        assess.load(tmp_path)
