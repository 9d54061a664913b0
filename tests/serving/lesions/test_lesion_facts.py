"""Facts about a nodule: readers' ratings, measures and scores, in words."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.serving.lesions import lesion_facts


def test_stored_scores_make_the_nodules_score(model):
    scores = lesion_facts.scores(model, 12)
    stored = model.table["score"].iloc[10:15]
    assert scores.slice == pytest.approx(stored.iloc[2])
    assert scores.nodule.score == pytest.approx(stored.mean())
    assert scores.note


def test_ratings_come_in_the_fields_words(model):
    texture = next(each for each in lesion_facts.ratings(model, 12) if each.name == "texture")
    assert texture.values == [int(part) for part in model.table["texture_all"].iloc[12].split("|")]
    ends = {1: "non-solid", 2: "non-solid to part-solid", 4: "part-solid to solid", 5: "solid"}
    assert texture.meanings == [ends[value] for value in texture.values]
    assert texture.caption.split(" – ")[0] == ends[min(texture.values)]


def test_scores_are_computed_where_none_are_stored_and_none_without_a_classifier(model, monkeypatch):
    monkeypatch.setattr(model, "_table", model._table.drop(columns="score"))
    patient = str(model.table["patient_id"].iloc[12])
    computed = lesion_facts.scores(model, 12)
    np.testing.assert_allclose(
        computed.nodule.slices, model.score(model.codes[10:15], patient=patient), atol=1e-6
    )
    monkeypatch.setattr(model, "classifier", None)
    assert lesion_facts.scores(model, 12) is None


def test_facts_have_units_and_what_is_unknown_is_left_out(model, monkeypatch):
    facts = dict(lesion_facts.facts(model, 12))
    assert facts["diameter"] == f"{model.table['diameter_mm'].iloc[12]:.1f} mm"
    assert (facts["slices"], facts["pixel spacing"], facts["readers who outlined it"]) == (
        "5",
        "0.70 mm",
        "2",
    )
    assert "volume" not in facts
    entry = model.lesion(12) | {
        "diameter_mm": np.nan,
        "contrast": False,
        "split": "validation",
        "hu_step": 4.0,
    }
    monkeypatch.setattr(model, "lesion", lambda row: entry)
    facts = dict(lesion_facts.facts(model, 12))
    assert "diameter" not in facts
    assert facts["contrast medium"] == "no"
    assert facts["model learned from it"] == "no, held out"
    assert facts["HU in steps of"] == "4.0"


def test_a_caption_goes_from_the_least_rating_to_the_most():
    rating = lesion_facts.Rating("texture", [5, 1, 3], ["solid", "non-solid", "part-solid"], (1, 5))
    assert rating.caption == "non-solid – solid"
    assert lesion_facts.Rating("texture", [4, 4], ["so", "so"], (1, 5)).caption == "so"
