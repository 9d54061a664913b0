"""Directions: planted ones are found, size is taken out, chance is told from steadiness."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.explore.coordinates import Space, nodules
from lungvae_core.explore.directions import (
    BEYOND,
    FILE,
    FREE,
    fit_directions,
    load_directions,
    make_directions,
    pattern_of,
    ridge_fit,
    walk,
)
from lungvae_core.explore.steadiness import stability
from lungvae_core.files import read_json, write_json
from lungvae_core.training.checkpoints import Run

K = 8


def planted(
    count: int = 240, *, seed: int = 0, own: float = 1.0, size: float = 1.5
) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray]]:
    """Two nodules a patient, two slices a nodule: codes that carry a size and a malignancy of its own.

    Returns (table, Gaussian codes (2 count, K), the planted patterns by name). Coordinate 7 is a disturbance
    that lies on the malignancy's coordinate too, so that the best filter is not the pattern.
    """
    generator = np.random.default_rng(seed)
    along = {"size": np.eye(K)[0] + 0.5 * np.eye(K)[1], "own": np.eye(K)[2] - np.eye(K)[3]}
    big, other, noise = generator.standard_normal((3, count))
    codes = np.outer(big, along["size"]) + np.outer(other, along["own"]) + np.outer(noise, np.eye(K)[2])
    codes += np.outer(noise, np.eye(K)[7]) + 0.3 * generator.standard_normal((count, K))
    logit = size * big + own * other
    malignancy = np.where(logit + 0.3 * generator.standard_normal(count) > 0, 5, 1)
    table = pd.DataFrame(
        {
            "patient_id": [f"P{number // 2:03d}" for number in range(count)],
            "nodule": np.arange(count) % 2,
            "malignancy": malignancy,
            "diameter_mm": 8 * np.exp(0.4 * big),
            "texture_all": [f"{rating}|{rating}" for rating in np.clip(np.rint(3 + other), 1, 5).astype(int)],
        }
    )
    table = table.loc[table.index.repeat(2)].reset_index(drop=True)
    codes = np.repeat(codes, 2, axis=0) + 0.05 * generator.standard_normal((2 * count, K))
    return table.assign(slice=np.arange(2 * count) % 2), codes.astype(np.float32), along


def simplex(codes: np.ndarray) -> np.ndarray:
    """The same codes as they would be on the simplex."""
    raw = np.exp(0.5 * codes.astype(float))
    return (raw / raw.sum(1, keepdims=True)).astype(np.float32)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def report() -> dict:
    table, codes, _ = planted()
    return fit_directions(table, codes, "gaussian", resamples=8)


def test_the_pattern_is_the_planted_direction_and_the_filter_is_not(report: dict) -> None:
    along = planted()[2]
    deviation = np.array(report["space"]["deviation"])
    direction = report["directions"]["texture"]
    assert cosine(np.array(direction["pattern"]) * deviation, along["own"]) > 0.95
    # The filter takes away the disturbance that coordinate 7 shows, which has nothing to do with the texture.
    assert abs(np.array(direction["pattern"])[7]) < 0.1
    assert np.array(direction["filter"])[7] < -0.2
    assert cosine(np.array(report["directions"]["diameter"]["pattern"]) * deviation, along["size"]) > 0.95


@pytest.mark.parametrize("prior", ["gaussian", "dirichlet"])
def test_directions_stay_within_what_the_lesions_points_depend_on(prior: str) -> None:
    table, codes, _ = planted(120)
    codes = simplex(codes) if prior == "dirichlet" else codes
    space = Space.fit(codes, simplex=prior == "dirichlet")
    lesions = space.to(codes)[:, :4] @ np.random.default_rng(0).standard_normal((4, 3))
    made = fit_directions(table, codes, prior, lesions=lesions, resamples=4)
    basis, _ = np.linalg.qr(np.linalg.lstsq(space.to(codes), lesions - lesions.mean(0), rcond=None)[0])
    for direction in made["directions"].values():
        for each in ("filter", "pattern"):
            weights = np.array(direction[each])
            np.testing.assert_allclose(basis @ (basis.T @ weights), weights, atol=1e-4)
    assert made["directions"]["malignancy"]["score"]["value"] > 0.8


def test_held_out_scores_are_high_for_what_is_there(report: dict) -> None:
    directions = report["directions"]
    assert directions["malignancy"]["score"]["name"] == "auc"
    assert directions["diameter"]["score"]["name"] == "r2"
    for name, least in (("malignancy", 0.93), ("diameter", 0.9), ("texture", 0.7)):
        score = directions[name]["score"]
        assert score["low"] <= score["value"] <= score["high"]
        assert score["value"] > least, name
    assert directions["malignancy"]["with_diameter"] > 0.6


@pytest.mark.parametrize("name", [FREE, BEYOND])
def test_malignancy_without_size_carries_no_size_and_still_tells(report: dict, name: str) -> None:
    table, codes, along = planted()
    entry = report["directions"][name]
    assert abs(entry["with_diameter"]) < 0.15 < report["directions"]["malignancy"]["with_diameter"]
    deviation = np.array(report["space"]["deviation"])
    assert cosine(np.array(entry["pattern"]) * deviation, along["own"]) > 0.9
    space = Space.fit(codes, simplex=False)
    _, points = nodules(table, space.to(codes))
    scores = points @ np.array(entry["filter"])
    assert abs(spearmanr(scores, table["diameter_mm"][::2]).statistic) < 0.1
    assert entry["matched"]["size"]["auc"]["value"] > 0.8
    # Walking along it leaves the size filter's score as it is.
    size = report["directions"]["diameter"]
    assert abs(np.array(size["filter"]) @ np.array(entry["pattern"])) < 0.1
    assert np.array(size["filter"]) @ np.array(size["pattern"]) == pytest.approx(1, abs=0.01)


def test_where_size_is_all_nothing_is_left_without_it() -> None:
    table, codes, _ = planted(seed=3, own=0, size=3)
    directions = fit_directions(table, codes, "gaussian", resamples=2)["directions"]
    assert directions["malignancy"]["score"]["value"] > 0.95
    assert directions[FREE]["score"]["value"] < 0.65
    assert directions[FREE]["matched"]["size"]["auc"]["value"] < 0.65


def test_labels_that_are_random_by_patient_are_no_steadier_than_chance() -> None:
    table, codes, _ = planted(seed=1)
    space = Space.fit(codes, simplex=False)
    frame, points = nodules(table, space.to(codes))
    patient = pd.factorize(frame["patient_id"])[0]
    chance = np.random.default_rng(5).integers(0, 2, patient.max() + 1)[patient].astype(float)
    real = (frame["malignancy"] > 3).to_numpy(float)
    steady = {}
    for name, values in (("chance", chance), ("real", real)):
        fit = ridge_fit(points, classes=False, strength=10.0)
        folds = [
            (np.flatnonzero(patient % 5 != fold), np.flatnonzero(patient % 5 == fold)) for fold in range(5)
        ]
        steady[name] = stability(fit, points, values, frame, folds, resamples=40, seed=0)
    for vector in ("pattern", "filter"):
        for measure in ("halves", "bootstrap", "folds"):
            figures = steady["chance"][vector][measure]
            assert figures["value"] < figures["null_high"] + 0.1
            assert figures["p"] > 0.05
            figures = steady["real"][vector][measure]
            assert figures["value"] > figures["null_high"]
            assert figures["p"] < 0.05
        # Folds share their patients: shuffled labels look steady there, but not between halves.
        assert steady["chance"][vector]["folds"]["null"] > 0.5
        assert abs(steady["chance"][vector]["halves"]["null"]) < 0.25


@pytest.mark.parametrize("prior", ["gaussian", "dirichlet"])
def test_coordinates_lead_back_to_the_codes(prior: str) -> None:
    codes = planted(20)[1]
    if prior == "dirichlet":
        codes = simplex(codes)
        codes[0] = np.eye(K)[2]  # a corner
    space = Space.fit(codes, simplex=prior == "dirichlet")
    np.testing.assert_allclose(space.back(space.to(codes)), codes, atol=1e-5)
    np.testing.assert_allclose(space.to(codes).mean(0), 0, atol=1e-6)


def test_every_step_of_a_walk_is_a_valid_code_through_the_start(tmp_path: Path) -> None:
    table, codes, _ = planted()
    codes = simplex(codes)
    report = fit_directions(table, codes, "dirichlet", resamples=2)
    assert report["directions"]["texture"]["score"]["value"] > 0.7
    write_json(tmp_path / FILE, report | {"transductive": False, "leak": None})
    opened = load_directions(tmp_path, codes)
    for direction in opened.directions.values():
        for start in (codes[3], np.eye(K, dtype=np.float32)[1]):
            values, steps = walk(opened.space, direction, start, 11)
            assert (steps >= 0).all()
            np.testing.assert_allclose(steps.sum(1), 1, atol=1e-5)
            at = direction.score(opened.space.to(start[None]))[0]
            assert values[0] - 1e-9 <= at <= values[-1] + 1e-9
            nearest = int(np.abs(values - at).argmin())
            assert np.abs(steps[nearest] - start).max() < 0.25
    # Inside the simplex the direction's score rises by as much as the walk says.
    direction = opened.directions["diameter"]
    values, steps = walk(opened.space, direction, codes[3], 5)
    np.testing.assert_allclose(direction.score(opened.space.to(steps)), values, atol=0.4)


@pytest.mark.long
def test_the_same_seed_gives_the_same_report_and_another_another() -> None:
    table, codes, _ = planted(80)
    first, again = (fit_directions(table, codes, "gaussian", resamples=2, seed=2) for _ in range(2))
    assert json.dumps(first) == json.dumps(again)
    other = fit_directions(table, codes, "gaussian", resamples=2, seed=3)
    assert json.dumps(first) != json.dumps(other)


def test_only_judged_patients_count_in_held_out_scores() -> None:
    table, codes, _ = planted(120)
    judged = table["patient_id"].to_numpy() < "P030"
    entry = fit_directions(table, codes, "gaussian", resamples=2, judged=judged)["directions"]["malignancy"]
    assert entry["judged"] == {"nodules": 60, "patients": 30}
    assert (entry["nodules"], entry["patients"]) == (120, 60)


def test_without_any_property_a_sentence_says_so() -> None:
    table, codes, _ = planted(30)
    with pytest.raises(UserError, match="none of malignancy, diameter and the ratings"):
        fit_directions(table[["patient_id", "nodule", "slice"]], codes, "gaussian", resamples=2)


def test_the_pattern_of_an_uncorrelated_filter_is_the_filter() -> None:
    points = np.random.default_rng(0).standard_normal((4000, 3))
    weights = np.array([1.0, 2.0, 0.0])
    assert cosine(pattern_of(points, weights), weights) > 0.99
    assert weights @ pattern_of(points, weights) == pytest.approx(np.std(points @ weights), rel=0.01)


@pytest.mark.long
@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_a_run_keeps_its_directions_and_other_data_can_be_used(
    tiny_models: Path, tiny_data: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(tiny_models / name, tmp_path / name)
    run = Run.open(folder)
    codes = run.latents()[1]
    with pytest.raises(UserError, match="lungvae directions"):
        load_directions(folder, codes)
    report = make_directions(run, quick=True)
    opened = load_directions(folder, codes)
    assert {"diameter", "texture", "spiculation"} <= opened.directions.keys()
    assert opened.report["quick"]
    assert opened.report["transductive"]
    assert report["data"]["content_hash"] == run.info.data.content_hash
    made = make_directions(run, SliceSet.open(tiny_data), quick=True)
    for direction, entry in report["directions"].items():
        np.testing.assert_allclose(made["directions"][direction]["pattern"], entry["pattern"], atol=2e-3)
    broken = read_json(folder / FILE, what="")
    for damage in ({"format": 99}, {"space": {}}, {"directions": {}}):
        write_json(folder / FILE, broken | damage)
        with pytest.raises(UserError, match=r"Update lungvae|damaged"):
            load_directions(folder, codes)
