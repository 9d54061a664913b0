"""DeLong against its definition and the bootstrap; paired draws of patients; AUC at equal size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report
from lungvae_core.evaluation.compare import paired, size_matched
from lungvae_core.statistics.roc import auc, delong

NAMES = ("difference", "low", "high", "p")


def two_models(patients: int, each: int = 1, seed: int = 0, b: float = 1.0) -> tuple[pd.DataFrame, ...]:
    """Judged nodules by two models that share some of their luck; the first separates by 1.5."""
    generator = np.random.default_rng(seed)
    count = patients * each
    label = np.repeat(generator.integers(0, 2, patients), each)
    luck = np.repeat(generator.normal(0, 0.7, patients), each)
    frame = pd.DataFrame(
        {
            "patient_id": np.repeat([f"P{number}" for number in range(patients)], each),
            "nodule": np.tile(np.arange(each), patients),
            "label": label,
        }
    )
    return tuple(
        frame.assign(logit=separation * label + luck + generator.normal(0, 0.7, count))
        for separation in (1.5, b)
    )


def test_delong_agrees_with_the_bootstrap_where_units_are_patients() -> None:
    a, b = two_models(300, seed=3)
    fast = delong(a["label"].to_numpy(), a["logit"].to_numpy(), b["logit"].to_numpy())
    drawn = paired(a, b, resamples=2000)
    assert [fast[name] for name in NAMES[:3]] == pytest.approx([drawn[n] for n in NAMES[:3]], abs=0.008)
    # And is too sure of itself where patients have several alike.
    a, b = (pd.concat([frame.assign(nodule=number) for number in range(6)]) for frame in (a, b))
    fast = delong(a["label"].to_numpy(), a["logit"].to_numpy(), b["logit"].to_numpy())
    again = paired(a, b, resamples=2000)
    assert again["high"] - again["low"] == pytest.approx(drawn["high"] - drawn["low"], rel=0.01)
    assert fast["high"] - fast["low"] < 0.6 * (again["high"] - again["low"])


def test_delongs_p_is_even_where_models_are_alike() -> None:
    p = []
    for seed in range(250):
        a, b = two_models(120, seed=seed, b=1.5)
        p.append(delong(a["label"].to_numpy(), a["logit"].to_numpy(), b["logit"].to_numpy())["p"])
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08
    assert np.mean(p) == pytest.approx(0.5, abs=0.06)


def test_paired_sees_what_two_intervals_would_not() -> None:
    a, b = two_models(400, 2, b=1.0)
    found = paired(a, b)
    assert found["difference"] == pytest.approx(
        auc(a["label"].to_numpy(), a["logit"].to_numpy()) - auc(b["label"].to_numpy(), b["logit"].to_numpy())
    )
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["p"] == pytest.approx(2 / 1001)
    assert (found["count"], found["patients"]) == (800, 400)
    turned = paired(b, a)
    assert [turned["difference"], turned["low"], turned["high"]] == pytest.approx(
        [-found["difference"], -found["high"], -found["low"]]
    )
    report.Difference.model_validate(report.plain(found))
    alike = paired(*two_models(400, 2, b=1.5))
    assert alike["low"] < 0 < alike["high"]
    assert alike["p"] > 0.05


def test_paired_p_and_interval_are_honest_where_models_are_alike() -> None:
    found = [paired(*two_models(150, 2, seed=seed, b=1.5), resamples=200) for seed in range(150)]
    assert np.mean([one["low"] <= 0 <= one["high"] for one in found]) == pytest.approx(0.95, abs=0.04)
    assert np.mean([one["p"] < 0.05 for one in found]) < 0.1


def test_paired_takes_the_units_that_both_have_in_any_order() -> None:
    a, b = two_models(60, 3)
    found = paired(a, b, resamples=100)
    shuffled = paired(a.sample(frac=1, random_state=1), b.sample(frac=1, random_state=2), resamples=100)
    assert shuffled == pytest.approx(found)
    part = paired(a.iloc[:90], b.iloc[30:], resamples=100)
    inner = a.iloc[30:90], b.iloc[30:90]
    assert part == pytest.approx(paired(*inner, resamples=100))
    assert (part["count"], part["patients"]) == (60, 20)
    same = paired(a, a, resamples=50)
    assert [same[name] for name in NAMES] == [0, 0, 0, 1]


def test_paired_refuses_what_is_not_comparable() -> None:
    a, b = two_models(20, 2)
    for other, said in (
        (b.assign(label=1 - b["label"]), "disagree about labels"),
        (b.assign(patient_id="other" + b["patient_id"]), "no unit in common"),
        (pd.concat([b, b.iloc[:1]]), "judged twice"),
        (b.drop(columns="nodule"), "different units"),
        (b.assign(logit=np.nan), "no score"),
    ):
        with pytest.raises(UserError, match=said):
            paired(a, other)
    one = paired(a.assign(label=1), b.assign(label=1), resamples=20)
    assert np.isnan([one[name] for name in NAMES]).all()


def sized(
    count: int, seed: int = 0, of_size: float = 1.0, of_truth: float = 0.0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Judged nodules of which large ones are malignant more often, and their diameters."""
    generator = np.random.default_rng(seed)
    size = np.exp(generator.normal(2.2, 0.5, count))
    label = (generator.random(count) < 1 / (1 + np.exp(-3 * (np.log(size) - 2.3)))).astype(int)
    logit = (
        of_size * np.log(size) + of_truth * label + generator.normal(0, 1e-9 if not of_truth else 1, count)
    )
    frame = pd.DataFrame(
        {
            "patient_id": [f"P{number // 2}" for number in range(count)],
            "nodule": np.arange(count) % 2,
            "label": label,
            "logit": logit,
        }
    )
    return frame, size


