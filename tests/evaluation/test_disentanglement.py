"""Scores of disentanglement on codes whose truth is known, and a run's whole report."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.fft import dct

from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement import assess, phantom_scores, probes, scores
from lungvae_core.evaluation.disentanglement.compare import compare
from lungvae_core.evaluation.disentanglement.factors import (
    Factor,
    Factors,
    factors_of,
    log_ratios,
    nodule_means,
    shuffled,
    without_size,
)
from lungvae_core.training.checkpoints import Run
from tests.conftest import blobs

EFFORT = assess.Effort(draws=20, refits=3, groups=5, resamples=50)


def made(count: int = 900, factors: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(count, factors))


def as_factors(values: np.ndarray, *, patients: int = 300, size: np.ndarray | None = None) -> Factors:
    nodules = pd.DataFrame(
        {"patient_id": [f"P{row % patients:04d}" for row in range(len(values))], "nodule": 0}
    )
    nodules["nodule"] = nodules.groupby("patient_id").cumcount()
    return Factors([Factor(f"f{i}", "") for i in range(values.shape[1])], values, nodules, size, 0)


def rotation(size: int) -> np.ndarray:
    """(size, size) orthogonal, with something of every factor in nearly every code."""
    return dct(np.eye(size), norm="ortho")


def mig_of(codes: np.ndarray, factors: np.ndarray) -> float:
    binned = scores.Binned.of(factors)
    told = scores.information(scores.Binned.of(codes), binned)
    return float(scores.mig(told, binned.entropies()).mean())


def test_bins_have_equal_mass_and_keep_ties_together():
    assert np.bincount(scores.binned(np.arange(200.0), 20)).tolist() == [10] * 20
    ties = np.r_[np.zeros(150), np.arange(1, 51)]
    found = scores.binned(ties, 20)
    assert len(set(found[:150])) == 1
    assert (found[150:] > found[0]).all()
    assert scores.binned(np.array([3.0, 1.0, 3.0]), 20).tolist() == [1, 0, 1]


def test_information_is_scikit_learns():
    from sklearn.metrics import mutual_info_score

    values = made(300, 4)
    codes, factors = values[:, :2], values[:, 2:] + 0.3 * values[:, :2]
    told = scores.information(scores.Binned.of(codes), scores.Binned.of(factors))
    for i in range(2):
        for j in range(2):
            expected = mutual_info_score(scores.binned(codes[:, i]), scores.binned(factors[:, j]))
            assert told[i, j] == pytest.approx(expected, abs=1e-9)


def test_hand_computed_scores():
    # Two factors; the first dimension tells of both, the second of the second alone.
    told = np.array([[0.6, 0.3], [0.0, 0.5]])
    assert scores.mig(told, np.array([1.0, 2.0])) == pytest.approx([0.6, 0.1])
    assert scores.modularity(told) == pytest.approx([1 - 0.3**2 / 0.6**2, 1.0])
    importance = np.array([[1.0, 0.5], [0.0, 0.5]])
    disentangled, complete, mean = scores.dci(importance)
    entropy = -(2 / 3 * np.log2(2 / 3) + 1 / 3 * np.log2(1 / 3))
    assert disentangled == pytest.approx([1 - entropy, 1.0])
    assert complete == pytest.approx([1.0, 0.0])
    assert mean == pytest.approx((1.5 * (1 - entropy) + 0.5) / 2)
    codes = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    assert scores.sap(codes, codes[:, :1]) == pytest.approx([1.0])
    assert scores.sap(codes, codes.sum(1, keepdims=True)) == pytest.approx([0.0])  # half of it each


def test_what_tells_of_nothing_is_not_a_number_and_breaks_nothing():
    told = np.array([[0.0, 0.0], [0.2, 0.0]])
    assert np.isnan(scores.modularity(told)[0])
    assert scores.modularity(told)[1] == 1
    disentangled, complete, mean = scores.dci(told)
    assert np.isnan(disentangled[0])
    assert np.isnan(complete[1])
    assert mean == 1
    assert (scores.explained(np.zeros((5, 1)), made(5, 1)) == 0).all()


def test_aligned_codes_score_high_and_rotated_ones_low():
    factors = made()
    aligned = np.c_[2 * factors[:, ::-1], made(seed=5)]  # other order and scale, and three of noise
    centred = factors - 0.5
    rotated = np.c_[centred @ rotation(3), made(seed=5)]
    assert mig_of(aligned, factors) > 0.85
    assert mig_of(rotated, factors) < 0.35
    assert scores.sap(aligned, factors).mean() > 0.9 > 0.4 > scores.sap(rotated, factors).mean()
    good, bad = (scores.dci(scores.importances(codes, factors)) for codes in (aligned, rotated))
    assert good[2] > 0.95
    assert good[1].mean() > 0.95
    assert bad[2] < 0.7
    assert bad[1].mean() < 0.7
    informative = scores.information(scores.Binned.of(aligned[:, :3]), scores.Binned.of(factors))
    assert scores.modularity(informative).mean() > 0.95


def test_a_part_of_aligned_and_of_random_codes_with_their_null():
    factors = as_factors(made())
    aligned = assess.assess_part(factors.values + 0.02 * made(seed=3), factors, 0, EFFORT)
    random = assess.assess_part(made(factors=6, seed=7), factors, 0, EFFORT)
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness"):
        entry = aligned["scores"][name]
        assert entry["low"] > entry["null"]["high"]
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert abs(random["scores"][name]["value"] - random["scores"][name]["null"]["mean"]) < 0.1
    assert aligned["probes"]["f0"]["linear"]["value"] > 0.99
    assert aligned["probes"]["f0"]["boosted"]["value"] > 0.9
    assert random["probes"]["f0"]["linear"]["value"] < 0.02
    assert random["probes"]["f0"]["boosted"]["value"] < 0.05
    over = np.array(aligned["information"]) > np.array(aligned["information_null"]["high"])
    assert over.tolist() == np.eye(3, dtype=bool).tolist()


def test_what_is_random_by_patient_is_not_told():
    # Codes and factors that patients have in common, and that have nothing to do with each other: folds that
    # put a patient on both sides, or a null that shuffles nodules, would find something.
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 20)
    codes = generator.normal(size=(30, 12))[patient] + 0.05 * generator.normal(size=(600, 12))
    values = generator.normal(size=(30, 2))[patient]
    nodules = pd.DataFrame(
        {"patient_id": [f"P{n:02d}" for n in patient], "nodule": np.tile(np.arange(20), 30)}
    )
    factors = Factors([Factor("a", ""), Factor("b", "")], values, nodules, None, 0)
    found = assess.assess_part(codes, factors, 0, EFFORT)
    for probe in found["probes"].values():
        assert probe["linear"]["value"] < 0.1
        assert probe["boosted"]["value"] < 0.1
    assert found["scores"]["mig"]["null"]["p"] > 0.05
    leaky = scores.information(scores.Binned.of(codes), scores.Binned.of(values))
    by_nodule = generator.permutation(600)
    wrong = scores.information(scores.Binned.of(codes), scores.Binned.of(values), by_nodule)
    assert wrong.max() < 0.5 * leaky.max()  # such a null would call chance a finding


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
    rest, told = without_size(Factors(kinds, values, factors.nodules, size, 0))
    assert rest.names == ["f1", "f2"]
    assert told["f1"] > 0.95
    assert told["f2"] < 0.05
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


def test_a_binary_probe_is_judged_by_its_auc_and_worse_than_nothing_is_negative():
    truth = np.c_[[0.0, 0, 1, 1], [1.0, 2, 3, 4]]
    assert probes.score(truth, np.c_[[0.1, 0.2, 0.3, 0.9], truth[:, 1]], [True, False]).tolist() == [1, 1]
    assert probes.score(truth, np.c_[[0.9, 0.8, 0.1, 0.2], truth[::-1, 1]], [True, False])[1] < 0


def groups(aligned: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes of groups that share one of nine factors; each code is a factor, or a mix of all."""
    generator = np.random.default_rng(0)
    factor = np.tile(np.arange(9), 40)
    held = generator.uniform(size=(len(factor), 12, 9))
    held[np.arange(len(factor)), :, factor] = generator.uniform(size=(len(factor), 1))
    codes = held if aligned else (held - 0.5) @ rotation(9)
    return codes + 0.01 * generator.normal(size=codes.shape), factor, np.arange(len(factor)) >= 180


