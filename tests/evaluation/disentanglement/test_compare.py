"""Priors compared over seeds."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.evaluation.disentanglement.compare import compare


def report_of(prior: str, seed: int, mig: float) -> dict:
    entry = {"value": mig, "low": mig, "high": mig, "null": {"mean": 0.0, "high": 0.0, "p": 0.1}}
    return {
        "title": f"{prior}-{seed}",
        "prior": prior,
        "model": {"preset": prior, "dimensions": 8, "width": 4, "epochs": 2, "beta": 0.1, "seed": seed},
        "data": {"name": "d", "content_hash": "h", "nodules": 5, "patients": 5},
        "spaces": {"code": {"raw": {"scores": {"mig": entry}, "probes": {}}}},
        "phantom": None,
    }


def test_priors_are_compared_over_seeds():
    ours, theirs = [0.5, 0.52, 0.48, 0.51, 0.49], [0.1, 0.12, 0.08, 0.11, 0.09]
    reports = [report_of("gaussian", seed, value) for seed, value in enumerate(ours)]
    reports += [report_of("dirichlet", seed, value) for seed, value in enumerate(theirs)]
    found = compare(reports)
    assert [len(group["runs"]) for group in found["groups"]] == [5, 5]
    assert found["groups"][0]["figures"]["raw/mig"]["mean"] == pytest.approx(0.5)
    assert found["groups"][0]["figures"]["raw/mig"]["sd"] == pytest.approx(np.std(ours, ddof=1), abs=1e-4)
    (difference,) = found["differences"]
    assert difference["difference"] == pytest.approx(0.4)
    assert difference["clear"]
    assert (difference["won"], difference["of"]) == (25, 25)
    assert difference["low"] < 0.4 < difference["high"]


def test_nothing_is_said_of_single_runs_or_of_runs_that_differ_by_more():
    assert compare([report_of("gaussian", 0, 0.5), report_of("dirichlet", 0, 0.1)])["differences"] == []
    reports = [report_of(prior, seed, 0.1 * seed) for prior in ("gaussian", "dirichlet") for seed in (1, 2)]
    for report in reports[:2]:
        report["model"]["dimensions"] = 16
    assert compare(reports)["differences"] == []
    same = [
        report_of(prior, seed, 0.3 + 0.1 * seed) for prior in ("gaussian", "dirichlet") for seed in range(3)
    ]
    assert not compare(same)["differences"][0]["clear"]
