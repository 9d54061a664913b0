"""The nearest of codes, what they vote, and the place on a map."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.explore.neighbours import nearest, place, votes
from lungvae_core.vae.latents import FAMILIES


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
    features = FAMILIES["dirichlet"].features
    distance = np.linalg.norm(features(p) - features(q)) / np.sqrt(2)
    assert distance == pytest.approx(np.sqrt(1 - np.sqrt(p * q).sum()))


def test_the_nearest_of_other_patients_vote() -> None:
    points = np.array([[0.0], [0.1], [0.2], [5], [5.1], [5.2]], np.float32)
    labels, patients = np.array([1, 1, 1, 0, 0, 0]), np.array(["A", "A", "B", "C", "C", "D"])
    np.testing.assert_array_equal(votes(points, labels, patients, 1), [1, 1, 1, 0, 0, 0])
    np.testing.assert_allclose(votes(points, labels, patients, 9), [0.25, 0.25, 0.4, 0.75, 0.75, 0.6])
    assert np.isnan(votes(points[:2], labels[:2], patients[:2])).all()  # a patient does not vote on itself
