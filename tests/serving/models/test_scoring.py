"""What is said of where a score comes from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lungvae_core.evaluation.classify import CROSS_VALIDATED, FITTED, SHAPED, TESTED
from lungvae_core.serving.models import scoring


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (CROSS_VALIDATED, "the classifier had not seen this patient's labels. The encoder learned without"),
        (TESTED, "Held out: neither the encoder nor the classifier"),
        (SHAPED, "Not a test: the encoder learned from this patient's label. The classifier had not"),
    ],
)
def test_a_row_says_who_had_seen_its_label(model, kind, sentence):
    row = 0
    lesion = {**model.lesion(row), "score_kind": kind}
    shown = SimpleNamespace(
        lesion=lambda _: lesion, folds=model.folds, run=model.run, classifier=model.classifier
    )
    assert sentence in scoring.of_row(shown, row)


def test_without_folds_a_row_says_that_the_classifier_may_have_seen_it(model):
    shown = SimpleNamespace(
        lesion=lambda _: {"patient_id": "x", "score_kind": FITTED},
        folds=None,
        run=model.run,
        classifier=model.classifier,
    )
    assert "other nodules of this patient may be among them" in scoring.of_row(shown, 0)
    shown.lesion = lambda _: {"patient_id": "x"}  # a table without kinds
    assert scoring.of_row(shown, 0) == ""


def test_a_walk_from_nobody_is_scored_by_the_classifier_of_all(model, monkeypatch):
    assert scoring.of_walk(model, None).startswith(scoring.NOBODY)
    patient = str(model.table["patient_id"].iloc[0])
    assert scoring.of_walk(model, patient) == scoring.of_row(model, 0)
    monkeypatch.setattr(model, "classifier", None)
    assert scoring.of_walk(model, None) == scoring.of_walk(model, patient) == ""


def test_a_set_counts_its_kinds(model, monkeypatch):
    counts = model.table["score_kind"].value_counts()
    words = scoring.of_set(model)
    assert f"{counts[CROSS_VALIDATED]} slices: cross-validated" in words
    assert f"{counts[FITTED]} slices: this patient has neither" in words
    monkeypatch.setattr(model, "_table", model._table.drop(columns="score_kind"))
    assert scoring.of_set(model) == ""
