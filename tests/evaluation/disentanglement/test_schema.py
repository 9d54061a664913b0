"""The schema of disentanglement.json: the shipped one fits, and what contradicts itself does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lungvae_core.evaluation.disentanglement.schema import Disentanglement
from lungvae_core.schema import wrong_at
from tests.conftest import ROOT


@pytest.fixture
def report() -> dict[str, Any]:
    return json.loads((ROOT / "models" / "gvae" / "disentanglement.json").read_text())


def test_the_shipped_report_fits(report: dict[str, Any]) -> None:
    assert wrong_at(report, Disentanglement) is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda report: report["spaces"].pop("code"), ""),
        (lambda report: report["spaces"]["code"]["raw"]["scores"].popitem(), " at spaces.code.raw"),
        (lambda report: report["spaces"]["code"]["raw"]["spearman"].pop(), " at spaces.code.raw"),
        (lambda report: report["spaces"]["code"]["raw"]["entropy"].pop(), " at spaces.code.raw"),
        (lambda report: report.update(prior="cauchy"), " at prior"),
        (lambda report: report.update(format=2), " at format"),
    ],
    ids=["codes", "score", "matrix", "entropy", "prior", "format"],
)
def test_a_report_that_contradicts_itself_is_refused(change: Any, place: str, report: dict[str, Any]) -> None:
    change(report)
    assert wrong_at(report, Disentanglement) == place
