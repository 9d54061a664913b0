"""The schema of clusters.json: the shipped one fits, and what contradicts itself does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lungvae_core.explore.clusters.schema import ClustersReport
from lungvae_core.schema import wrong_at
from tests.conftest import ROOT


@pytest.fixture
def report() -> dict[str, Any]:
    return json.loads((ROOT / "models" / "gvae" / "clusters.json").read_text())


def test_the_shipped_report_fits(report: dict[str, Any]) -> None:
    assert wrong_at(report, ClustersReport) is None


def test_every_method_has_a_member_a_row(report: dict[str, Any]) -> None:
    assert wrong_at(report | {"rows": report["rows"][:-1]}, ClustersReport) is not None
    first = next(iter(report["methods"]))
    without = {name: value for name, value in report["methods"].items() if name != first}
    assert wrong_at(report | {"methods": without}, ClustersReport) is not None


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.update(count=one["count"] + 1),
        lambda one: one["members"].__setitem__(0, 999),
        lambda one: one["clusters"][0]["typical"].__setitem__(0, 10**6),
        lambda one: one["clusters"][0]["differences"].append(
            {"name": "charm", "value": 1.0, "low": 0.0, "high": 2.0}
        ),
        lambda one: one["clusters"][0]["malignant"].update(low=None),
        lambda one: one.update(silhouette=None),
    ],
    ids=["count", "members", "typical", "property", "interval", "silhouette"],
)
def test_a_method_that_contradicts_itself_is_refused(change: Any, report: dict[str, Any]) -> None:
    one = report["methods"]["kmeans"]
    change(one)
    place = wrong_at(report, ClustersReport)
    assert place is not None
    assert place.startswith(" at methods.kmeans")
