"""A selected group of lesions against the rest, its mean code and mean image."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.serving.lesions import group


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
