"""From logits to calls: calibration on its own patients, and folds that lack a class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.members import VAE_STAGE
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold
from lungvae_core.evaluation.protocols.scores import calibrated, score_fold


def frame(count: int = 400) -> pd.DataFrame:
    """Units of which half are `calibrating`, with logits that are three times too sure."""
    generator = np.random.default_rng(0)
    logit = generator.normal(0, 1.5, count)
    label = (generator.random(count) < 1 / (1 + np.exp(-logit))).astype(int)
    return pd.DataFrame(
        {
            "patient_id": [f"P{number // 2:03d}" for number in range(count)],
            "label": label,
            "logit": 3 * logit,
            "calibrating": np.arange(count) < count // 2,
        }
    )


def test_only_units_that_do_not_calibrate_are_judged_and_their_order_stays() -> None:
    raw = frame()
    test, (settled, before, after), everyone = calibrated(raw, fold=2)
    assert len(test) == 200
    assert len(everyone) == 400
    assert set(test["fold"]) == {2}
    np.testing.assert_array_equal(np.argsort(test["logit"]), np.argsort(raw["logit"][200:].to_numpy()))
    np.testing.assert_allclose(1 / (1 + np.exp(-test["logit"])), test["probability"], atol=1e-9)
    np.testing.assert_array_equal(test["called"], test["probability"] >= settled.threshold)
    assert settled.temperature > 1
    assert after < before


def test_labels_of_tested_units_change_nothing() -> None:
    raw = frame()
    flipped = raw.assign(label=np.where(raw["calibrating"], raw["label"], 1 - raw["label"]))
    one, other = calibrated(raw, 0)[0], calibrated(flipped, 0)[0]
    np.testing.assert_array_equal(one["probability"], other["probability"])
    np.testing.assert_array_equal(one["called"], other["called"])


def test_a_part_of_one_class_is_refused(make_config: Callable[..., EvaluationConfig]) -> None:
    table = pd.DataFrame(
        {
            "patient_id": list("ABCDEF"),
            "nodule": 0,
            "slice": 0,
            "malignancy": [1, 5, 1, 1, 1, 5],
            "malignancy_all": ["1|1", "5|5", "1|1", "1|1", "1|1", "5|5"],
        }
    )
    fold = Fold(1, *(np.array(rows) for rows in ([0, 1], [2, 3], [4, 5])))
    with pytest.raises(UserError, match="The calibration patients of fold 2 lack lesions of both classes"):
        score_fold(table, fold, [], VAE_STAGE, make_config())
