"""Baselines: fitted on the fit rows alone, found where their columns are, right where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.labels import labels as labels_by
from lungvae_core.data.slices import DatasetInfo, SliceSet
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation.baselines import BASELINES, JUDGED, available, score, sizes
from lungvae_core.statistics.roc import auc
from tests.conftest import blobs

CHEAP = [name for name in BASELINES if name != "cnn"]


def discs(count: int = 300, seed: int = 0) -> SliceSet:
    """Slices of discs that grow malignant as they grow, two nodules a patient, with ratings by chance."""
    slices, masks, table = blobs(count, seed)
    generator = np.random.default_rng(seed)
    nodule = np.arange(count) // 5
    table["patient_id"] = [f"TEST-{one // 2:04d}" for one in nodule]
    table["nodule"] = nodule % 2
    for rating in JUDGED:
        values = generator.integers(1, 6, nodule.max() + 1)
        table[f"{rating}_all"] = [f"{values[one]}|{values[one]}" for one in nodule]
    info = DatasetInfo(name="discs", source="made by the tests", rule="discs in noise", generated=True)
    return SliceSet(Path(), slices, masks, table, info)


def halves(data: SliceSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(labels, fit rows, score rows) by patient."""
    fit, asked = next(grouped_folds(data.table, 3, seed=0))
    return labels_by(data.table), fit, asked


def nodule_truth(data: SliceSet, labels: np.ndarray, rows: np.ndarray, nodules: pd.DataFrame) -> np.ndarray:
    truth = data.table.iloc[rows].assign(label=labels[rows]).drop_duplicates(["patient_id", "nodule"])
    return nodules.merge(truth, on=["patient_id", "nodule"])["label"].to_numpy()


@pytest.mark.parametrize("name", list(BASELINES))
def test_every_slice_and_nodule_is_scored_once(name: str) -> None:
    data = discs(100)
    labels, fit, asked = halves(data)
    found = score(name, data, labels, fit, asked, seed=0, quick=True)
    assert found.slice.shape == (len(asked),)
    assert np.isfinite(found.slice).all()
    assert list(found.nodule.columns) == ["patient_id", "nodule", "logit"]
    wanted = set(map(tuple, data.table.iloc[asked][["patient_id", "nodule"]].to_numpy()))
    assert len(found.nodule) == len(wanted)
    assert set(map(tuple, found.nodule[["patient_id", "nodule"]].to_numpy())) == wanted
    assert np.isfinite(found.nodule["logit"]).all()


@pytest.mark.parametrize("name", ["diameter", "area", "ratings_size", "pca"])
def test_size_is_found_where_it_is_the_truth(name: str) -> None:
    data = discs()
    labels, fit, asked = halves(data)
    found = score(name, data, labels, fit, asked, seed=0)
    known = ~np.isnan(labels[asked])
    assert auc(labels[asked][known], found.slice[known]) > 0.9
    truth = nodule_truth(data, labels, asked, found.nodule)
    assert auc(truth[~np.isnan(truth)], found.nodule["logit"].to_numpy()[~np.isnan(truth)]) > 0.9


def test_diameter_ranks_as_diameter_does_and_ratings_by_chance_as_chance() -> None:
    data = discs()
    labels, fit, asked = halves(data)
    by_size = score("diameter", data, labels, fit, asked, seed=0)
    order = np.argsort(data.table["diameter_mm"].to_numpy()[asked], kind="stable")
    assert (np.diff(by_size.slice[order]) >= 0).all()
    by_chance = score("ratings", data, labels, fit, asked, seed=0)
    known = ~np.isnan(labels[asked])
    assert abs(auc(labels[asked][known], by_chance.slice[known]) - 0.5) < 0.25


@pytest.mark.long
@pytest.mark.parametrize("name", CHEAP)
def test_nothing_of_the_scored_rows_but_their_features_is_looked_at(name: str) -> None:
    data = discs(100)
    labels, fit, asked = halves(data)
    blind = labels.copy()
    blind[asked] = 1 - blind[asked]
    # What is fitted must not depend on which other rows are to be scored.
    part = asked[: len(asked) // 2]
    part = asked[data.table["patient_id"].iloc[asked].isin(data.table["patient_id"].iloc[part]).to_numpy()]
    whole = score(name, data, labels, fit, asked, seed=0)
    assert np.array_equal(whole.slice, score(name, data, blind, fit, asked, seed=0).slice)
    alone = score(name, data, labels, fit, part, seed=0)
    assert np.allclose(whole.slice[np.isin(asked, part)], alone.slice)


@pytest.mark.long
def test_labels_at_random_by_patient_are_not_learned() -> None:
    """A planted leak would show as an AUC above a half."""
    data = discs(600)
    patients = data.table["patient_id"].astype("category").cat.codes.to_numpy()
    labels = np.random.default_rng(5).integers(0, 2, patients.max() + 1)[patients].astype(float)
    for name in CHEAP:
        scores = np.full(len(data), np.nan)
        for fit, asked in grouped_folds(data.table, 5, seed=0, classes=labels.astype(int)):
            scores[asked] = score(name, data, labels, fit, asked, seed=0).slice
        assert abs(auc(labels, scores) - 0.5) < 0.2, name


def test_a_patient_on_both_sides_is_refused() -> None:
    data = discs(100)
    with pytest.raises(UserError, match="among those to fit on and those to be scored"):
        score("diameter", data, labels_by(data.table), np.arange(60), np.arange(55, 100), seed=0)


def test_missing_columns_leave_baselines_out() -> None:
    data = discs(100)
    assert available(data.table) == list(BASELINES)
    bare = data.table[["patient_id", "nodule", "slice", "malignancy"]]
    assert available(bare) == ["slices", "pca", "cnn"]
    assert available(bare.drop_duplicates(["patient_id", "nodule"])) == ["pca", "cnn"]
    empty = data.table.assign(texture_all=data.table["texture_all"].where(data.table.index != 3, ""))
    assert available(empty) == [name for name in BASELINES if name not in ("ratings", "ratings_size")]
    labels, fit, asked = halves(data)
    with pytest.raises(UserError, match="lack the columns"):
        score("ratings", replace(data, table=bare), labels, fit, asked, seed=0)
    with pytest.raises(UserError, match="no baseline 'guess'"):
        score("guess", data, labels, fit, asked, seed=0)
    with pytest.raises(UserError, match="malignant and benign"):
        score("pca", data, np.ones(len(data)), fit, asked, seed=0)


def test_sizes_are_in_millimetres() -> None:
    table = discs(10).table
    assert np.array_equal(sizes("diameter", table), table["diameter_mm"])
    assert np.allclose(sizes("area", table) ** 2, table["area_px"] * 0.7**2)
    assert np.array_equal(sizes("slices", table), np.full(10, 5))
    with pytest.raises(UserError, match="not a size"):
        sizes("ratings", table)


@pytest.mark.lidc
def test_sizes_on_real_lesions_give_the_known_figures(lidc: Path) -> None:
    table = pd.read_csv(lidc / "slices.csv").drop_duplicates(["patient_id", "nodule"])
    labels = labels_by(table)
    known = ~np.isnan(labels)
    assert abs(auc(labels[known], sizes("diameter", table)[known]) - 0.912) < 0.003
