"""The comparison over seeds: the one in the documentation is read, and what has no words is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement.seeds import read_over_seeds
from tests.conftest import ROOT


@pytest.fixture
def report() -> dict[str, Any]:
    return json.loads((ROOT / "docs" / "seeds.json").read_text())


def test_the_documented_comparison_is_read(report: dict[str, Any]) -> None:
    assert read_over_seeds(ROOT / "docs" / "seeds.json") == report


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(groups=[]),
        lambda report: report["groups"][0]["figures"].update({"raw/charm": {"mean": 1.0}}),
        lambda report: report["groups"][0].update(prior="cauchy"),
        lambda report: report.update(seeds="all"),
    ],
    ids=["no figure", "no words", "prior", "seeds"],
)
def test_what_the_page_cannot_show_is_refused(change: Any, report: dict[str, Any], tmp_path: Path) -> None:
    change(report)
    (tmp_path / "seeds.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match=r"is damaged.*python benchmarks/seeds\.py"):
        read_over_seeds(tmp_path / "seeds.json")


def test_a_gaussian_has_no_log_ratios(report: dict[str, Any], tmp_path: Path) -> None:
    gaussian = next(group for group in report["groups"] if group["prior"] == "gaussian")
    gaussian["space"] = "log_ratio"
    (tmp_path / "seeds.json").write_text(json.dumps(report))
    with pytest.raises(UserError, match="is damaged at groups"):
        read_over_seeds(tmp_path / "seeds.json")