def test_factor_and_beta_scores_of_codes_that_are_factors_and_of_rotated_ones():
    for score in (phantom_scores.factor_vae, phantom_scores.beta_vae):
        told, true = score(*groups(aligned=True))
        mixed, _ = score(*groups(aligned=False))
        assert (told == true).mean() > 0.97
        assert (mixed == true).mean() < 0.8
        codes, factor, test = groups(aligned=True)
        noise = np.random.default_rng(1).normal(size=codes.shape)
        told, true = score(noise, factor, test)
        assert (told == true).mean() < 0.25  # chance is 0.11


def test_an_unused_dimension_has_no_vote():
    codes, factor, test = groups(aligned=True)
    flat = np.concatenate([codes, 1e-6 * np.random.default_rng(0).normal(size=(*codes.shape[:2], 3))], axis=2)
    told, true = phantom_scores.factor_vae(flat, factor, test)
    assert (told == true).mean() > 0.97


def test_groups_of_phantoms_share_one_factor_and_their_surroundings(monkeypatch):
    asked = []

    def render(factors, *, seed):
        asked.append((factors, seed))
        return np.zeros((64, 64), np.int16), None

    monkeypatch.setattr(phantom_scores, "render", render)
    sizes = phantom_scores.Sizes(free=3, learn=2, test=1, group=4)
    slices = phantom_scores.rendered(sizes, 77)
    phantom_scores.rendered.cache_clear()
    assert slices.held.shape == (27, 4, 64, 64)
    assert slices.test.sum() == 9
    assert len(asked) == sizes.slices == 3 + 27 * 4
    assert len({seed for _, seed in asked[:3]}) == 3
    for group, number in enumerate(slices.factor):
        of_group = asked[3 + 4 * group : 7 + 4 * group]
        assert len({seed for _, seed in of_group}) == 1
        for name in phantom_scores.NAMES:
            values = {getattr(factors, name) for factors, _ in of_group}
            assert len(values) == (1 if name == phantom_scores.NAMES[number] else 4)


