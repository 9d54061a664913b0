"""All figures of judged units against scikit-learn, with intervals that draw patients."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn import metrics as theirs

from lungvae_core.errors import UserError
from lungvae_core.evaluation import report
from lungvae_core.evaluation.figures import FIGURES, POINTS, unit_figures
from lungvae_core.statistics.calibration import ece
from lungvae_core.statistics.roc import auc, auc_interval


def judged(patients: int = 120, each: int = 3, seed: int = 0, apart: float = 1.6) -> pd.DataFrame:
    """Made-up judged nodules: those of a patient share some of their luck; calibrated if apart is 1.6."""
    generator = np.random.default_rng(seed)
    count = patients * each
    label = generator.integers(0, 2, count)
    luck = np.repeat(generator.normal(0, 0.6, patients), each) + generator.normal(0, 0.8, count)
    logit = apart * ((label - 0.5) * apart + luck)
    patient = np.repeat(np.arange(patients), each)
    return pd.DataFrame(
        {
            "patient_id": [f"P{number:03d}" for number in patient],
            "nodule": np.tile(np.arange(each), patients),
            "fold": patient % 5,
            "label": label,
            "logit": logit,
            "probability": expit(logit),
            "called": (logit > 0.2).astype(int),
        }
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return judged()


@pytest.fixture(scope="module")
def figures(frame: pd.DataFrame) -> dict[str, Any]:
    return unit_figures(frame)


def test_values_are_scikit_learns(frame: pd.DataFrame, figures: dict[str, Any]) -> None:
    label, called, probability = (frame[name] for name in ("label", "called", "probability"))
    assert {name: figures[name]["value"] for name in FIGURES} == pytest.approx(
        {
            "auc": theirs.roc_auc_score(label, frame["logit"]),
            "accuracy": theirs.accuracy_score(label, called),
            "balanced_accuracy": theirs.balanced_accuracy_score(label, called),
            "sensitivity": theirs.recall_score(label, called),
            "specificity": theirs.recall_score(label, called, pos_label=0),
            "precision": theirs.precision_score(label, called),
            "f1": theirs.f1_score(label, called),
            "average_precision": theirs.average_precision_score(label, frame["logit"]),
            "brier": theirs.brier_score_loss(label, probability),
            "ece": ece(label.to_numpy(), probability.to_numpy()),
        }
    )
    tn, fp, fn, tp = theirs.confusion_matrix(label, called).ravel().tolist()
    assert figures["confusion"] == {"tp": tp, "fp": fp, "tn": tn, "fn": fn}
    assert (figures["count"], figures["malignant"], figures["patients"]) == (360, int(label.sum()), 120)


def test_precision_and_recall_are_not_swapped() -> None:
    # 4 malignant, of whom 3 called; 16 benign, of whom 5 called.
    label = np.repeat([1, 0], [4, 16])
    called = np.r_[1, 1, 1, 0, np.repeat([1, 0], [5, 11])]
    frame = judged(20, 1).assign(label=label, called=called)
    figures = unit_figures(frame, resamples=50)
    assert figures["sensitivity"]["value"] == 3 / 4
    assert figures["precision"]["value"] == 3 / 8
    assert figures["specificity"]["value"] == 11 / 16  # the negative predictive value would be 11/12


def test_intervals_are_those_of_drawing_patients(frame: pd.DataFrame, figures: dict[str, Any]) -> None:
    for name in FIGURES:
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"], name
        assert 0 <= figures[name]["low"] < figures[name]["high"] <= 1
    columns = [frame[name].to_numpy() for name in ("label", "logit", "patient_id")]
    assert figures["auc"] == auc_interval(*columns)
    # The same by drawing rows, which is slow.
    generator = np.random.default_rng(1)
    rows = list(frame.groupby("patient_id").indices.values())
    drawn = []
    for _ in range(300):
        part = frame.iloc[np.concatenate([rows[at] for at in generator.integers(len(rows), size=len(rows))])]
        label, called = part["label"].to_numpy(), part["called"].to_numpy()
        drawn.append(
            (
                label[called == 1].mean(),
                called[label == 1].mean(),
                ((part["probability"].to_numpy() - label) ** 2).mean(),
            )
        )
    for name, values in zip(("precision", "sensitivity", "brier"), np.array(drawn).T, strict=True):
        slow = np.percentile(values, [2.5, 97.5])
        assert (figures[name]["low"], figures[name]["high"]) == pytest.approx(slow, abs=0.015), name


def test_repeated_units_of_a_patient_do_not_narrow_an_interval(
    frame: pd.DataFrame, figures: dict[str, Any]
) -> None:
    ten = pd.concat([frame.assign(slice=number) for number in range(10)], ignore_index=True)
    again = unit_figures(ten)
    for name in FIGURES:
        assert again[name] == pytest.approx(figures[name], abs=0.01), name


def test_the_seed_decides_and_the_order_of_units_does_not(frame: pd.DataFrame) -> None:
    one = unit_figures(frame, resamples=200, seed=1)
    assert json.dumps(one) == json.dumps(unit_figures(frame, resamples=200, seed=1))
    assert one["auc"] != unit_figures(frame, resamples=200, seed=2)["auc"]
    turned = unit_figures(frame.sample(frac=1, random_state=0), resamples=200, seed=1)
    for name in FIGURES:
        assert turned[name]["value"] == pytest.approx(one[name]["value"])


def test_folds_have_their_own_auc(frame: pd.DataFrame, figures: dict[str, Any]) -> None:
    expected = [auc(part["label"].to_numpy(), part["logit"].to_numpy()) for _, part in frame.groupby("fold")]
    assert figures["auc_by_fold"] == expected
    assert len(expected) == 5
    assert unit_figures(frame.drop(columns="fold"), resamples=10)["auc_by_fold"] == []


def test_curves_are_thin_and_true() -> None:
    large = judged(1500, 2, seed=4)
    figures = unit_figures(large, resamples=20)
    roc, pr = figures["curves"]["roc"], figures["curves"]["pr"]
    assert len(roc["fpr"]) == len(roc["tpr"]) <= POINTS
    assert len(pr["recall"]) == len(pr["precision"]) <= POINTS
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc["tpr"], roc["fpr"]) == pytest.approx(figures["auc"]["value"], abs=0.003)
    assert (pr["recall"][0], pr["recall"][-1]) == (0, 1)
    assert pr["recall"] == sorted(pr["recall"])
    assert pr["precision"][-1] == pytest.approx(large["label"].mean(), abs=0.03)
    assert np.trapezoid(pr["precision"], pr["recall"]) == pytest.approx(
        figures["average_precision"]["value"], abs=0.01
    )
    assert sum(one["count"] for one in figures["curves"]["reliability"]) == len(large)


def test_a_share_of_one_is_not_called_certain() -> None:
    frame = judged(30, 2).assign(called=1)
    figures = unit_figures(frame, resamples=50)
    ill = frame.loc[frame["label"] == 1, "patient_id"].nunique()
    assert figures["sensitivity"]["value"] == figures["sensitivity"]["high"] == 1
    assert figures["sensitivity"]["low"] == pytest.approx(1 - 3.84 / (ill + 3.84), abs=1e-3)  # Wilson's
    assert figures["specificity"]["value"] == figures["specificity"]["low"] == 0
    assert figures["specificity"]["high"] > 0.05


def test_labels_that_are_random_by_patient_say_nothing() -> None:
    frame = judged(300, 4, seed=6)
    chance = np.repeat(np.random.default_rng(0).integers(0, 2, 300), 4)
    figures = unit_figures(frame.assign(label=chance), resamples=400)
    assert abs(figures["auc"]["value"] - 0.5) < 0.05
    assert figures["auc"]["low"] < 0.5 < figures["auc"]["high"]
    assert figures["balanced_accuracy"]["low"] < 0.5 < figures["balanced_accuracy"]["high"]


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_has_the_figures_that_it_can_have(label: int) -> None:
    figures = unit_figures(judged(10, 2).assign(label=label), resamples=50)
    assert np.isnan(figures["auc"]["value"])
    assert np.isnan(figures["auc"]["low"])
    assert np.isnan(figures["sensitivity" if label == 0 else "specificity"]["value"])
    assert 0 <= figures["accuracy"]["low"] <= figures["accuracy"]["value"] <= figures["accuracy"]["high"] <= 1
    assert figures["curves"]["roc"] == {"fpr": [], "tpr": []}
    assert report.UnitFigures.model_validate(report.plain(figures)).auc.value is None


def test_no_units_and_all_ties() -> None:
    nothing = unit_figures(judged(10, 2).iloc[:0], resamples=20)
    assert nothing["count"] == nothing["patients"] == 0
    assert all(np.isnan(nothing[name]["value"]) for name in FIGURES)
    report.UnitFigures.model_validate(report.plain(nothing))
    ties = unit_figures(judged(20, 2).assign(logit=0.0, probability=0.5, called=1), resamples=50)
    assert (ties["auc"]["value"], ties["auc"]["low"], ties["auc"]["high"]) == (0.5, 0.5, 0.5)
    assert ties["average_precision"]["value"] == pytest.approx(ties["precision"]["value"])


def test_they_are_what_a_report_takes(figures: dict[str, Any]) -> None:
    assert FIGURES == report.FIGURES
    kept = report.UnitFigures.model_validate(report.plain(figures))
    assert kept.curves is not None
    assert kept.model_dump(mode="json")["auc"] == figures["auc"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logit": np.nan}, "no score"),
        ({"probability": 1.2}, "between 0 and 1"),
        ({"probability": np.nan}, "between 0 and 1"),
        ({"label": 0.5}, "label"),
        ({"called": 2}, "called"),
    ],
)
def test_what_cannot_be_judged_is_said(frame: pd.DataFrame, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        unit_figures(frame.assign(**change))
    with pytest.raises(UserError, match="lack the column"):
        unit_figures(frame.drop(columns=list(change)))
