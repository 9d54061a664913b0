"""Groups of units: told rightly from the table, and judged as their units alone would be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report
from lungvae_core.evaluation.figures import unit_figures
from lungvae_core.evaluation.report_words import SUBGROUP_WORDS
from lungvae_core.evaluation.subgroups import FEWEST, UNKNOWN, attributes_of, subgroups
from lungvae_core.statistics.patients import patient_weights
from lungvae_core.statistics.roc import auc, weighted_aucs
from tests.evaluation.test_figures import judged as nodules


def judged(count: int = 400) -> pd.DataFrame:
    return nodules(patients=count // 2, each=2)


def names_of(column: pd.Series) -> list[str]:
    return column.astype(object).where(column.notna(), "-").tolist()


def table_of(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """Two slices a nodule, in an order of their own."""
    nodules = frame[["patient_id", "nodule"]].assign(**columns)
    both = pd.concat([nodules.assign(slice=number) for number in range(2)], ignore_index=True)
    return both.sample(frac=1, random_state=0)


def test_a_group_is_judged_as_its_units_alone() -> None:
    frame = judged()
    side = np.where(np.arange(400) < 260, "left", "right")
    found = subgroups(frame, pd.DataFrame({"side": side}))["side"]
    assert [one["group"] for one in found] == ["left", "right"]
    for one in found:
        part = frame[side == one["group"]]
        whole = unit_figures(part, resamples=500)
        assert (one["count"], one["malignant"], one["patients"]) == (
            len(part),
            part["label"].sum(),
            part["patient_id"].nunique(),
        )
        for name in ("auc", "sensitivity", "specificity"):
            assert one[name]["value"] == whole[name]["value"]
            # The number of a group's patients varies from draw to draw; that moves the ends but little.
            assert one[name] == pytest.approx(whole[name], abs=0.02)
        report.Subgroup.model_validate(report.plain(one))


def test_a_groups_interval_draws_its_own_patients() -> None:
    # One very different patient with many units: only draws of that very patient move the second group.
    frame = judged(200)
    frame.loc[frame.index >= 140, "patient_id"] = "P999"
    side = pd.Series(np.where(np.arange(200) < 100, "left", "right"))
    for one in subgroups(frame, pd.DataFrame({"side": side}), resamples=200, seed=5)["side"]:
        rows = np.flatnonzero(side == one["group"])
        label, logit = (frame[name].to_numpy()[rows] for name in ("label", "logit"))
        drawn = [
            weighted_aucs(label, logit, weights[:, rows])
            for weights in patient_weights(frame["patient_id"].to_numpy(), 200, seed=5)
        ]
        low, high = np.nanpercentile(np.concatenate(drawn), [2.5, 97.5])
        assert (one["auc"]["low"], one["auc"]["high"]) == pytest.approx((low, high))


def test_few_units_of_a_class_say_nothing() -> None:
    frame = judged(60).assign(label=np.r_[np.ones(FEWEST - 1, int), np.zeros(56, int)])
    (one,) = subgroups(frame, pd.DataFrame({"all": ["same"] * 60}))["all"]
    assert one["auc"] is None
    assert one["sensitivity"] is None
    assert one["specificity"]["low"] <= one["specificity"]["value"] <= one["specificity"]["high"]
    frame = frame.assign(label=np.r_[np.ones(FEWEST, int), np.zeros(55, int)])
    (one,) = subgroups(frame, pd.DataFrame({"all": ["same"] * 60}))["all"]
    assert one["auc"]["value"] == auc(frame["label"].to_numpy(), frame["logit"].to_numpy())


def test_a_perfect_share_of_few_patients_is_not_certain() -> None:
    frame = judged(40).assign(called=1)
    (one,) = subgroups(frame, pd.DataFrame({"all": ["same"] * 40}))["all"]
    assert one["sensitivity"]["value"] == 1
    assert one["sensitivity"]["low"] < 0.9
    assert one["specificity"]["value"] == 0
    assert one["specificity"]["high"] > 0.1


def test_groups_are_in_order_with_the_unknown_last_and_the_empty_left_out() -> None:
    frame = judged(90)
    bands = pd.Categorical(
        ["large", "small", None] * 30, categories=["small", "medium", "large"], ordered=True
    )
    found = subgroups(frame, pd.DataFrame({"band": bands}), resamples=20)["band"]
    assert [one["group"] for one in found] == ["small", "large", UNKNOWN]
    assert sum(one["count"] for one in found) == 90


def test_no_units_no_groups() -> None:
    nothing = judged(10).iloc[:0]
    assert subgroups(nothing, pd.DataFrame({"band": pd.Series([], dtype=object)})) == {"band": []}
    assert subgroups(judged(10), pd.DataFrame(index=range(10))) == {}
    with pytest.raises(UserError, match="attributes of 3 units"):
        subgroups(judged(10), pd.DataFrame({"band": [1, 2, 3]}))


def test_the_seed_decides() -> None:
    frame, attributes = judged(80), pd.DataFrame({"all": ["same"] * 80})
    one = subgroups(frame, attributes, resamples=50, seed=1)
    assert one == subgroups(frame, attributes, resamples=50, seed=1)
    assert one != subgroups(frame, attributes, resamples=50, seed=2)


def test_attributes_of_nodules_at_the_edges() -> None:
    frame = judged(8)
    table = table_of(
        frame,
        diameter_mm=[5.99, 6, 7.99, 8, 14.99, 15, 40, np.nan],
        n_readers=[1, 2, 3, 4, 6, 1, 1, 0],
        texture_all=["1|2", "2|3", "3", "3|4", "3|4|4", "5|5", "", "4"],
        slice_thickness_mm=[0.6, 1, 1.25, 2, 2.5, 3, 5, np.nan],
        manufacturer=["A", "B", "A", "", None, "B", "A", " A "],
    )
    frame = frame.sample(frac=1, random_state=1)
    found = attributes_of(table, frame, "nodule")
    assert list(found) == list(SUBGROUP_WORDS)
    found.index = frame.index
    found = found.sort_index()

    def bands(name: str) -> list[str]:
        return names_of(found[name])

    small, six, eight, large = "under 6 mm", "6 to under 8 mm", "8 to under 15 mm", "15 mm and over"
    assert bands("size_band") == [small, six, six, eight, eight, large, large, "-"]
    assert bands("readers") == ["1", "2", "3", "4+", "4+", "1", "1", "-"]
    glass, part, solid = "ground glass", "part solid", "solid"
    assert bands("texture") == [glass, glass, part, part, solid, solid, "-", solid]
    thin, two, three, thick = "1 mm or less", "over 1 to 2 mm", "over 2 to 3 mm", "over 3 mm"
    assert bands("slice_thickness") == [thin, thin, two, two, three, three, thick, "-"]
    assert bands("manufacturer") == ["A", "B", "A", "-", "-", "B", "A", "A"]
    groups = subgroups(frame, attributes_of(table, frame, "nodule"), resamples=10)
    assert [one["group"] for one in groups["size_band"]] == [small, six, eight, large, UNKNOWN]


def test_attributes_of_slices_and_patients() -> None:
    frame = judged(6)
    table = table_of(frame, diameter_mm=[5, 20, 7, 6, np.nan, 9]).assign(n_readers=2)
    slices = table[["patient_id", "nodule", "slice"]].assign(label=0)
    of_slices = attributes_of(table, slices, "slice")
    assert names_of(of_slices["size_band"]) == [
        "under 6 mm"
        if size < 6
        else "6 to under 8 mm"
        if size < 8
        else "8 to under 15 mm"
        if size < 15
        else "15 mm and over"
        if size < np.inf
        else "-"
        for size in table["diameter_mm"]
    ]
    patients = pd.DataFrame({"patient_id": ["P002", "P000", "P001"]})
    of_patients = attributes_of(table, patients, "patient")["size_band"]
    assert of_patients.tolist() == ["8 to under 15 mm", "15 mm and over", "6 to under 8 mm"]


def test_attributes_need_only_the_columns_that_are_there() -> None:
    frame = judged(4)
    assert list(attributes_of(table_of(frame), frame, "nodule")) == []
    counted = attributes_of(table_of(frame, malignancy_all=["3|4", "2", "1|1|1|1|1", ""]), frame, "nodule")
    assert names_of(counted["readers"]) == ["2", "1", "4+", "-"]
    with pytest.raises(UserError, match="no unit"):
        attributes_of(table_of(frame), frame, "lobe")
