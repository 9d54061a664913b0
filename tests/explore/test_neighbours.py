"""By which numbers lesions are compared, and which are nearest to one."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.explore.neighbours import features, lesion_features, metric, nearest, place, votes
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.latents import make_latent


def test_nearest_leaves_out_the_own_patient_and_repeats() -> None:
    codes = np.array([[0.0], [0.1], [0.2], [5], [5.1]], np.float32)
    patients = np.array(["A", "A", "B", "C", "C"])
    rows, distances = nearest(codes, codes[0], 9, patients=patients, exclude_patient="A")
    assert rows.tolist() == [2, 3, 4]
    assert distances.tolist() == sorted(distances)
    rows, _ = nearest(codes, codes[0], 9, patients=patients, one_per_patient=True)
    assert rows.tolist() == [0, 2, 3]
    xy = np.array([[0, 0], [0, 1], [1, 0], [9, 9], [9, 9]], np.float32)
    assert np.linalg.norm(place(xy, np.array([0, 3]), np.array([0.0, 5.0])) - xy[0]) < 2


def test_simplex_distances_are_hellingers() -> None:
    p, q = np.array([[0.5, 0.5, 0]]), np.array([[0, 0.5, 0.5]])
    distance = np.linalg.norm(features(p, "dirichlet") - features(q, "dirichlet")) / np.sqrt(2)
    assert distance == pytest.approx(np.sqrt(1 - np.sqrt(p * q).sum()))


def test_the_nearest_of_other_patients_vote() -> None:
    points = np.array([[0.0], [0.1], [0.2], [5], [5.1], [5.2]], np.float32)
    labels, patients = np.array([1, 1, 1, 0, 0, 0]), np.array(["A", "A", "B", "C", "C", "D"])
    np.testing.assert_array_equal(votes(points, labels, patients, 1), [1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(votes(points, labels, patients, 9), [0.25, 0.25, 0.4, 0.75, 0.75, 0.6])
    assert np.isnan(votes(points[:2], labels[:2], patients[:2])).all()  # a patient does not vote on itself


def test_lesions_of_a_guided_model_are_compared_by_its_guided_dimensions() -> None:
    guided = {"guided": ("diameter", "malignancy"), "dimensions": 6}
    for name in ("gvae", "dirvae"):
        config = override(preset(name), guided)
        latent = make_latent(config.model)
        codes = np.stack([latent.draw(seed) for seed in range(3)])
        points = lesion_features(codes, config)
        assert points.shape == (3, 2)
        other = np.concatenate((codes[:, :2], codes[:, :1:-1]), 1)  # the free ones in another order
        np.testing.assert_allclose(lesion_features(other, config), points, rtol=1e-5)
        assert "diameter, malignancy" in metric(config)
        assert lesion_features(codes, override(preset(name), {"dimensions": 6})).shape == (3, 6)