def test_a_runs_report(tiny_models):
    run = Run.open(tiny_models / "tiny-gvae")
    effort = assess.Effort(draws=3, refits=1, groups=2, resamples=10)
    report = assess.assess(run, effort=effort, seed=1, command="made by a test")
    json.dumps(report, allow_nan=False)
    assert report["data"]["nodules"] == 24
    assert report["seed"] == 1
    assert "transductive" in report["seen"]
    assert report["phantom"] is None
    assert set(report["spaces"]) == {"code"}
    part = report["spaces"]["code"]["raw"]
    assert np.shape(part["information"]) == (4, len(part["factors"])) == np.shape(part["spearman"])
    assert "log_diameter" not in report["spaces"]["code"]["without_size"]["factors"]
    again = assess.assess(run, effort=effort, seed=1, command="made by a test")
    assert report == again | {"seconds": report["seconds"]}


@pytest.mark.long
def test_a_dirichlet_runs_report_has_log_ratios_and_phantoms(tiny_models):
    run = Run.open(tiny_models / "tiny-dirvae")
    sizes = phantom_scores.Sizes(free=20, learn=1, test=1, group=2)
    effort = assess.Effort(draws=2, refits=1, groups=2, resamples=5)
    report = assess.assess(run, phantom=sizes, effort=effort)
    json.dumps(report, allow_nan=False)
    assert set(report["spaces"]) == {"code", "log_ratio"}
    assert set(report["phantom"]["moved"]) == {"factor_vae", "beta_vae"}
    assert {"angle_cos", "pleura_mm"} <= set(report["phantom"]["free"]["factors"])


def test_a_joint_runs_report_says_that_it_leaks(tiny_models, tmp_path):
    folder = tmp_path / "joint"
    shutil.copytree(tiny_models / "tiny-gvae", folder)
    raw = json.loads((folder / "config.json").read_text())
    raw["config"]["joint"]["rounds"] = 1
    (folder / "config.json").write_text(json.dumps(raw))
    effort = assess.Effort(draws=2, refits=1, groups=2, resamples=5)
    assert assess.assess(Run.open(folder), effort=effort)["seen"].startswith("LEAK")


def test_a_missing_and_a_strange_report_are_told(tmp_path):
    with pytest.raises(UserError, match="lungvae disentanglement"):
        assess.load(tmp_path)
    (tmp_path / assess.FILE).write_text('{"format": 99}')
    with pytest.raises(UserError, match="has format 99; this version reads up to 1"):
        assess.load(tmp_path)


def report_of(prior: str, seed: int, mig: float) -> dict:
    entry = {"value": mig, "low": mig, "high": mig, "null": {"mean": 0.0, "high": 0.0, "p": 0.1}}
    return {
        "title": f"{prior}-{seed}",
        "prior": prior,
        "model": {"preset": prior, "dimensions": 8, "width": 4, "epochs": 2, "beta": 0.1, "seed": seed},
        "data": {"name": "d", "content_hash": "h", "nodules": 5, "patients": 5},
        "spaces": {"code": {"raw": {"scores": {"mig": entry}, "probes": {}}}},
        "phantom": None,
    }


def test_priors_are_compared_over_seeds():
    ours, theirs = [0.5, 0.52, 0.48, 0.51, 0.49], [0.1, 0.12, 0.08, 0.11, 0.09]
    reports = [report_of("gaussian", seed, value) for seed, value in enumerate(ours)]
    reports += [report_of("dirichlet", seed, value) for seed, value in enumerate(theirs)]
    found = compare(reports)
    assert [len(group["runs"]) for group in found["groups"]] == [5, 5]
    assert found["groups"][0]["figures"]["raw/mig"]["mean"] == pytest.approx(0.5)
    assert found["groups"][0]["figures"]["raw/mig"]["sd"] == pytest.approx(np.std(ours, ddof=1), abs=1e-4)
    (difference,) = found["differences"]
    assert difference["difference"] == pytest.approx(0.4)
    assert difference["clear"]
    assert (difference["won"], difference["of"]) == (25, 25)
    assert difference["low"] < 0.4 < difference["high"]


def test_nothing_is_said_of_single_runs_or_of_runs_that_differ_by_more():
    assert compare([report_of("gaussian", 0, 0.5), report_of("dirichlet", 0, 0.1)])["differences"] == []
    reports = [report_of(prior, seed, 0.1 * seed) for prior in ("gaussian", "dirichlet") for seed in (1, 2)]
    for report in reports[:2]:
        report["model"]["dimensions"] = 16
    assert compare(reports)["differences"] == []
    same = [
        report_of(prior, seed, 0.3 + 0.1 * seed) for prior in ("gaussian", "dirichlet") for seed in range(3)
    ]
    assert not compare(same)["differences"][0]["clear"]
