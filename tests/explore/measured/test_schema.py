"""The schema of measured.json: the shipped one fits, and what contradicts itself does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lungvae_core.explore.measured.schema import Judge, Measured
from lungvae_core.schema import wrong_at
from tests.conftest import ROOT


@pytest.fixture
def report() -> dict[str, Any]:
    return json.loads((ROOT / "models" / "gvae" / "measured.json").read_text())


def test_the_shipped_report_fits(report: dict[str, Any]) -> None:
    assert wrong_at(report, Measured) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report["dimensions"].pop(),
        lambda report: report["moved"].reverse(),
        lambda report: report.update(steps=report["steps"] + 1),
        lambda report: report["dimensions"][0]["properties"].append("charm"),
        lambda report: report["properties"].popitem(),
        lambda report: next(iter(report["properties"].values())).update(deviation=0.0),
        lambda report: report["dimensions"][0].update(judged={"texture": [0.0] * 5}),
    ],
    ids=["dimensions", "order", "steps", "property", "properties", "deviation", "judge"],
)
def test_a_report_that_contradicts_itself_is_refused(change: Any, report: dict[str, Any]) -> None:
    report.pop("judge", None)
    for one in report["dimensions"]:
        one.pop("judged", None)
    assert wrong_at(report, Measured) is None
    change(report)
    assert wrong_at(report, Measured) is not None


def test_a_judge_has_been_tested_on_real_and_reconstructed_slices() -> None:
    agreement = {"texture": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 40, "patients": 20}}
    ratings = {"real": agreement, "reconstructed": agreement}
    judge = Judge.model_validate({"ratings": ratings, "fitted": {}, "tested": {}})
    assert judge.has_judged(["texture"])
    assert not judge.has_judged(["texture", "margin"])
    assert not Judge(why_not="Nobody rated it.").has_judged([])
    with pytest.raises(ValueError, match="a judge that was not tested"):
        Judge.model_validate({"ratings": {"real": agreement}, "fitted": {}, "tested": {}})
