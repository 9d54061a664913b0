"""Clusters: planted groups come back, chance stays chance, and a patient is found out as a confound."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    normalized_mutual_info_score,
    pairwise_distances,
)

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.agreement import agreement, ami
from lungvae_core.explore.clusters.attributes import Attribute, attributes
from lungvae_core.explore.clusters.methods import METHODS, NOISE, choose, knee, ordered, silhouette
from lungvae_core.explore.clusters.neighbourhoods import quality
from lungvae_core.explore.clusters.report import FILE, QUICK, cluster, load_clusters, make_clusters
from lungvae_core.explore.clusters.stability import draws, featureless, stability, without_groups
from lungvae_core.explore.clusters.words import LIKE_THE_REST, cluster_words, describe, named
from lungvae_core.explore.maps import nodules
from lungvae_core.files import read_json, write_json
from lungvae_core.training.checkpoints import Run

GROUPS = 3


def planted(count: int = 300, dimensions: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(points (M, D) of three groups of 50, 30 and 20 % far apart, the group of each)."""
    generator = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2], [count // 2, count * 3 // 10, count // 5])
    centres = 9 * np.eye(dimensions)[:GROUPS]
    return centres[truth] + generator.normal(size=(count, dimensions)), truth


def lesions(truth: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Nodules whose group 0 is malignant, large and spiculated; three nodules a patient, of any group."""
    generator = np.random.default_rng(seed)
    high = truth == 0
    return pd.DataFrame(
        {
            "patient_id": [f"P{number // 3:03d}" for number in generator.permutation(len(truth))],
            "nodule": np.arange(len(truth)),
            "malignancy": np.where(high, 5, 1),
            "malignancy_all": np.where(high, "5|4", "1|2"),
            "diameter_mm": np.where(high, 18.0, 5.0) + generator.uniform(0, 1, len(truth)),
            "spiculation_all": np.where(high, "5|4", "1|1"),
            "texture_all": generator.choice(["5|5", "1|2", "3|3"], len(truth)),
        }
    )


@pytest.mark.parametrize("name", METHODS)
def test_planted_groups_come_back_and_none_are_made_up(name: str) -> None:
    points, truth = planted()
    members = choose(name, points).fit(points)
    assert adjusted_rand_score(truth[members != NOISE], members[members != NOISE]) > 0.97
    assert np.mean(members == NOISE) < 0.2
    assert int(members.max()) + 1 == GROUPS
    np.testing.assert_array_equal(members, choose(name, points).fit(points))


@pytest.mark.long
def test_k_is_chosen_by_the_silhouette_with_the_elbow_beside_it() -> None:
    points, _ = planted()
    method = choose("kmeans", points)
    widths = {one["k"]: one["silhouette"] for one in method.curve}
    assert method.settings["k"] == max(widths, key=lambda k: widths[k]) == GROUPS
    assert method.settings["elbow"] == GROUPS
    inertia = [one["inertia"] for one in method.curve]
    assert inertia == sorted(inertia, reverse=True)
    assert knee([2, 3, 4, 5, 6], [100.0, 20.0, 18.0, 16.0, 14.0]) == 3


def test_clusters_are_numbered_by_size() -> None:
    np.testing.assert_array_equal(ordered(np.array([7, 2, 2, -1, 7, 7])), [0, 1, 1, NOISE, 0, 0])


def test_the_silhouette_leaves_out_noise_and_needs_two_clusters() -> None:
    points, truth = planted(60)
    distances = pairwise_distances(points)
    assert silhouette(distances, truth) > 0.5
    half = np.where(np.arange(60) % 2 == 0, NOISE, truth)
    assert silhouette(distances, half) > 0.5
    assert np.isnan(silhouette(distances, np.zeros(60, int)))


@pytest.mark.parametrize("groups", [2, 5, 60])
def test_figures_are_those_of_scikit_learn(groups: int) -> None:
    generator = np.random.default_rng(groups)
    members, other = generator.integers(4, size=300), generator.integers(groups, size=300)
    other[:100] = members[:100] % groups
    patients = np.arange(300)
    attribute = Attribute("size", "size", "finding", other, ())
    found = agreement(members, attribute, patients, permutations=20)
    assert found is not None
    assert found["nmi"]["value"] == pytest.approx(normalized_mutual_info_score(other, members))
    assert found["ami"]["value"] == pytest.approx(adjusted_mutual_info_score(other, members))
    assert ami(members, attribute) == pytest.approx(found["ami"]["value"])


def test_labels_at_random_have_no_ami_and_purity_no_more_than_chance() -> None:
    generator = np.random.default_rng(0)
    members, label = generator.integers(5, size=1000), generator.integers(2, size=1000)
    label[:50] = -1
    found = agreement(members, Attribute("malignancy", "", "finding", label, ()), np.arange(1000) // 3)
    assert found is not None
    assert found["units"] == 950
    assert found["ami"]["value"] == pytest.approx(0, abs=0.01)
    assert found["ami"]["p"] > 0.05
    assert found["purity"]["value"] < found["purity"]["null_high"] + 0.02


def test_purity_is_the_share_of_the_most_frequent_group() -> None:
    members = np.repeat([0, 1, NOISE], [10, 10, 10])
    label = np.r_[np.ones(9), 0, np.zeros(8), 1, 1, np.ones(5), np.zeros(5)].astype(int)
    found = agreement(
        members, Attribute("malignancy", "", "finding", label, ()), np.arange(30), permutations=50
    )
    assert found is not None
    assert found["purity"]["value"] == pytest.approx((9 + 8 + 5) / 30)


def test_nmi_with_many_patients_is_high_by_chance_and_ami_is_not() -> None:
    generator = np.random.default_rng(0)
    members, patient = generator.integers(5, size=900), np.arange(900) // 3
    found = agreement(
        members, Attribute("patient", "patient", "confound", patient, ()), patient, permutations=200
    )
    assert found is not None
    assert found["nmi"]["value"] > 0.2
    assert found["nmi"]["null"] == pytest.approx(found["nmi"]["value"], abs=0.02)
    assert found["ami"]["value"] == pytest.approx(0, abs=0.03)
    assert found["shared"]["value"] == pytest.approx(found["shared"]["others"], abs=0.05)
    assert found["shared"]["pairs"] == 900


def test_a_patients_lesions_stay_together_in_the_null() -> None:
    """A label that is random by patient, in clusters that are patients', is no finding."""
    generator = np.random.default_rng(3)
    patient = np.repeat(np.arange(40), 10)
    members = generator.integers(4, size=40)[patient]
    by_lesion, by_patient = 0, 0
    for _ in range(20):
        label = Attribute("size", "", "finding", generator.integers(2, size=40)[patient], ())
        for patients, kind in ((np.arange(400), "lesion"), (patient, "patient")):
            found = agreement(members, label, patients, permutations=60, seed=1)
            assert found is not None
            significant = found["ami"]["p"] < 0.05
            by_lesion += kind == "lesion" and significant
            by_patient += kind == "patient" and significant
    assert by_lesion > 10
    assert by_patient < 5


def test_codes_of_a_patients_own_are_found_out() -> None:
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 6)
    points = 4 * generator.normal(size=(40, 8))[patient] + generator.normal(size=(240, 8))
    frame = lesions(np.zeros(240, int)).assign(
        patient_id=[f"P{number:02d}" for number in patient],
        malignancy=generator.choice([1, 5], 240),
    )
    report = cluster(frame, points, amount=QUICK)
    compared = {one["name"]: one for one in report["methods"]["kmeans"]["attributes"]}
    assert compared["patient"]["kind"] == "confound"
    assert compared["patient"]["ami"]["value"] > 0.4
    assert compared["patient"]["ami"]["p"] < 0.02
    assert compared["patient"]["shared"]["value"] > 2 * compared["patient"]["shared"]["others"]
    assert compared["malignancy"]["ami"]["value"] < 0.05


@pytest.mark.long
def test_planted_groups_are_steady_and_sets_without_groups_are_not() -> None:
    points, truth = planted()
    patients = np.arange(300) // 3
    fit = choose("kmeans", points).fit
    steady = stability(fit, points, truth, patients, resamples=10)
    assert steady["rand"]["value"] > 0.97
    assert steady["clusters"] == {"low": GROUPS, "high": GROUPS}
    assert all(one["value"] > 0.95 and one["dissolved"] == 0 for one in steady["jaccard"])
    sets = featureless(points, 3)
    np.testing.assert_allclose(np.cov(np.concatenate(sets).T), np.cov(points.T), atol=3)
    bare = without_groups(fit, sets, patients)
    assert bare["rand"]["value"] < 0.9
    assert bare["silhouette"]["value"] < 0.6 * silhouette(pairwise_distances(points), truth)
    made_up = np.random.default_rng(0).integers(3, size=300)
    assert all(
        one["dissolved"] == 1 for one in stability(fit, points, made_up, patients, resamples=4)["jaccard"]
    )


def test_whole_patients_are_drawn_about_63_percent_of_them() -> None:
    patients = np.arange(3000) // 3
    for rows in draws(patients, 5, 0):
        assert len(np.unique(rows)) == len(rows)
        assert np.isin(patients, patients[rows]).sum() == len(rows)
        assert len(rows) / 3000 == pytest.approx(1 - np.exp(-1), abs=0.05)


def test_clusters_are_told_in_words() -> None:
    points, truth = planted()
    frame = lesions(truth)
    described = describe(frame, points, truth)
    first, second = described[0], described[1]
    assert first["malignant"]["value"] == 1
    assert 0.9 < first["malignant"]["low"] < 1
    assert second["malignant"]["value"] == 0
    assert "larger" in first["words"]
    assert "more spiculated" in first["words"]
    assert "smaller" in second["words"]
    assert "texture" not in first["name"]
    assert "solid" not in first["words"]
    assert f"{first['units']} nodules of {first['patients']} patients" in first["words"]
    assert first["words"] == cluster_words(first)
    assert 18 <= first["diameter_mm"]["median"] <= 19
    assert first["bands"] == [0, 0, 0, 150]
    patients = frame["patient_id"].to_numpy()
    assert len(set(patients[first["typical"]])) == len(first["typical"]) == 4
    assert (truth[first["typical"]] == 0).all()
    assert named(described, np.where(np.arange(300) == 0, NOISE, truth))[:2] == ["", first["name"]]


def test_a_cluster_at_random_is_like_the_rest() -> None:
    points, truth = planted()
    made_up = np.random.default_rng(0).integers(2, size=300)
    assert {one["name"] for one in describe(lesions(truth), points, made_up)} == {LIKE_THE_REST}


def test_only_what_is_known_is_compared() -> None:
    _, truth = planted(60)
    frame = lesions(truth)
    assert [one.name for one in attributes(frame)] == [
        "malignancy",
        "size",
        "rating-malignancy",
        "rating-spiculation",
        "rating-texture",
        "patient",
    ]
    bare = frame[["patient_id", "nodule"]]
    assert [one.name for one in attributes(bare)] == ["patient"]
    placed = frame.assign(row0=np.arange(60) * 7, col0=np.arange(60) * 7 % 450, slice_thickness_mm=1.25)
    kinds = {one.name: one.kind for one in attributes(placed)}
    assert kinds["place"] == "surroundings"
    assert "thickness" not in kinds  # the same of all
    diameter = pd.DataFrame({"diameter_mm": [5.9, 6, 7.9, 8, 14.9, 15] * 3, "patient_id": list("abcdef") * 3})
    size = next(one for one in attributes(diameter) if one.name == "size")
    assert size.groups[:6].tolist() == [0, 1, 1, 2, 2, 3]


def test_a_maps_quality_is_one_for_the_space_itself_and_a_half_at_random() -> None:
    generator = np.random.default_rng(0)
    points = generator.normal(size=(300, 2))
    same = quality(points, 3 * points)
    assert same["neighbours"] == [5, 15, 50]
    assert same["trustworthiness"] == pytest.approx([1, 1, 1])
    assert same["continuity"] == pytest.approx([1, 1, 1])
    random = quality(points, generator.normal(size=(300, 2)))
    assert random["trustworthiness"][0] == pytest.approx(0.5, abs=0.06)
    # A map that tears one group into two keeps trust, and loses continuity; one that folds loses trust.
    line = np.linspace(0, 1, 300)[:, None]
    torn = np.c_[line[:, 0] + 5 * (np.arange(300) % 2), np.zeros(300)]
    assert quality(line, torn)["trustworthiness"][1] > quality(line, torn)["continuity"][1]


@pytest.fixture
def model(tiny_models: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_models / "tiny-dirvae", tmp_path / "tiny-dirvae"))


