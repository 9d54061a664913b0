"""The judge of ratings: it learns from patients apart, its quality is measured, and it sees what moves."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.labels import rating_level
from lungvae_core.data.slices import SliceSet
from lungvae_core.explore.measured import record
from lungvae_core.explore.measured.judge import EPOCHS, WIDTH, agreement_with_readers, fit_judge, samples
from lungvae_core.explore.measured.traverse import (
    FEWEST_HELD_OUT,
    judged_moves,
    measure_run,
    pick_from,
    traverse,
)
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.cnn import CnnConfig
from lungvae_core.vae.latents import GaussianLatent
from tests.conftest import blobs

SMALL = CnnConfig(width=4, epochs=15, batch_size=16)


def sizes(count: int, seed: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Slices of discs, and ratings of which one follows their size and one nothing."""
    hu, _, table = blobs(count, seed)
    chance = np.random.default_rng(seed + 50).uniform(1, 5, count)
    return hu, pd.DataFrame({"lobulation": 1 + table["diameter_mm"] / 5, "texture": chance})


@pytest.fixture(scope="module")
def judge():
    hu, levels = sizes(120, 0)
    levels.loc[::3, "texture"] = np.nan  # not every rating was given of every slice
    return fit_judge(hu, levels, SMALL, seed=0)


def test_it_reads_ratings_of_lesions_that_it_has_not_learned_from(judge):
    hu, levels = sizes(150, 1)
    patients = np.arange(150) // 5
    quality = agreement_with_readers(judge.read(hu), levels, patients, seed=0, resamples=100)
    lobulation, texture = quality["lobulation"], quality["texture"]
    assert lobulation["value"] > 0.9
    assert lobulation["low"] <= lobulation["value"] <= lobulation["high"]
    assert (lobulation["n"], lobulation["patients"]) == (150, 30)
    assert abs(texture["value"]) < 0.4  # nothing in the slice tells it, and that is what is reported
    # In the rating's own unit.
    assert np.abs(judge.read(hu)[:, 0] - levels["lobulation"]).mean() < 0.4


def test_it_does_not_see_patterns_of_single_pixels(judge):
    """A decoder can learn them, and no eye sees them."""
    hu, levels = sizes(60, 2)
    pattern = 150 * (-1.0) ** np.add.outer(np.arange(64), np.arange(64))
    change = np.abs(judge.read(hu + pattern) - judge.read(hu)).mean(0)
    assert (change < 0.1 * levels.std()).all()


