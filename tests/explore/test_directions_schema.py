"""The schema of directions.json: the shipped one fits, and what pages could not show does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lungvae_core.explore.directions_schema import DirectionsReport
from lungvae_core.schema import wrong_at
from tests.conftest import ROOT


@pytest.fixture
def report() -> dict[str, Any]:
    return json.loads((ROOT / "models" / "gvae" / "directions.json").read_text())


def test_the_shipped_report_fits(report: dict[str, Any]) -> None:
    assert wrong_at(report, DirectionsReport) is None


def test_vectors_of_another_length_are_refused(report: dict[str, Any]) -> None:
    report["space"]["mean"].pop()
    assert wrong_at(report, DirectionsReport) is not None


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"directions": {}}, "directions"),
        ({"angles": {"names": ["a"], "cosine": [[1.0, 0.0]], "correlation": [[1.0]]}}, "angles"),
        ({"space": {"mean": [0.0], "deviation": [0.0], "pseudo": 0.0}}, "space.deviation.0"),
        ({"leak": 5}, "leak"),
    ],
)
def test_the_place_of_what_is_wrong_is_named(value: dict, place: str, report: dict[str, Any]) -> None:
    assert wrong_at(report | value, DirectionsReport) == f" at {place}"


def test_a_figure_needs_its_null(report: dict[str, Any]) -> None:
    name, entry = next(iter(report["directions"].items()))
    steady = entry["stability"]["pattern"]["halves"]
    steady |= {"value": 0.5, "null": None}
    assert wrong_at(report, DirectionsReport) == f" at directions.{name}.stability.pattern.halves"
    steady |= {"value": None, "low": None, "high": None, "null_high": None, "p": None}
    assert wrong_at(report, DirectionsReport) is None
