"""Draws of whole patients: the same for a seed, and as many patients as there are."""

from __future__ import annotations

import numpy as np

from lungvae_core.statistics.patients import (
    bootstrap,
    draw_counts,
    draw_numbers,
    patient_rows,
    patient_weights,
)


def test_weights_draw_whole_patients() -> None:
    patients = np.array(["b", "a", "b", "c", "a", "a"])
    blocks = list(patient_weights(patients, 250, seed=3))
    assert [len(block) for block in blocks] == [100, 100, 50]
    drawn = np.concatenate(blocks)
    for name in "abc":
        of_one = drawn[:, patients == name]
        assert (of_one == of_one[:, :1]).all()
    assert (drawn[:, [0, 1, 3]].sum(1) == 3).all()  # as many patients as there are
    assert np.array_equal(drawn, np.concatenate(list(patient_weights(patients, 250, seed=3))))
    assert not np.array_equal(drawn, np.concatenate(list(patient_weights(patients, 250, seed=4))))


def test_blocks_do_not_change_what_is_drawn() -> None:
    patients = np.array(["b", "a", "b", "c", "a", "a"])
    whole = draw_counts(3, 250, seed=3)[:, [0, 1, 0, 2, 1, 1]]
    for block in (7, 100, 250):
        assert np.array_equal(
            np.concatenate(list(patient_weights(patients, 250, seed=3, block=block))), whole
        )


def test_numbers_are_of_patients_with_replacement() -> None:
    drawn = np.array(list(draw_numbers(5, 2000, seed=0)))
    assert drawn.shape == (2000, 5)
    assert np.allclose(np.bincount(drawn.ravel()) / drawn.size, 0.2, atol=0.02)
    assert np.array_equal(drawn, list(draw_numbers(5, 2000, seed=0)))
    assert not np.array_equal(drawn, list(draw_numbers(5, 2000, seed=1)))


def test_rows_are_of_whole_patients() -> None:
    patients = np.array(["b", "a", "b", "c", "a", "a"])
    rows_of = [[0, 2], [1, 4, 5], [3]]
    for rows, numbers in zip(patient_rows(patients, 9, seed=2), draw_numbers(3, 9, seed=2), strict=True):
        assert rows.tolist() == [row for one in numbers for row in rows_of[one]]


def test_bootstrap_is_of_the_statistic_of_every_resample() -> None:
    patients, values = np.array([4, 4, 7, 9]), np.array([1.0, 2.0, 4.0, 8.0])
    drawn = bootstrap(lambda weights: weights @ values, patients, 130, seed=1)
    assert np.array_equal(drawn, draw_counts(3, 130, seed=1) @ np.array([3.0, 4.0, 8.0]))
    assert bootstrap(lambda weights: weights @ values, patients, 0).shape == (0,)


def test_nobody_can_be_drawn_of_nobody() -> None:
    assert draw_counts(0, 4).shape == (4, 0)
    assert [weights.shape for weights in patient_weights(np.empty(0), 4)] == [(4, 0)]
