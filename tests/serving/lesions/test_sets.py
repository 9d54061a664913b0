"""Named sets in the workspace's database."""

from __future__ import annotations

import dataclasses

import pytest

from lungvae_core.errors import UserError
from lungvae_core.serving.lesions import sets
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.workspace.settings import Settings


@pytest.fixture
def settings(tiny_models, tiny_data, tmp_path):
    return Settings(
        models=tiny_models, runs=tmp_path, data=tiny_data.parent, workspace=tmp_path / "workspace"
    )


def test_a_set_of_one_model_is_there_in_every_model_of_the_data(settings):
    registry = Registry(settings)
    kept = sets.save(settings, registry.load("tiny-gvae"), "  round   ones ", [5, 1, 5], note="by eye")
    assert (kept.name, kept.count, kept.note) == ("round ones", 2, "by eye")
    other = registry.load("tiny-dirvae")
    assert sets.sets(settings, other) == [kept]
    assert sets.load(settings, other, kept.id) == [1, 5]


def test_a_set_is_not_opened_in_other_data(settings):
    model = Registry(settings).load("tiny-gvae")
    kept = sets.save(settings, model, "mine", [1])
    data = model.entry.data.model_copy(update={"content_hash": "other"})
    model.entry = dataclasses.replace(model.entry, data=data)
    assert sets.sets(settings, model) == []
    with pytest.raises(UserError, match="other data"):
        sets.load(settings, model, kept.id)


def test_a_name_that_is_taken_asks_before_it_replaces(settings):
    model = Registry(settings).load("tiny-gvae")
    first = sets.save(settings, model, "mine", [1])
    with pytest.raises(sets.SetExistsError, match="mine"):
        sets.save(settings, model, "mine", [2])
    assert sets.load(settings, model, first.id) == [1]
    second = sets.save(settings, model, "mine", [2], replace=True)
    assert sets.sets(settings, model) == [second]
    assert sets.load(settings, model, second.id) == [2]


def test_a_deleted_set_is_gone(settings):
    model = Registry(settings).load("tiny-gvae")
    kept = sets.save(settings, model, "mine", [1])
    sets.delete(settings, kept.id)
    sets.delete(settings, kept.id)
    assert sets.sets(settings, model) == []
    with pytest.raises(UserError, match="no such set"):
        sets.load(settings, model, kept.id)


@pytest.mark.parametrize(
    ("name", "rows", "says"),
    [(" ", [1], "a name"), ("x" * 81, [1], "at most"), ("mine", [], "selected"), ("mine", [120], "0 to 119")],
)
def test_what_cannot_be_saved_is_said(settings, name, rows, says):
    with pytest.raises(UserError, match=says):
        sets.save(settings, Registry(settings).load("tiny-gvae"), name, rows)
