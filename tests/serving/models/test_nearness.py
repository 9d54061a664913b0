"""Neighbours, familiarity and places of codes among the lesions of a model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.serving.models.nearness import Nearness
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.vae.config import preset


@pytest.fixture
def nearness() -> Nearness:
    """Forty codes of twenty patients, of whom the two slices of each lie close together."""
    centres = np.random.default_rng(0).normal(0, 1, (20, 4)).repeat(2, axis=0)
    codes = (centres + np.tile([[0.0], [0.01]], (20, 4))).astype(np.float32)
    patients = pd.Series([f"P-{number // 2:02d}" for number in range(40)])
    return Nearness(codes, patients, LesionSpace(preset("gvae")))


def test_neighbours_are_the_nearest_at_most_one_a_patient(nearness):
    rows, distances = nearness.neighbours(nearness.codes[6], 5)
    assert rows[0] == 6
    assert distances[0] == pytest.approx(0, abs=1e-6)
    assert (np.diff(distances) >= 0).all()
    assert nearness.patients.iloc[rows].is_unique


@pytest.mark.parametrize("spelling", ["P-03", " p-03"])
def test_a_patient_who_is_left_out_is_no_neighbour_however_spelled(nearness, spelling):
    rows, _ = nearness.neighbours(nearness.codes[6], 19, exclude_patient=spelling)
    assert len(rows) == 19
    assert "P-03" not in set(nearness.patients.iloc[rows])


def test_what_is_farther_than_any_lesion_is_unfamiliar(nearness):
    familiarity = nearness.familiarity(np.stack([nearness.codes[0], np.full(4, 50)]))
    assert familiarity.tolist() == [0, 1]
    # A slice is as near to others' as lesions of different patients are, and not as near as to itself.
    own = nearness.familiarity(nearness.codes[:1], exclude_patient="P-00")
    assert 0 < own[0] <= 1


def test_without_a_second_patient_everything_is_unfamiliar():
    alone = Nearness(np.eye(3, dtype=np.float32), pd.Series(["A", "A", "A"]), LesionSpace(preset("gvae")))
    assert alone.familiarity(np.eye(3)[:2]).tolist() == [1, 1]


def test_a_code_lies_on_a_map_among_its_ten_nearest_the_nearest_weigh_most(nearness):
    own, everywhere = np.zeros((40, 2)), np.full((40, 2), 0.25)
    own[[8, 9]] = 1  # the code's own patient; the other eight neighbours lie at 0
    place = nearness.place(nearness.codes[8], own)
    assert (place > 0.5).all()
    assert (place < 1).all()
    np.testing.assert_allclose(nearness.place(nearness.codes[8], everywhere), 0.25)
