"""A selection as cards and as a group against the rest."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from lungvae_core import NOTICE
from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import group, lesion_facts, selection
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture(scope="module", params=["tiny-gvae", "tiny-dirvae"])
def model(request, tiny_models, tiny_data, tmp_path_factory):
    base = tmp_path_factory.mktemp("selection")
    settings = Settings(models=tiny_models, runs=base, data=tiny_data.parent, workspace=base / "workspace")
    return Registry(settings).load(request.param)


def test_cards_keep_the_order_and_tell_the_readers(model):
    told = selection.cards(model, [30, 2], readers=True)
    assert [card["row"] for card in told] == [30, 2]
    rating = model.table["malignancy_all"].iloc[30].replace("|", ", ")
    assert f"malignancy {rating}" in told[0]["lines"]
    assert all(card["real"] for card in told)
    assert selection.cards(model, [30]) == [selection.card(model, 30)]
    assert selection.cards(model, []) == []


def test_the_file_has_all_rows_and_the_notice(model):
    table = pd.read_csv(io.BytesIO(selection.csv(model, [30, 2])))
    assert table["row"].tolist() == [30, 2]
    assert (table["notice"] == NOTICE).all()


def test_large_lesions_are_larger_than_the_rest(model):
    size = model.table["diameter_mm"]
    found = {each.name: each for each in group.contrasts(model, np.flatnonzero(size > size.median()))}
    assert found["diameter_mm"].low > 0
    assert {"malignancy", "texture", "score", "ssim"} <= set(found)


def test_the_middle_of_a_group_is_a_code_near_its_most_typical_lesions(model):
    rows = list(range(40))
    code = group.mean_code(model, rows)
    if model.entry.prior == "dirichlet":
        assert code.sum() == pytest.approx(1, abs=1e-5)
    typical = group.most_typical(model, rows, 3)
    assert len(set(model.table["patient_id"].iloc[typical])) == 3
    assert typical[0] == group.ordered(model, rows, "typical")[0]
    assert set(group.ordered(model, rows, "typical")) == set(rows)


def test_the_mean_image_is_the_mean_of_the_slices(model):
    rows = [3, 50, 77]
    found = group.mean_image(model, rows)
    assert (found.real, found.count, found.of) == (True, 3, 3)
    np.testing.assert_allclose(found.image, model.images(np.array(rows))[0].mean(0), atol=1e-5)


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


@pytest.mark.parametrize(
    ("rows", "text"), [([], ""), ([5], "5"), ([9, 3, 4, 5, 9], "3-5,9"), (list(range(100)), "0-99")]
)
def test_rows_in_an_address_and_back(model, rows, text):
    assert selection.as_ranges(rows) == text
    if text:
        assert selection.of_ranges(model, text) == sorted(set(rows))


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "1;2", "٣", "0-120", "999999999", "1" * 10])
def test_a_selection_from_elsewhere_is_read_or_told(model, text):
    with pytest.raises(UserError, match="address"):
        selection.of_ranges(model, text)
