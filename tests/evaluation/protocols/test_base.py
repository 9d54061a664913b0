"""What every protocol provides: a whole report with empty sections, or nothing when it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lungvae_core.data.labels import labels
from lungvae_core.data.slices import SliceSet
from lungvae_core.evaluation.protocols.base import EMPTY, Protocol
from lungvae_core.evaluation.report import Report
from tests.evaluation.made_up import made_up


class Given(Protocol):
    """A protocol whose figures are given."""

    name = "frozen"
    given: dict[str, Any] | None = None

    def model(self) -> dict[str, Any]:
        return made_up()["model"]

    def nodule_rule(self) -> tuple[str, str]:
        return "mean", "the mean of its slices"

    def sections(self) -> dict[str, Any] | None:
        return self.given

    @property
    def transductive(self) -> bool:
        return True


@pytest.fixture
def protocol(tiny_data: Path) -> Given:
    data = SliceSet.open(tiny_data)
    return Given(
        data=data,
        truth=labels(data.table, "mvb", "median_high"),
        task="mvb",
        label_rule="median_high",
        seeds=[0, 1],
        folds_count=3,
        quick=True,
        resamples=20,
        leaks=[],
    )


def test_a_stopped_evaluation_has_no_report(protocol: Given) -> None:
    assert protocol.report() is None


def test_sections_that_a_protocol_does_not_fill_are_empty(protocol: Given) -> None:
    protocol.given = {"units": made_up()["units"]}
    report = protocol.report()
    assert report is not None
    assert {name: report[name] for name in EMPTY} == EMPTY
    read = Report.model_validate(report)
    assert (read.protocol, read.folds, read.seeds, read.quick) == ("frozen", 3, [0, 1], True)
    assert read.transductive
    assert read.data.slices == 120
    assert read.data.labelled is not None
    assert read.data.labelled.slices == int((~np.isnan(protocol.truth)).sum())
