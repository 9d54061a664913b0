"""Agreement of clusters with attributes beside chance, whole patients shuffled."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from lungvae_core.explore.clusters.agreement import agreement, ami
from lungvae_core.explore.clusters.attributes import Attribute
from lungvae_core.explore.clusters.methods import NOISE


def compared(
    members: np.ndarray, groups: np.ndarray, patients: np.ndarray, name: str = "size", **how: int
) -> dict:
    kind = "confound" if name == "patient" else "finding"
    figures = agreement(members, Attribute(name, name, kind, groups), patients, **how)
    assert figures is not None
    return figures


@pytest.mark.parametrize("groups", [2, 5, 60])
def test_figures_are_those_of_scikit_learn(groups: int) -> None:
    generator = np.random.default_rng(groups)
    members, other = generator.integers(4, size=300), generator.integers(groups, size=300)
    other[:100] = members[:100] % groups
    patients = np.arange(300)
    attribute = Attribute("size", "size", "finding", other)
    figures = compared(members, other, patients, permutations=20)
    assert figures["nmi"]["value"] == pytest.approx(normalized_mutual_info_score(other, members))
    assert figures["ami"]["value"] == pytest.approx(adjusted_mutual_info_score(other, members))
    assert ami(members, attribute) == pytest.approx(figures["ami"]["value"])


def test_labels_at_random_have_no_ami_and_purity_no_more_than_chance() -> None:
    generator = np.random.default_rng(0)
    members, label = generator.integers(5, size=1000), generator.integers(2, size=1000)
    label[:50] = -1
    figures = compared(members, label, np.arange(1000) // 3, "malignancy")
    assert figures["units"] == 950
    assert figures["ami"]["value"] == pytest.approx(0, abs=0.01)
    assert figures["ami"]["p"] > 0.05
    assert figures["purity"]["value"] < figures["purity"]["null_high"] + 0.02


def test_purity_is_the_share_of_the_most_frequent_group() -> None:
    members = np.repeat([0, 1, NOISE], [10, 10, 10])
    label = np.r_[np.ones(9), 0, np.zeros(8), 1, 1, np.ones(5), np.zeros(5)].astype(int)
    figures = compared(members, label, np.arange(30), "malignancy", permutations=50)
    assert figures["purity"]["value"] == pytest.approx((9 + 8 + 5) / 30)


def test_nmi_with_many_patients_is_high_by_chance_and_ami_is_not() -> None:
    generator = np.random.default_rng(0)
    members, patient = generator.integers(5, size=900), np.arange(900) // 3
    figures = compared(members, patient, patient, "patient", permutations=200)
    assert figures["nmi"]["value"] > 0.2
    assert figures["nmi"]["null"] == pytest.approx(figures["nmi"]["value"], abs=0.02)
    assert figures["ami"]["value"] == pytest.approx(0, abs=0.03)
    assert figures["shared"]["value"] == pytest.approx(figures["shared"]["others"], abs=0.05)
    assert figures["shared"]["pairs"] == 900


def test_a_patients_lesions_stay_together_in_the_null() -> None:
    """A label that is random by patient, in clusters that are patients', is no finding."""
    generator = np.random.default_rng(3)
    patient = np.repeat(np.arange(40), 10)
    members = generator.integers(4, size=40)[patient]
    by_lesion, by_patient = 0, 0
    for _ in range(20):
        label = generator.integers(2, size=40)[patient]
        by_lesion += compared(members, label, np.arange(400), permutations=60, seed=1)["ami"]["p"] < 0.05
        by_patient += compared(members, label, patient, permutations=60, seed=1)["ami"]["p"] < 0.05
    assert by_lesion > 10
    assert by_patient < 5
