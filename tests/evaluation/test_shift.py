"""Shift of codes: none where there is none, and where it is when there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.evaluation.shift import code_shift


def made_up(count: int, seed: int, name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """Codes (N, 4), two slices a patient, alike for any seed."""
    generator = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "patient_id": [f"{name}-{number // 2}" for number in range(count)],
            "ssim": generator.uniform(0.8, 0.9, count),
            "mse": generator.uniform(0.001, 0.002, count),
        }
    )
    return generator.normal(0, 1, (count, 4)).astype(np.float32), table


def shift(new: np.ndarray, new_table: pd.DataFrame, **settings: Any) -> dict[str, Any]:
    own, table = made_up(800, 0, "OWN")
    trained = np.arange(800) < 600
    return code_shift(own, table, new, new_table, simplex=False, trained=trained, resamples=100, **settings)


def test_data_of_the_same_kind_cannot_be_distinguished() -> None:
    found = shift(*made_up(400, 1, "NEW"))
    assert found["auc_of_origin"]["low"] < 0.55
    assert abs(found["auc_of_origin"]["value"] - 0.5) < 0.08
    assert abs(found["auc_of_origin_of_own_held_out"]["value"] - 0.5) < 0.1
    assert found["far"] < 0.04
    assert found["mean_difference"] < 0.15
    assert found["reconstruction"]["ssim"]["worse_than_limit"] < 0.04


def test_a_shifted_dimension_is_named_with_its_size() -> None:
    codes, table = made_up(400, 1, "NEW")
    codes[:, 2] -= 1.5
    found = shift(codes, table)
    assert next(iter(found["largest_differences"])) == "dimension 2"
    assert abs(found["difference_by_dimension"][2] + 1.5) < 0.2
    assert np.argmax(found["ks_by_dimension"]) == 2
    assert found["auc_of_origin"]["low"] > 0.8


def test_codes_that_spread_more_about_the_same_mean_are_distinguished() -> None:
    codes, table = made_up(400, 1, "NEW")
    found = shift(codes * np.float32(2), table)
    assert found["mean_difference"] < 0.15
    assert found["auc_of_origin"]["low"] > 0.7


def test_slices_beyond_all_training_slices_are_far_and_badly_drawn_ones_counted() -> None:
    codes, table = made_up(400, 1, "NEW")
    codes[:100] += 30
    table.loc[:39, "mse"] = 0.5
    found = shift(codes, table)
    assert abs(found["far"] - 0.25) < 0.04
    assert abs(found["reconstruction"]["mse"]["worse_than_limit"] - 0.1) < 0.03


def test_a_patient_in_both_is_neither_near_to_itself_nor_learned_by_heart() -> None:
    own, table = made_up(800, 0, "OWN")
    trained = np.ones(800, bool)
    # The very same slices: were a patient's own slices counted, every distance would be 0.
    found = code_shift(own, table, own, table, simplex=False, trained=trained, resamples=50)
    assert abs(found["far"] - 0.01) < 0.01
    assert abs(found["auc_of_origin"]["value"] - 0.5) < 0.06
    assert found["auc_of_origin_of_own_held_out"] is None


def test_the_same_seed_gives_the_same_figures() -> None:
    assert shift(*made_up(300, 1, "NEW"), seed=3) == shift(*made_up(300, 1, "NEW"), seed=3)
