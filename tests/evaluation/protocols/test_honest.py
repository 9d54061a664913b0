"""The protocols that do not leak: every unit is tested once."""

from __future__ import annotations

import pandas as pd
import pytest

from lungvae_core.evaluation.protocols.honest import Frozen, Nested, pooled
from lungvae_core.evaluation.protocols.scores import FoldScores


def scores(*patients: str) -> FoldScores:
    frame = pd.DataFrame({"patient_id": list(patients), "nodule": 0, "slice": 0, "logit": 0.5})
    return FoldScores(dict.fromkeys(("slice", "nodule", "patient"), frame), {}, {}, {}, [])


@pytest.mark.parametrize("unit", ["slice", "nodule", "patient"])
def test_folds_are_pooled_when_each_unit_was_tested_once(unit: str) -> None:
    assert pooled([scores("A", "B"), scores("C")], unit)["patient_id"].tolist() == ["A", "B", "C"]
    with pytest.raises(AssertionError, match=f"a {unit} was tested twice"):
        pooled([scores("A", "B"), scores("B")], unit)


def test_neither_has_one_vae_for_all_folds() -> None:
    assert (Nested.name, Frozen.name) == ("nested", "frozen")
    assert not Nested.one_vae
    assert not Frozen.one_vae