@pytest.mark.parametrize("caliper", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("rounded", [False, True])
def test_size_alone_gives_one_half_among_units_of_like_size(caliper: float, rounded: bool) -> None:
    frame, size = sized(1500)
    size = size.round() if rounded else size
    frame["logit"] = np.log(size)
    assert auc(frame["label"].to_numpy(), size) > 0.75
    found = size_matched(frame, size, caliper=caliper, resamples=50)
    assert found["auc"]["value"] == pytest.approx(0.5, abs=1e-12)
    assert found["auc"]["low"] == pytest.approx(0.5, abs=1e-9)
    assert found["pairs"] > 500
    assert found["caliper"] == caliper


def test_what_a_score_knows_beyond_size_is_what_is_left() -> None:
    # Two unit normals whose means lie 1 apart.
    frame, size = sized(4000, of_size=4.0, of_truth=1.0)
    found = size_matched(frame, size, caliper=0.05)
    assert found["auc"]["value"] == pytest.approx(0.7602, abs=0.03)
    assert found["auc"]["low"] < 0.7602 < found["auc"]["high"]
    assert auc(frame["label"].to_numpy(), frame["logit"].to_numpy()) > 0.85


def test_matching_by_hand() -> None:
    # One malignant of 10 mm; two benign below (one ranked above it), three above (all ranked below it), and
    # two of its very size (one beaten, one tied). Far ones do not count.
    size = np.array([10, 9.9, 9.8, 9.7, 10.1, 10.2, 10.3, 10, 10, 5, 30])
    logit = np.array([1.0, 0, 0, 2, 0, 0, 0, 0, 1, 9, 9])
    frame = pd.DataFrame(
        {"patient_id": [str(number) for number in range(11)], "label": [1] + [0] * 10, "logit": logit}
    )
    found = size_matched(frame, size, resamples=20)
    assert found["pairs"] == 8
    assert found["auc"]["value"] == pytest.approx((6 * (2 / 3 + 1) / 2 + 2 * (1.5 / 2)) / 8)
    assert found["what"].startswith("1 of 1 malignant")
    assert found["patients"] == 9


def test_matching_is_settled_by_data_and_seed() -> None:
    frame, size = sized(400, of_truth=1.0)
    found = size_matched(frame, size, seed=1, resamples=100)
    assert found == size_matched(frame, size, seed=1, resamples=100)
    order = np.random.default_rng(0).permutation(400)
    turned = size_matched(frame.iloc[order], size[order], seed=1, resamples=100)
    assert turned["auc"]["value"] == pytest.approx(found["auc"]["value"])
    assert turned["pairs"] == found["pairs"]
    assert found["auc"]["low"] < found["auc"]["value"] < found["auc"]["high"]


def test_matching_without_partners() -> None:
    frame, size = sized(60)
    for other, sizes in (
        (frame.assign(label=1), size),
        (frame.assign(label=0), size),
        (frame, np.full(60, np.nan)),
        (frame, np.where(frame["label"] == 1, 30.0, 3.0)),
        (frame.iloc[:0], size[:0]),
    ):
        found = size_matched(other, sizes, resamples=20)
        assert np.isnan(list(found["auc"].values())).all()
        assert found["pairs"] == found["patients"] == 0
        assert report.SizeMatched.model_validate(report.plain(found)).auc.value is None
    with pytest.raises(UserError, match="a size a unit"):
        size_matched(frame, size[:5])
    with_gaps = np.where(np.arange(60) < 5, np.nan, size)
    assert (
        size_matched(frame, with_gaps, resamples=5)["pairs"]
        == size_matched(frame.iloc[5:], size[5:], resamples=5)["pairs"]
    )
