"""Factors of readers and phantoms, without size, and shuffled by patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement.factors import (
    Factor,
    Factors,
    factors_of,
    log_ratios,
    nodule_means,
    shuffled,
    without_size,
)
from tests.conftest import blobs
from tests.evaluation.disentanglement.made import as_factors, made


def test_shuffling_keeps_a_patients_nodules_together():
    patients = np.array(["b", "a", "b", "c", "a", "a"])
    source = shuffled(patients, np.random.default_rng(2))
    assert sorted(source) == list(range(6))
    order = np.argsort(patients, kind="stable")
    followed = patients[source[order]]
    assert (followed[1:] != followed[:-1]).sum() == 2  # three blocks, none torn apart


def test_size_is_taken_out():
    generator = np.random.default_rng(0)
    size = generator.normal(size=600)
    values = np.c_[size, size**2 + 0.1 * generator.normal(size=600), generator.normal(size=600)]
    factors = as_factors(values, size=size)
    kinds = [Factor("log_diameter", "", size=True), *factors.kinds[1:]]
    rest, by_size = without_size(Factors(kinds, values, factors.nodules, size, 0))
    assert rest.names == ["f1", "f2"]
    assert by_size["f1"] > 0.95
    assert by_size["f2"] < 0.05
    assert np.corrcoef(rest.values[:, 0], size**2)[0, 1] ** 2 < 0.05
    with pytest.raises(UserError, match="diameter"):
        without_size(as_factors(made()))


def test_factors_of_readers():
    _, _, table = blobs(100)
    table["calcification_all"] = "6|6"
    table.loc[table["patient_id"] == "TEST-0003", "calcification_all"] = "6|3"
    table["internalStructure_all"] = "1|1"
    table.loc[table["patient_id"] == "TEST-0001", "texture_all"] = ""
    table["texture_all"] = table.groupby("patient_id")["texture_all"].transform("first")
    found = factors_of(table)
    assert {"texture", "malignancy", "calcified", "log_diameter", "sqrt_area"} <= set(found.names)
    assert "internalStructure" not in found.names
    assert found.left_out == 1
    assert len(found.values) == 19
    calcified = found.values[:, found.names.index("calcified")]
    assert found.nodules["patient_id"][calcified == 1].tolist() == ["TEST-0003"]
    assert found.size == pytest.approx(found.values[:, found.names.index("log_diameter")])
    with pytest.raises(UserError, match="10 patients"):
        factors_of(table.iloc[:20])


def test_codes_are_averaged_over_a_nodules_slices():
    table = pd.DataFrame({"patient_id": ["b", "a", "b", "c"], "nodule": [0, 1, 0, 0]})
    nodules = pd.DataFrame({"patient_id": ["a", "b"], "nodule": [1, 0]})
    found = nodule_means(table, np.array([[1.0], [5.0], [3.0], [9.0]]), nodules)
    assert found.tolist() == [[5.0], [2.0]]
    ratios = log_ratios(np.array([[0.2, 0.8], [0.0, 1.0]]))
    assert ratios.sum(1) == pytest.approx([0, 0])
    assert np.isfinite(ratios).all()