def test_a_run_keeps_its_clusters(model: Path) -> None:
    run = Run.open(model)
    report = make_clusters(run, quick=True)
    _, codes = run.latents()
    kept = load_clusters(model, codes, 24)
    assert kept.unit == "nodule"
    assert len(kept.rows) == report["units"] == 24
    assert set(kept.members) == set(METHODS)
    for name, members in kept.members.items():
        assert int(members.max()) + 1 == kept.report["methods"][name]["count"]
        centres = kept.centres(name, nodules(*run.latents())[1])
        assert centres.shape == (int(members.max()) + 1, codes.shape[1])
        np.testing.assert_allclose(centres.sum(1), 1, atol=1e-5)
    assert {(one["unit"], one["method"]) for one in report["maps"]} >= {("nodule", "pca"), ("slice", "pca")}
    again = make_clusters(run, quick=True)
    for one in (report, again):
        one.pop("seconds")
    assert report == again


@pytest.mark.long
def test_slices_are_clustered_too_and_written_elsewhere(model: Path, tmp_path: Path) -> None:
    report = make_clusters(Run.open(model), unit="slice", quick=True, out=tmp_path / "slices.json")
    assert report["units"] == 120
    assert report["nodules"] == 24
    assert not (model / FILE).exists()
    assert read_json(tmp_path / "slices.json", what="")["unit"] == "slice"


def test_wrong_clusters_get_a_sentence(model: Path) -> None:
    run = Run.open(model)
    _, codes = run.latents()
    with pytest.raises(UserError, match="no clusters yet"):
        load_clusters(model, codes, 24)
    make_clusters(run, quick=True)
    with pytest.raises(UserError, match="not made from this model's codes"):
        load_clusters(model, codes + 1e-3, 24)
    with pytest.raises(UserError, match="not made from this model's codes"):
        load_clusters(model, codes, 20)  # of fewer nodules than it names
    report = read_json(model / FILE, what="")
    for change, told in (
        ({"format": 2}, "Update lungvae"),
        ({"rows": [1]}, "damaged"),
        ({"methods": 3}, "damaged"),
    ):
        write_json(model / FILE, report | change)
        with pytest.raises(UserError, match=told):
            load_clusters(model, codes, 24)
    with pytest.raises(UserError, match="nodule or slice"):
        make_clusters(run, unit="patient")
    table, codes = run.latents()
    run.write_latents(table[:50], codes[:50])
    with pytest.raises(UserError, match="too few"):
        make_clusters(run)
