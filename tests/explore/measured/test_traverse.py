"""Measured traversals: a dimension is named after what it moves, and chance gets no name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.outlines import segment
from lungvae_core.data.phantom import Factors, render
from lungvae_core.data.properties import PROPERTIES, deviations, measure
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.explore.measured import record
from lungvae_core.explore.measured.name import NOTHING, UNSTEADY
from lungvae_core.explore.measured.traverse import (
    agreement,
    check_outlines,
    controls,
    grids,
    measure_run,
    names,
    pick_starts,
    summarise,
    traverse,
)
from lungvae_core.training.checkpoints import Run
from lungvae_core.vae.latents import DirichletLatent, GaussianLatent

KEYS = list(PROPERTIES)
STARTS, STEPS = 10, 5
# What each dimension of the made-up decoder moves: a factor of the phantom, from and to, and what the name
# has to say first when the value rises.
TRUTH: list[tuple[str, float, float, str]] = [
    ("diameter_mm", 7.0, 15.0, "grows"),
    ("density_hu", 60.0, -600.0, "becomes ground glass"),
    ("margin_mm", 0.1, 2.2, "blurs"),
    ("elongation", 2.1, 1.05, "rounds"),
    ("pleura_mm", 0.5, 14.0, "darkens the surroundings"),
]
UNUSED = len(TRUTH)


def start_factors(number: int) -> Factors:
    """The lesion at which one walk begins: its own size, shape and density."""
    generator = np.random.default_rng(number)
    return Factors(
        diameter_mm=float(generator.uniform(9, 13)),
        density_hu=float(generator.uniform(-150, 50)),
        margin_mm=float(generator.uniform(0.2, 0.6)),
        elongation=float(generator.uniform(1.2, 1.5)),
        angle_deg=float(generator.uniform(0, 180)),
        pleura_mm=float(generator.uniform(8, 12)),
    )


def draw(codes: np.ndarray) -> np.ndarray:
    """A decoder whose every dimension moves one factor alone, and whose last but one moves none.

    The last dimension says which lesion it is; values are 0 at the start and run from -1 to 1.
    """
    slices = []
    for code in codes:
        factors = start_factors(round(float(code[-1])))
        for value, (name, low, high, _) in zip(code, TRUTH, strict=False):
            if value:
                factors = factors.replace(**{name: float(low + (high - low) * (float(value) + 1) / 2)})
        slices.append(render(factors, seed=round(float(code[-1])))[0])
    return np.clip(np.stack(slices), -1000, 400).astype(np.float32)


def start_codes(count: int = STARTS) -> np.ndarray:
    codes = np.zeros((count, len(TRUTH) + 2), np.float32)
    codes[:, -1] = np.arange(count)
    return codes


@pytest.fixture(scope="module")
def lesions() -> np.ndarray:
    """(P,) what a standard deviation is, over phantoms drawn as differently as the factors allow."""
    generator = np.random.default_rng(5)
    slices = []
    for number in range(40):
        factors = start_factors(number).replace(
            diameter_mm=float(generator.uniform(5, 17)),
            density_hu=float(generator.choice([-600, -300, 20, 40])),
            margin_mm=float(generator.uniform(0, 1.5)),
            elongation=float(generator.uniform(1, 1.9)),
            pleura_mm=float(generator.uniform(0, 15)),
        )
        slices.append(render(factors, seed=100 + number)[0])
    hu = np.clip(np.stack(slices), -1000, 400)
    return deviations(measure(hu, segment(hu)))


@pytest.fixture(scope="module")
def measured() -> tuple[np.ndarray, np.ndarray]:
    latent = GaussianLatent(len(TRUTH) + 2)
    ranges = np.array([[-1.0, 1.0]] * (len(TRUTH) + 1))
    return traverse(draw, latent, start_codes(), np.linspace(*ranges.T, STEPS, axis=1))


def test_each_dimension_of_a_known_decoder_is_named_after_the_factor_that_it_moves(measured, lesions):
    values, changes = measured
    moved, _ = summarise(values, lesions)
    named = names(moved, changes)
    for (factor, *_, verb), row, one in zip(TRUTH, moved, named, strict=False):
        assert one["text"].startswith(verb), (factor, one)
        first = row[one["properties"][0]]
        assert abs(first.spearman) > 0.85, factor
        assert first.agree >= 0.9, factor
        assert first.low <= first.change <= first.high
    assert named[UNUSED]["text"] == NOTHING
    assert named[UNUSED]["properties"] == ()


def test_changes_are_those_of_the_factor_in_pixels_and_hu(measured, lesions):
    moved, walks = summarise(measured[0], lesions)
    size = moved[0]["diameter_px"]
    assert size.change == pytest.approx((15 - 7) / 0.7, rel=0.1)
    density = moved[1]["mean_hu"]
    assert density.change == pytest.approx(-660, rel=0.12)
    assert density.start - density.end == pytest.approx(660, rel=0.12)
    # Density alone was moved: the outline stays where it was, even of a faint lesion in noise.
    assert abs(moved[1]["diameter_px"].change) < 0.1 * abs(size.change)
    assert abs(moved[0]["mean_hu"].effect) < 0.3
    mean, low, high = walks[0, :, KEYS.index("diameter_px")].T
    assert (np.diff(mean) > 0).all()
    assert (low <= mean).all()
    assert (mean <= high).all()


def test_a_reversed_decoder_gives_the_opposite_names(lesions):
    latent = GaussianLatent(len(TRUTH) + 2)
    values, changes = traverse(draw, latent, start_codes(6), np.linspace(1.0, -1.0, STEPS)[None])
    moved, _ = summarise(values, lesions)
    assert names(moved, changes)[0]["text"].startswith("shrinks")
    assert moved[0]["diameter_px"].spearman < -0.9
    assert moved[0]["diameter_px"].median_spearman < -0.9


def test_a_direction_drawn_for_each_lesion_alone_gets_no_name(lesions):
    generator = np.random.default_rng(3)
    hu = []
    for start in start_codes(20):
        way = generator.normal(size=len(TRUTH))
        way /= np.abs(way).max()
        walk = np.repeat(start[None], STEPS, axis=0)
        walk[:, : len(TRUTH)] += np.linspace(-1, 1, STEPS)[:, None] * way
        hu.append(draw(walk))
    stack = np.concatenate(hu)
    values = measure(stack, segment(stack)).reshape(1, 20, STEPS, -1)
    moved, _ = summarise(values, lesions)
    (one,) = names(moved, np.full((1, 20, 2), 100.0))
    assert one["properties"] == ()
    assert one["text"] == UNSTEADY


def test_dimensions_made_up_from_the_measurements_get_no_names(measured, lesions):
    named = controls(measured[0], lesions, seed=0, resamples=200)
    assert named["shuffled"]["dimensions"] > 100
    assert named["shuffled"]["named"] <= 0.02 * named["shuffled"]["dimensions"]
    assert named["mixed"]["named"] <= 0.1 * named["mixed"]["dimensions"]


def phantoms(factors: list[Factors]) -> tuple[np.ndarray, np.ndarray]:
    """(slices in HU, their masks) of phantoms."""
    slices, masks = zip(*(render(one, seed=seed) for seed, one in enumerate(factors)), strict=True)
    return np.clip(np.stack(slices), -1000, 400), np.stack(masks).astype(bool)


def test_outlines_of_phantoms_are_their_masks():
    factors = [start_factors(number) for number in range(40)]
    table = pd.DataFrame({"diameter_mm": [one.diameter_mm for one in factors]})
    whole = agreement(*phantoms(factors), table)[0]
    assert whole["dice"] > 0.93
    assert whole["area_ratio"] == pytest.approx(1, abs=0.08)
    assert whole["outlined"] == 1


def test_calcium_in_a_lesion_is_no_edge_of_it():
    factors = [start_factors(number).replace(calcification=0.3, density_hu=20) for number in range(20)]
    figures = agreement(*phantoms(factors), pd.DataFrame(index=range(20)))[0]
    assert figures["dice"] > 0.9
    assert figures["area_ratio"] == pytest.approx(1, abs=0.1)


def test_starts_are_one_a_patient_spread_over_sizes_and_labels():
    generator = np.random.default_rng(0)
    count = 900
    table = pd.DataFrame(
        {
            "patient_id": generator.integers(0, 300, count).astype(str),
            "nodule": generator.integers(0, 2, count),
            "slice": np.arange(count),
            "area_px": generator.integers(9, 400, count),
            "diameter_mm": generator.choice([5.0, 5.0, 5.0, 7.0, 10.0, 20.0], count),
            "malignancy": pd.array(generator.choice([2, 3, 3, 3, 4], count), dtype="Int64"),
        }
    )
    rows = pick_starts(table, 48, 0)
    assert len(rows) == 48
    assert table["patient_id"].iloc[rows].is_unique
    bands = np.bincount(np.digitize(table["diameter_mm"].iloc[rows], [6, 8, 15]), minlength=4)
    assert bands.min() >= 9
    assert (rows == pick_starts(table, 48, 0)).all()
    assert (rows != pick_starts(table, 48, 1)).any()
    plain = table[["patient_id", "nodule", "slice"]]
    assert len(pick_starts(plain, 10_000, 0)) == plain["patient_id"].nunique()


def test_a_dirichlet_walk_stays_on_the_simplex():
    latent = DirichletLatent(4, prior_alpha=0.6, floor=1e-2)
    seen = []

    def decode(codes: np.ndarray) -> np.ndarray:
        seen.append(codes)
        return np.full((len(codes), 64, 64), -850.0, np.float32)

    codes = np.random.default_rng(0).dirichlet(np.ones(4), 20).astype(np.float32)
    values, changes = traverse(decode, latent, codes[:5], grids(codes, latent, 3))
    assert values.shape == (4, 5, 3, len(KEYS))
    assert np.isnan(values).all()
    assert (changes == 0).all()
    for part in seen:
        assert (part >= 0).all()
        np.testing.assert_allclose(part.sum(1), 1, atol=1e-5)
    moved, _ = summarise(values, np.ones(len(KEYS)))
    assert [one["text"] for one in names(moved, changes)] == [NOTHING] * 4


@pytest.mark.long
@pytest.mark.parametrize("name", ["tiny-gvae", "tiny-dirvae"])
def test_a_run_is_measured_written_and_read(tiny_models: Path, tiny_data: Path, tmp_path: Path, name: str):
    folder = shutil.copytree(tiny_models / name, tmp_path / name)
    run = Run.open(folder)
    assert record.load(run) is None
    shown = []
    figures = measure_run(
        run,
        SliceSet.open(tiny_data),
        starts=8,
        steps=3,
        resamples=50,
        on_progress=lambda done, of: shown.append((done, of)),
    )
    assert shown[-1] == (4, 4)
    assert record.load(run) == figures
    assert figures["starts"]["patients"] == figures["counted"]["used"] == 8
    assert sum(figures["counted"]["left_out"].values()) == 112
    assert len(figures["dimensions"]) == len(record.labels(figures)) == 4
    assert sorted(record.order(figures)) == [0, 1, 2, 3]
    assert figures["outlines"]["real"][0]["dice"] > 0.9
    table, codes = run.latents()
    values, walk = record.mean_walk(run.load_model().latent, codes, figures, 1)
    np.testing.assert_allclose(walk[:, 1], values, atol=1e-5)
    again = measure_run(run, starts=8, steps=3, resamples=50)
    assert again["dimensions"] == [one | {"judged": {}} for one in figures["dimensions"]]  # without a judge
    assert again["outlines"] is None

    record.save(run, figures | {"dimensions": figures["dimensions"][:3], "dimensions_count": 3})
    with pytest.raises(UserError, match="not made from this model"):
        record.load(run)
    (folder / "measured.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        record.load(run)
    run.write_latents(table.iloc[:15], codes[:15])  # three patients
    with pytest.raises(UserError, match="at least 5"):
        measure_run(run)


@pytest.mark.lidc
def test_outlines_of_real_slices_agree_with_the_readers(lidc: Path):
    """Mean Dice of 400 slices, one a patient, evenly of all sizes, against the consensus of the readers."""
    table = pd.read_csv(lidc / "slices.csv")
    rows = pick_starts(table, 400, 1)
    hu = np.clip(np.load(lidc / "slices.npy", mmap_mode="r")[rows], -1000, 400).astype(np.float32)
    masks = np.unpackbits(np.load(lidc / "masks.npy", mmap_mode="r")[rows], axis=1).reshape(-1, 64, 64)
    figures = agreement(hu, masks.astype(bool), table.iloc[rows])
    assert all(each["dice"] > 0.75 for each in figures)
    assert figures[0]["dice"] > 0.8
    assert figures[0]["area_correlation"] > 0.88


def test_outlines_are_held_against_masks_that_are_there(tiny_models: Path, tiny_data: Path):
    run, data = Run.open(tiny_models / "tiny-gvae"), SliceSet.open(tiny_data)
    lack = (data.table["patient_id"] < "TEST-0003").to_numpy()
    partly = replace(data, masks=data.masks * ~lack[:, None, None])
    figures = check_outlines(run, partly)
    assert figures["slices"] == 21
    assert figures["real"][0]["dice"] > 0.9
    assert figures["counted"]["left_out"]["without a mask"] == 15
    assert sum(figures["counted"]["left_out"].values()) == 120 - 21
    with pytest.raises(UserError, match="has no masks"):
        check_outlines(run, replace(data, masks=np.zeros_like(data.masks)))
