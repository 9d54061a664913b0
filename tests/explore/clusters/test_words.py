"""Clusters in words."""

from __future__ import annotations

import numpy as np

from lungvae_core.explore.clusters.methods import NOISE
from lungvae_core.explore.clusters.words import LIKE_THE_REST, cluster_words, describe, named
from tests.explore.clusters.conftest import lesions, planted


def test_clusters_are_put_in_words() -> None:
    points, truth = planted()
    frame = lesions(truth)
    described = describe(frame, points, truth)
    first, second = described[0], described[1]
    assert first["malignant"]["value"] == 1
    assert 0.9 < first["malignant"]["low"] < 1
    assert second["malignant"]["value"] == 0
    assert "larger" in first["words"]
    assert "more spiculated" in first["words"]
    assert "smaller" in second["words"]
    assert "texture" not in first["name"]
    assert "solid" not in first["words"]
    assert f"{first['units']} nodules of {first['patients']} patients" in first["words"]
    assert first["words"] == cluster_words(first)
    assert 18 <= first["diameter_mm"]["median"] <= 19
    assert first["bands"] == [0, 0, 0, 150]
    patients = frame["patient_id"].to_numpy()
    assert len(set(patients[first["typical"]])) == len(first["typical"]) == 4
    assert (truth[first["typical"]] == 0).all()
    assert named(described, np.where(np.arange(300) == 0, NOISE, truth))[:2] == ["", first["name"]]


def test_a_cluster_at_random_is_like_the_rest() -> None:
    points, truth = planted()
    made_up = np.random.default_rng(0).integers(2, size=300)
    assert {one["name"] for one in describe(lesions(truth), points, made_up)} == {LIKE_THE_REST}
