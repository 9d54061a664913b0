"""Coordinates of codes: their way back, borders that no step crosses, and means of nodules."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.explore.coordinates import Space, nodules


def codes(simplex: bool) -> np.ndarray:
    drawn = np.random.default_rng(0).normal(size=(50, 6))
    if not simplex:
        return drawn.astype(np.float32)
    shares = np.exp(drawn)
    return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("simplex", [False, True])
def test_coordinates_are_standardised_and_lead_back(simplex: bool) -> None:
    own = codes(simplex)
    space = Space.fit(own, simplex=simplex)
    points = space.to(own)
    np.testing.assert_allclose(points.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(points.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(space.back(points), own, atol=1e-5)


def test_no_step_leaves_the_simplex() -> None:
    space = Space.fit(codes(True), simplex=True)
    far = space.back(np.random.default_rng(1).normal(0, 50, (20, 6)))
    assert (far >= 0).all()
    np.testing.assert_allclose(far.sum(1), 1, atol=1e-6)


def test_a_dimension_that_hardly_varies_is_not_stretched() -> None:
    own = codes(False)
    own[:, 2] = 3 + own[:, 2] * 1e-6
    points = Space.fit(own, simplex=False).to(own)
    assert np.abs(points[:, 2]).max() < 1e-3


def test_nodules_have_the_mean_of_their_slices() -> None:
    table = pd.DataFrame({"patient_id": ["B", "A", "B", "B"], "nodule": [1, 1, 1, 2], "slice": [0, 0, 1, 0]})
    frame, means = nodules(table, np.array([[0.0], [5], [2], [7]]))
    assert frame[["patient_id", "nodule", "slice"]].values.tolist() == [["B", 1, 0], ["A", 1, 0], ["B", 2, 0]]
    assert means.tolist() == [[1], [5], [7]]
