"""A map's trustworthiness and continuity."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.explore.clusters.neighbourhoods import quality


def test_a_maps_quality_is_one_for_the_space_itself_and_a_half_at_random() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(300, 2))
    same = quality(points, 3 * points)
    assert same["neighbours"] == [5, 15, 50]
    assert same["trustworthiness"] == pytest.approx([1, 1, 1])
    assert same["continuity"] == pytest.approx([1, 1, 1])
    random = quality(points, generator.normal(size=(300, 2)))
    assert random["trustworthiness"][0] == pytest.approx(0.5, abs=0.06)
    # A map that tears one group into two keeps trust, and loses continuity; one that folds loses trust.
    line = np.linspace(0, 1, 300)[:, None]
    torn = np.c_[line[:, 0] + 5 * (np.arange(300) % 2), np.zeros(300)]
    assert quality(line, torn)["trustworthiness"][1] > quality(line, torn)["continuity"][1]
