"""A nodule's score from its slices, and which of them drive it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from lungvae_core.serving.lesions.nodule_score import attended_words, combine, judge


def test_a_slice_drives_the_score_by_what_the_mean_would_be_without_it(model):
    codes = model.codes[:5]
    found = judge(model, codes, patient=None)
    np.testing.assert_allclose(found.slices, model.score(codes, patient=None))
    for at in range(5):
        rest = np.delete(found.slices, at).mean()
        assert found.drives[at] == pytest.approx(found.score - rest)
    assert found.score == pytest.approx(found.slices.mean())
    assert 0 <= found.band[0] < found.band[1] <= 1


def test_one_slice_alone_drives_nothing(model):
    found = judge(model, model.codes[:1], patient=None)
    assert found.score == pytest.approx(float(model.score(model.codes[:1], patient=None)[0]))
    np.testing.assert_array_equal(found.drives, [0.0])
    band = model.band(model.codes[:1], patient=None)
    np.testing.assert_allclose(found.band, band[0])


def test_a_nodule_of_the_set_is_judged_by_members_that_did_not_learn_from_it(model):
    patient = str(model.table["patient_id"].iloc[0])
    rows = np.arange(5)
    stored = model.table["score"].to_numpy(float)[rows]
    found = combine(model, stored, model.codes[rows], patient=patient)
    assert found.score == pytest.approx(stored.mean())
    means = model.ensemble.scores(model.codes[rows]).mean(1)[model.ensemble.unseen(patient)]
    np.testing.assert_allclose(found.band, np.quantile(means, [0.05, 0.95]))


def test_without_a_classifier_there_is_no_score(model, monkeypatch):
    monkeypatch.setattr(model, "classifier", None)
    assert judge(model, model.codes[:2], patient=None) is None


def test_familiarity_is_the_share_of_own_slices_with_a_nearer_other(model):
    patient = str(model.table["patient_id"].iloc[0])
    own = model.familiarity(model.codes[:3], exclude_patient=patient)
    assert ((own >= 0) & (own <= 1)).all()
    np.testing.assert_array_equal(model.familiarity(model.codes[:3]), 0)  # a lesion is its own nearest
    far = model.codes[:1] + 50 if model.entry.prior == "gaussian" else model.latent.valid(np.eye(4)[:1])
    assert model.familiarity(far)[0] >= own.min()
    if model.entry.prior == "gaussian":
        assert model.familiarity(far)[0] == 1


def test_attention_judges_a_nodule_by_one_that_has_not_seen_its_patient(model):
    patient = next(name for name in model.attentions.fold_of)
    rows = np.flatnonzero(model.table["patient_id"].astype(str) == patient)
    judged = judge(model, model.codes[rows], patient=patient)
    own = model.attentions.of(patient).logits(model.codes[rows], model.table.iloc[rows])
    assert judged.attended == pytest.approx(float(expit(own["logit"].iloc[0])), abs=1e-6)
    assert judged.weights.sum() == pytest.approx(1)
    assert "By attention" in attended_words(judged)
    assert attended_words(judge(model, model.codes[:1], patient=None)) == ""
