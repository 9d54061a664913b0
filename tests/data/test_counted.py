"""Rows used and left out, with reasons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.counted import Counted, labelled_rows, left_out_before
from lungvae_core.data.labels import RULES, TASKS, labels

TABLE = pd.DataFrame(
    {
        "patient_id": list("abcdef"),
        "malignancy": [1.0, 3.0, np.nan, 5.0, 4.0, 2.0],
        "malignancy_all": ["1|1|1", "3|3|3", "", "5|5|5", "4|4", "2|2|2"],
    }
)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("rule", RULES)
def test_used_and_left_out_are_all_rows(task: str, rule: str) -> None:
    truth = labels(TABLE, task, rule)
    counted = labelled_rows(TABLE, truth, task, rule)
    assert counted.total == len(TABLE)
    assert counted.used == (~np.isnan(truth)).sum()
    assert counted.left_out["without a malignancy rating"] == 1


def test_each_reason_is_reported() -> None:
    truth = labels(TABLE, "mvb", "three_readers")
    truth[0] = np.nan
    counted = labelled_rows(TABLE, truth, "mvb", "three_readers", before={"at import: damaged": 2})
    assert counted.left_out == {
        "at import: damaged": 2,
        "without a malignancy rating": 1,
        "rated by fewer than three readers": 1,
        "neither malignant nor benign under the label rule": 1,
        "of the same picture as another patient's": 1,
    }
    assert counted.in_words().startswith("2 of 8 slices were used. Left out: 2 at import: damaged; 1 without")
    assert Counted(used=3).in_words() == "All 3 slices were used."


@pytest.mark.parametrize("details", [{}, {"import": None}, {"import": {"left_out": [1]}}, {"part": "x"}])
def test_details_of_other_kinds_tell_nothing(details: dict) -> None:
    assert left_out_before(details) == {}


def test_what_was_left_out_before_is_kept() -> None:
    details = {
        "import": {"left_out": {"damaged": 2, "empty": 0}},
        "part": {"left out: known patients": 3},
        "slices_missing_or_damaged": 4,
    }
    assert left_out_before(details) == {
        "at import: damaged": 2,
        "missing or damaged in the folder of DICOM": 4,
        "left out: known patients": 3,
    }
