"""Tasks and label rules, on ratings whose answers can be told by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.labels import (
    RULES,
    TASKS,
    labels,
    reader_count,
    reader_mean,
    reader_spread,
    rule_in_words,
)
from lungvae_core.data.slices import malignant
from lungvae_core.errors import UserError
from tests.conftest import blobs

NAN = np.nan
#                      median_high  readers      mean
ROWS = [
    (5, "5|5|4"),  #   5            3            4.67
    (3, "2|3|3|4"),  # 3            4            3.0
    (1, "1"),  #       1            1            1.0
    (4, "2|4"),  #     4 (higher)   2            3.0
    (2, "2|2|3"),  #   2            3            2.33
    (4, "4|4|3"),  #   4            3            3.67
    (3, "3|3|2|3"),  # 3            4            2.75
]
TABLE = pd.DataFrame({"malignancy": [row[0] for row in ROWS], "malignancy_all": [row[1] for row in ROWS]})


@pytest.mark.parametrize(
    ("task", "rule", "expected"),
    [
        ("mvb", "median_high", [1, NAN, 0, 1, 0, 1, NAN]),
        ("mvr", "median_high", [1, 0, 0, 1, 0, 1, 0]),
        ("mvb", "mean", [1, NAN, 0, NAN, 0, 1, 0]),
        ("mvr", "mean", [1, 0, 0, 0, 0, 1, 0]),
        ("mvb", "three_readers", [1, NAN, NAN, NAN, 0, 1, NAN]),
        ("mvr", "three_readers", [1, 0, NAN, NAN, 0, 1, 0]),
        ("mvb", "strict", [1, NAN, 0, NAN, 0, 1, NAN]),
        ("mvr", "strict", [1, 0, 0, 0, 0, 1, 0]),
    ],
)
def test_every_task_under_every_rule(task: str, rule: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(labels(TABLE, task, rule), expected)


def test_the_default_is_what_malignant_says() -> None:
    table = blobs(60)[2]
    np.testing.assert_array_equal(labels(table), malignant(table))


def test_means_and_counts_of_readers() -> None:
    table = pd.DataFrame({"malignancy_all": ["1|2", "", None, "4"]})
    np.testing.assert_array_equal(reader_mean(table, "malignancy"), [1.5, NAN, NAN, 4])
    np.testing.assert_array_equal(reader_count(table), [2, 0, 0, 1])
    spiculation = pd.DataFrame({"spiculation_all": ["1|1", "5|5|5", None, "1|5"]})
    np.testing.assert_array_equal(reader_mean(spiculation, "spiculation"), [1, 5, NAN, 3])
    np.testing.assert_array_equal(reader_spread(spiculation, "spiculation"), [0, 0, NAN, 4])
    assert np.isnan(labels(table, "mvr", "mean")[1:3]).all()


def test_what_cannot_be_answered_is_said() -> None:
    with pytest.raises(UserError, match="no task 'size'"):
        labels(TABLE, "size")
    with pytest.raises(UserError, match="no label rule 'vote'"):
        labels(TABLE, "mvb", "vote")
    with pytest.raises(UserError, match="no column malignancy_all"):
        labels(TABLE.drop(columns="malignancy_all"), "mvb", "strict")
    assert np.isnan(labels(pd.DataFrame({"x": [1]}))).all()


@pytest.mark.lidc
def test_slices_of_a_nodule_share_their_label(lidc: Path) -> None:
    table = pd.read_csv(lidc / "slices.csv")
    for task in TASKS:
        for rule in RULES:
            labelled = table[["patient_id", "nodule"]].assign(label=labels(table, task, rule))
            kinds = labelled.groupby(["patient_id", "nodule"])["label"].nunique(dropna=False)
            assert (kinds == 1).all()
    label = labels(table)
    assert ((label == 1).sum(), (label == 0).sum()) == (3698, 2484)


def test_means_of_readers_are_read_where_there_is_no_list() -> None:
    means = pd.DataFrame({"malignancy": [2.67, 3.5, 3.0, 4.33, np.nan]})
    np.testing.assert_array_equal(labels(means, "mvb", "mean"), [0, 1, NAN, 1, NAN])
    np.testing.assert_array_equal(labels(means, "mvr", "strict"), [0, 1, 0, 1, NAN])
    for rule in RULES:
        assert "holds means" in rule_in_words(means, rule), rule
        assert rule_in_words(TABLE, rule) == RULES[rule]
    with pytest.raises(UserError, match="no column malignancy_all"):
        labels(means, "mvb", "three_readers")
    with pytest.raises(UserError, match="no column malignancy_all"):  # 2.5 can be a median, too
        labels(pd.DataFrame({"malignancy": [2.5, 4]}), "mvb", "mean")
