"""A group's figures against the rest."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.explore.typical import by_nearness, contrasts

PATIENTS = 40


def group_of(effect: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Two nodules of three slices a patient; those of every other patient are larger by `effect`."""
    generator = np.random.default_rng(seed)
    patients = np.repeat(np.arange(PATIENTS), 6)
    nodules = np.repeat(np.arange(2 * PATIENTS), 3)
    of_patient = generator.normal(0, 1, PATIENTS)[patients]
    values = of_patient + effect * (patients % 2) + generator.normal(0, 0.1, len(patients))
    return pd.DataFrame({"size": values}), nodules, patients, np.flatnonzero(patients % 2 == 1)


def test_means_are_over_nodules_counted_once():
    values = pd.DataFrame({"size": [1.0, 3.0, 10.0, 20.0, 4.0, np.nan]})
    nodules, patients = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 0, 0, 0, 1, 2])
    (contrast,) = contrasts(values, nodules, patients, np.array([0, 1, 2]))
    # Nodule 1 is in the group by its one selected slice; its other one counts nowhere.
    assert contrast.group == pytest.approx((2 + 10) / 2)
    assert contrast.rest == pytest.approx(4)
    assert contrast.nodules == 2
    assert np.isnan(contrast.low)
    assert not contrast.differs


@pytest.mark.parametrize(("effect", "differs"), [(0.0, False), (3.0, True)])
def test_the_interval_leaves_out_zero_only_where_patients_differ(effect, differs):
    (contrast,) = contrasts(*group_of(effect))
    assert contrast.low < contrast.difference < contrast.high
    assert contrast.differs is differs


def test_the_interval_is_over_patients_and_not_over_slices():
    values, nodules, patients, rows = group_of(0.0)
    whole = contrasts(values, nodules, patients, rows)[0]
    # As if every nodule were a patient of its own, which it is not: nodules of a patient are alike.
    apart = contrasts(values, nodules, nodules, rows)[0]
    assert whole.high - whole.low > 1.2 * (apart.high - apart.low)
    # Against the textbook: the difference of two means of PATIENTS / 2 patients each.
    means = values["size"].groupby(patients).mean()
    error = np.sqrt(sum(means[means.index % 2 == side].var() / (PATIENTS / 2) for side in (0, 1)))
    assert whole.high - whole.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_same_seed_gives_the_same_interval():
    assert contrasts(*group_of(1.0)) == contrasts(*group_of(1.0))


def test_a_group_of_everything_has_no_rest():
    values, nodules, patients, _ = group_of(1.0)
    (contrast,) = contrasts(values, nodules, patients, np.arange(len(values)))
    assert np.isnan(contrast.rest)
    assert np.isnan(contrast.low)


def test_the_nearest_of_the_group_come_first():
    codes = np.array([[0.0, 0], [3, 0], [1, 0], [2, 0]], np.float32)
    assert by_nearness(codes, np.array([1, 2, 3]), np.zeros(2), prior="gaussian").tolist() == [2, 3, 1]
