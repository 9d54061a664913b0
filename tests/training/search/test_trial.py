"""A worker's tasks: trained and measured, stopped, or ended in an error that the search survives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.training.search.spaces import THRESHOLDS
from lungvae_core.training.search.trial import (
    STOP,
    FoldTask,
    MlpTask,
    balanced_accuracy,
    codes_of,
    measure,
    train_fold,
    train_mlp,
)
from lungvae_core.vae.config import override, preset

ROWS = np.arange(120)


@pytest.fixture
def task(tiny_data: Path, tmp_path: Path) -> FoldTask:
    config = override(preset("gvae"), {"width": 4, "dimensions": 4, "batch_size": 32, "epochs": 2})
    data = SliceSet.open(tiny_data)
    return FoldTask(
        config=config,
        data=str(tiny_data),
        data_hash=data.info.content_hash,
        search=str(tmp_path),
        folder=str(tmp_path / "fold"),
        train=ROWS[:80],
        validation=ROWS[80:],
        until=1,
        objective="ssim",
        device="cpu",
        threads=1,
    )


def test_a_fold_is_trained_on_from_where_it_was(task: FoldTask) -> None:
    first = train_fold(task)
    assert (first.epochs, first.error, first.stopped) == (1, "", False)
    assert train_fold(task).values == first.values  # it is there already
    second = train_fold(replace(task, until=2))
    assert second.epochs == 2
    run = Run.open(task.folder)
    figures = run.metrics()[-1]["validation"]
    assert second.values == [figures["ssim"]]
    assert measure(run, replace(task, objective="mse")) == figures["mse"]
    assert measure(run, replace(task, objective="elbo")) < 0
    assert 0 <= measure(run, replace(task, objective="auc")) <= 1
    data = SliceSet.open(task.data)
    np.testing.assert_allclose(
        codes_of(run, data, ROWS[3:5]), run.load_model().encode_hu(data.slices[3:5]), atol=1e-5
    )


def test_data_that_changed_are_an_error_of_the_trial(task: FoldTask) -> None:
    outcome = train_fold(replace(task, data_hash="other"))
    assert "has other content than when the search began" in outcome.error
    assert outcome.values == []


def test_a_search_that_stops_leaves_the_fold_half_way(task: FoldTask) -> None:
    (Path(task.search) / STOP).touch()
    outcome = train_fold(task)
    assert outcome.stopped
    assert (outcome.values, outcome.error) == ([], "")


def test_an_mlp_is_judged_on_each_folds_validation_patients(tiny_models: Path, tmp_path: Path) -> None:
    folds = [(ROWS[:80], ROWS[80:]), (ROWS[40:], ROWS[:40])]
    config = ClassifierConfig(hidden=(8,), epochs=3)
    mlp = MlpTask(config, str(tiny_models / "tiny-gvae"), folds, "auc", str(tmp_path))
    outcome = train_mlp(mlp)
    assert outcome.error == ""
    assert len(outcome.values) == 2
    assert outcome.extra["auc"] == pytest.approx(np.mean(outcome.values))
    assert outcome.extra["threshold"] in THRESHOLDS
    (tmp_path / STOP).touch()
    assert train_mlp(mlp).stopped


def test_folds_of_one_class_are_an_error_of_the_trial(tiny_models: Path, tmp_path: Path) -> None:
    table, _ = Run.open(tiny_models / "tiny-gvae").latents()
    benign = np.flatnonzero((table["malignancy"] < 3).to_numpy())
    mlp = MlpTask(
        ClassifierConfig(epochs=1), str(tiny_models / "tiny-gvae"), [(ROWS, benign)], "auc", str(tmp_path)
    )
    assert "lack malignant or benign slices" in train_mlp(mlp).error


def test_balanced_accuracy_is_the_mean_of_sensitivity_and_specificity() -> None:
    labels, scores = np.array([1, 1, 1, 0]), np.array([0.9, 0.6, 0.2, 0.5])
    assert balanced_accuracy(labels, scores, 0.5) == pytest.approx((2 / 3 + 0) / 2)
    assert balanced_accuracy(labels, scores, 0.55) == pytest.approx((2 / 3 + 1) / 2)
