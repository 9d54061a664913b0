"""A report in words: figures, comparisons and what a leak is worth."""

from __future__ import annotations

import pytest

from lungvae_core.evaluation import report_words as words
from lungvae_core.evaluation.report import (
    Report,
)
from tests.evaluation.made_up import made_up


def test_comparisons_are_said_with_their_direction():
    report = Report.model_validate(made_up())
    said = {comparison.baseline: words.compared(comparison) for _, comparison in words.comparisons(report)}
    assert "ahead of mask area alone by 0.024 (0.009 to 0.038; p = 0.004)" in said["area"]
    assert "clear of 0" in said["area"]
    # Behind: the interval turns with the sentence.
    assert "behind ratings and size by 0.009 (−0.005 to 0.024" in said["ratings_size"]
    assert "includes 0, so no difference is shown" in said["ratings_size"]
    assert "PCA-64 of pixels" in said["pca"]
    assert len(words.comparisons(report)) == 5  # best_size is area, shown once


def test_sizes_stand_first_and_a_leak_is_said_first():
    report = Report.model_validate(made_up())
    kinds = [row.kind for row in words.forest(report, "nodule")]
    assert kinds == ["model", "size", "size", "size", "readers", "readers", "pixels", "pixels"]
    assert words.best_size(report, "nodule") == ("area", report.baselines["area"].nodule.auc)
    assert words.verdict(Report.model_validate(made_up("paper"))).startswith(words.LEAK_SENTENCE)
    gains = [gain for _, _, _, gain in words.leak_steps(Report.model_validate(made_up("paper")))]
    assert gains[0] is None
    assert gains[1] == pytest.approx(0.054)


def test_figures_have_their_interval_or_a_dash():
    assert words.figure(None) == words.DASH
    assert words.figure(words.Interval(value=None)) == words.DASH
    assert words.figure(words.Interval(value=0.9426, low=0.927, high=0.958)) == "0.943 (0.927 to 0.958)"
    assert [words.p_words(p) for p in (None, 0.0001, 0.21)] == ["", "p < 0.001", "p = 0.210"]


def test_a_leak_is_said_with_its_worth():
    said = words.leak_total(Report.model_validate(made_up("paper")))
    assert "0.912 per slice in the first row and 0.979 in the last" in said
    assert "The accuracy goes from 84.6% to 93.0%." in said
    assert words.leak_total(Report.model_validate(made_up())) == "The report has no leak table."
    assert words.limits(Report.model_validate(made_up("paper")))[0].startswith("These figures leak. ")


def test_nodules_are_mentioned_first_where_there_are_any():
    report = made_up()
    assert words.main_unit(Report.model_validate(report)) == "nodule"
    report["units"]["nodule"] = None
    left = Report.model_validate(report)
    assert words.units_of(left) == ["slice", "patient"]
    assert words.main_unit(left) == "patient"


def test_what_must_accompany_a_figure():
    report = Report.model_validate(made_up())
    said = words.facts(report, "nodule", report.units.nodule)
    for part in ("Protocol **nested**", "Task mvb", "median_high", "5 folds by patient", "seeds 0, 1, 2"):
        assert part in said
    assert words.title(report).startswith("dirvae on Made-up lesions: malignant against benign")