def test_the_same_seed_is_the_same_judge():
    hu, levels = sizes(60, 0)
    first, again, other = (
        fit_judge(hu, levels, replace(SMALL, epochs=1), seed=seed).read(hu) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_quality_is_not_known_where_the_readers_do_not_differ():
    levels = pd.DataFrame({"lobulation": np.ones(20), "margin": [np.nan] * 20})
    quality = agreement_with_readers(np.random.rand(20, 2), levels, np.arange(20), seed=0, resamples=20)
    assert np.isnan(quality["lobulation"]["value"])
    assert (quality["margin"]["n"], quality["margin"]["patients"]) == (0, 0)


def discs(codes: np.ndarray) -> np.ndarray:
    """A decoder: the first number of a code is a disc's radius beyond its start's, the last its start."""
    y, x = np.mgrid[:64, :64] - 31.5
    radius = 6 + codes[:, -1] + 3 * codes[:, 0]
    return np.where(y**2 + x**2 < radius[:, None, None] ** 2, 30.0, -850.0).astype(np.float32)


def test_a_dimension_that_raises_a_rating_is_seen_to_in_every_start(judge):
    starts = np.zeros((10, 3), np.float32)
    starts[:, -1] = np.linspace(0, 4, 10)
    readings: list[np.ndarray] = []
    traverse(
        discs,
        GaussianLatent(3),
        starts,
        np.linspace([-1.0, -1.0], [1.0, 1.0], 5, axis=1),
        on_decoded=lambda hu: readings.append(judge.read(hu).reshape(10, 5, -1)),
    )
    stack = np.stack(readings)
    grows, idle = judged_moves(stack, judge.ratings, seed=0, resamples=200)
    change, low, high, spearman, rises = grows["lobulation"]
    assert rises >= 0.9
    assert spearman >= 0.9
    assert 0 < low <= change <= high
    # The radius goes from 3 below to 3 above: 12 px of diameter, of 0.7 mm, a rating's step each 5 mm.
    assert change == pytest.approx(12 * 0.7 / 5, rel=0.25)
    assert idle["lobulation"][-1] == 0  # it moves nothing, so nothing rises
    assert np.allclose(idle["lobulation"], 0, atol=1e-6)
    (shrinks,) = judged_moves(stack[:1, :, ::-1], judge.ratings, seed=0, resamples=200)
    assert shrinks["lobulation"][0] == pytest.approx(-change)
    assert shrinks["lobulation"][-1] <= 0.1


def test_it_learns_from_other_patients_than_the_starts_and_is_tested_on_others(tiny_models, tiny_data):
    run, data = Run.open(tiny_models / "tiny-gvae"), SliceSet.open(tiny_data)
    table, _ = run.latents()
    starts = np.array([0, 20, 60])
    levels = pd.DataFrame({"texture": rating_level(data.table, "texture")})
    levels.iloc[100:103] = np.nan
    fitted, tested = samples(data, levels, table, starts)
    patients = data.table["patient_id"]
    trained = set(table["patient_id"][table["split"] == "train"])
    assert set(patients.iloc[fitted.rows]) <= trained - set(table["patient_id"].iloc[starts])
    assert set(patients.iloc[tested.rows]) == set(patients) - trained
    assert not {100, 101, 102} & {*fitted.rows, *tested.rows}
    for part in (fitted, tested):
        assert part.counted.used == len(part.rows)
        assert part.counted.total == len(data)
        assert part.counted.left_out["without a reader's rating"] == 3


def test_a_picture_that_two_patients_share_is_in_neither_part(tiny_models, tiny_data):
    run, data = Run.open(tiny_models / "tiny-gvae"), SliceSet.open(tiny_data)
    table, _ = run.latents()
    trained = np.flatnonzero(table["split"] == "train")
    held_out = np.flatnonzero(table["split"] != "train")
    slices = np.array(data.slices)
    slices[held_out[0]] = slices[trained[0]]
    generated = data.info.model_copy(update={"generated": False})
    shared = replace(data, slices=slices, info=generated)
    levels = pd.DataFrame({"texture": rating_level(data.table, "texture")})
    fitted, tested = samples(shared, levels, table, trained[-1:])
    assert trained[0] not in fitted.rows
    assert held_out[0] not in tested.rows
    assert fitted.counted.left_out["of the same picture as another patient's"] == 2


@pytest.fixture
def run(tiny_models: Path, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(tiny_models / "tiny-gvae", tmp_path / "tiny"))


def measured(run: Run, data: SliceSet | None, **options) -> dict:
    return measure_run(run, data, **{"starts": 8, "steps": 3, "resamples": 30, "judge_epochs": 1, **options})


def test_what_it_reads_is_stored_with_how_good_it_is(run, tiny_data):
    made = measured(run, SliceSet.open(tiny_data))
    assert record.load(run) == made
    assert set(made["judge"]["ratings"]["real"]) == {"malignancy", "texture", "spiculation"}
    assert made["judge"]["fitted"]["used"] + sum(made["judge"]["fitted"]["left_out"].values()) == 120
    held_out = 5 * len(run.info.held_out)
    for kind in ("real", "reconstructed"):
        assert made["judge"]["ratings"][kind]["malignancy"]["n"] == held_out
    for one in made["dimensions"]:
        assert set(one["judged"]) == {"malignancy", "texture", "spiculation"}
        assert all(0 <= figures[-1] <= 1 for figures in one["judged"].values())
    again = measured(run, SliceSet.open(tiny_data))
    assert [one["judged"] for one in again["dimensions"]] == [one["judged"] for one in made["dimensions"]]
    sentence = record.judged_sentence(made, 1, "texture")
    assert "of 8 lesions" in sentence
    assert f"On {held_out} real slices of {len(run.info.held_out)} patients" in sentence


@pytest.mark.long
def test_without_ratings_or_a_judge_the_rest_is_measured_and_the_reason_said(run, tiny_data):
    data = SliceSet.open(tiny_data)
    ratings = [name for name in data.table if name.endswith("_all")]
    for made, reason in (
        (measured(run, None), "lungvae measure --data"),
        (measured(run, data, judge_epochs=0), "lungvae measure --data"),
        (measured(run, replace(data, table=data.table.drop(columns=ratings))), "no readers' ratings"),
        (measured(run, data, starts=24), "needs slices of at least 3 patients to learn from"),
    ):
        assert len(made["dimensions"]) == 4
        assert all(one["judged"] == {} for one in made["dimensions"])
        assert reason in record.judged_sentence(made, 0, "spiculation")


def test_files_of_before_are_read(run):
    measured(run, None)
    path = run.folder / record.FILE
    older = json.loads(path.read_text())
    del older["judge"], older["judged"], older["starts"]["of"]
    for one in older["dimensions"]:
        del one["judged"]
    path.write_text(json.dumps(older))
    read = record.load(run)
    assert read is not None
    assert len(record.labels(read)) == 4
    assert "lungvae measure --data" in record.judged_sentence(read, 0, "texture")


def test_starts_are_of_held_out_patients_where_there_are_enough():
    def table(held_out: int) -> pd.DataFrame:
        split = ["validation"] * held_out + ["train"] * 40
        return pd.DataFrame({"patient_id": [f"P-{at}" for at in range(len(split))], "split": split})

    rows, whose = pick_from(table(FEWEST_HELD_OUT))
    assert rows.tolist() == list(range(FEWEST_HELD_OUT))
    assert whose == "patients that the model was not trained on"
    rows, whose = pick_from(table(FEWEST_HELD_OUT - 1))
    assert (len(rows), whose) == (FEWEST_HELD_OUT - 1 + 40, "all patients")
    assert pick_from(table(20).drop(columns="split"))[1] == "all patients"


@pytest.mark.lidc
@pytest.mark.long
def test_real_ratings_are_read_on_patients_that_it_has_not_learned_from(lidc: Path):
    """Spearman with the readers' mean on a quarter of the patients, one split, seed 0."""
    table = pd.read_csv(lidc / "slices.csv")
    names = ["spiculation", "lobulation", "texture", "calcification"]
    levels = pd.DataFrame({name: rating_level(table, name) for name in names})
    other = pd.factorize(table["patient_id"])[0] % 4 == 0
    hu = np.load(lidc / "slices.npy", mmap_mode="r")
    judge = fit_judge(hu[~other], levels[~other], CnnConfig(width=WIDTH, epochs=EPOCHS), seed=0)
    patients = table["patient_id"].to_numpy()[other]
    quality = agreement_with_readers(judge.read(hu[other]), levels[other], patients, seed=0, resamples=100)
    assert all(one["low"] > 0 for one in quality.values()), quality
