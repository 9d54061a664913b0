"""Maps keep neighbours near, repeat by seed, and nodules are summarised by their largest slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.explore.maps import METHODS, nodules, project, quality


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS)
def test_two_far_groups_stay_apart(method: str) -> None:
    generator = np.random.default_rng(0)
    codes = generator.normal(0, 1, (80, 6)) + np.repeat([[0], [30]], 40, axis=0)
    xy = project(codes.astype(np.float32), method)
    assert xy.shape == (80, 2)
    assert np.abs(xy).max() == pytest.approx(1)
    centres = xy[:40].mean(0), xy[40:].mean(0)
    for rows, own, other in ((slice(0, 40), *centres), (slice(40, 80), *centres[::-1])):
        assert (np.linalg.norm(xy[rows] - own, axis=1) < np.linalg.norm(xy[rows] - other, axis=1)).all()
    np.testing.assert_array_equal(xy, project(codes.astype(np.float32), method))


def test_few_points_do_not_break_a_map() -> None:
    for count in (2, 3, 4, 6):
        for method in ("tsne", "pca"):
            assert np.isfinite(project(np.random.default_rng(0).normal(size=(count, 3)), method)).all()


def test_nodules_are_means_shown_by_their_largest_slice() -> None:
    table = pd.DataFrame({"patient_id": ["A"] * 3 + ["B"], "nodule": [0, 0, 1, 0], "area_px": [5, 9, 2, 1]})
    codes = np.arange(8, dtype=np.float32).reshape(4, 2)
    frame, means = nodules(table, codes)
    assert frame["row"].tolist() == [1, 2, 3]
    assert frame["slices"].tolist() == [2, 1, 1]
    np.testing.assert_array_equal(means[0], [1, 2])


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
