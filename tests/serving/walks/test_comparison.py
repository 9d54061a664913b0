"""Two models of the same lesions: figures side by side, and shared neighbours."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from lungvae_core.serving.lesions.cases import case_of_row
from lungvae_core.serving.walks import comparison


@pytest.fixture
def both(with_data):
    return [with_data.load(name) for name in ("tiny-gvae", "tiny-dirvae")]


def test_figures_stand_side_by_side_with_their_intervals(both):
    facts = comparison.facts(*both)
    assert list(facts.columns) == ["Tiny gvae", "Tiny dirvae"]
    assert list(facts.loc["prior"]) == ["Gaussian", "Dirichlet"]
    auc = next(row for row in facts.index if row.startswith("AUC per nodule"))
    assert all(" to " in value for value in facts.loc[auc])
    size = [row for row in facts.index if row.startswith("readers' diameter alone")]
    assert size
    assert both[0].evaluation.label_rule in comparison.facts_note(*both)
    assert "no claim about a prior" in comparison.facts_note(*both)


def test_neighbours_are_counted_by_nodule(both):
    first, second = (case_of_row(model, 12, count=6) for model in both)
    same = comparison.overlap(both[0], [first, first])
    assert same.startswith("6 of the 6")
    table = both[0].table
    keys = [
        {(table["patient_id"].iloc[row], table["nodule"].iloc[row]) for row in case.neighbours}
        for case in (first, second)
    ]
    shared = len(keys[0] & keys[1])
    assert comparison.overlap(both[0], [first, second]).startswith(str(shared) if shared else "None")


def test_other_priors_come_first_among_models_of_the_same_lesions(both, with_data):
    assert [entry.name for entry in comparison.others(with_data, both[0])] == ["tiny-dirvae"]
    assert comparison.same_rows(*both)
    data = both[0].entry.data.model_copy(update={"content_hash": "another"})
    elsewhere = SimpleNamespace(entry=replace(both[0].entry, data=data))
    assert comparison.others(with_data, elsewhere) == []
    fewer = SimpleNamespace(table=both[0].table.iloc[::-1].reset_index(drop=True))
    assert not comparison.same_rows(both[0], fewer)


def test_without_measurements_no_dimension_has_a_name(both):
    assert comparison.named_dimensions(both[0]) is None
