"""Paths through the latent space, and what they need."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.explore.ways import NEIGHBOURS, ways_of
from lungvae_core.serving.models.registry import Registry
from lungvae_core.serving.walks import paths
from lungvae_core.serving.workspace.settings import Settings


def test_every_way_leads_from_a_to_b(model):
    a, b = model.codes[0], model.codes[60]
    for kind in ways_of(model.entry.prior):
        way = paths.between(model, kind, a, b, rows=(0, 60))
        np.testing.assert_array_equal(way.codes[[0, -1]], [a, b])
        assert len(way.codes) == paths.STEPS
        if kind == NEIGHBOURS:
            own = set(zip(model.table["patient_id"].iloc[[0, 60]], [0, 0], strict=True))
            passed = model.table.iloc[list(way.rows)]
            assert not own & set(zip(passed["patient_id"], passed["nodule"], strict=True))
    with pytest.raises(UserError):
        paths.between(model, "sideways", a, b)


def test_sheets_have_the_start_in_their_frame(model):
    code = model.codes[3]
    first, second = (int(at) for at in model.order[:2])
    made = paths.grid(model, code, first, second, 5, "a lesion", None)
    assert made.images.shape == (5, 5, 64, 64)
    assert made.outlined is not None
    sheet = paths.contact_sheet(model, code, model.order.tolist(), 5, "a lesion", None)
    assert sheet.images.shape == (model.entry.dimensions, 5, 64, 64)
    assert sheet.scores is not None


def test_a_flip_takes_the_score_to_the_other_side(model):
    target = float(np.median(model.score(model.codes, patient=None)))
    row = int(np.argmin(model.score(model.codes, patient=None)))
    found = paths.flip(model, model.codes[row], patient=None, target=target)
    assert found.already or (found.score_before < target <= found.score_after + 1e-3)
    with pytest.raises(UserError, match="lungvae directions"):
        paths.along_direction(model, "malignancy", model.codes[0])


def test_the_widest_change_comes_first(model):
    before = model.codes[0]
    after = model.latent.valid(before + np.array([0, 0.3, 0, 0.1], np.float32))
    changes = paths.largest_changes(model, before, after)
    sizes = [abs(change) for _, change in changes]
    assert sizes == sorted(sizes, reverse=True)
    assert sorted(at for at, _ in changes) == [0, 1, 2, 3]
    assert paths.largest_changes(model, before, after, most=1) == changes[:1]
    assert all(change == 0 for _, change in paths.largest_changes(model, before, before))


def test_a_span_reaches_to_a_code_beyond_the_lesions(model):
    low, high = model.ranges[1]
    code = model.codes[0].copy()
    code[1] = high + 1
    np.testing.assert_allclose(paths.span(model, 1, code), [low, high + 1])
    code[1] = (low + high) / 2
    np.testing.assert_allclose(paths.span(model, 1, code), [low, high])


def test_unmeasured_dimensions_have_numbers_and_an_order(model):
    assert paths.names(model) == {}
    assert paths.named(model, 2) == "z 2"
    used, unused, by = paths.carried(model)
    assert sorted(used + unused) == [0, 1, 2, 3]
    assert used == [at for at in model.order.tolist() if at in used]
    assert "differ" in by


def test_a_drawn_line_leads_past_the_lesions_beside_it(model):
    xy = model.map("slice", "pca")
    way, places = paths.drawn(model, xy, model.codes, xy[[0, 60]])
    assert way.codes.shape == (paths.STEPS, 4)
    np.testing.assert_allclose(places[[0, -1]], xy[[0, 60]], atol=1e-6)


def test_without_a_classifier_there_is_no_score_to_change(tiny_models, tmp_path):
    registry = Registry(Settings(models=tiny_models, runs=tmp_path, data=tmp_path))
    model = registry.load("tiny-gvae")
    model.classifier = None
    with pytest.raises(UserError, match="lungvae classify"):
        paths.flips(model)
