"""The phantom: what a factor moves, what it leaves alone, and the sets that are made of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops

from lungvae_core.data.phantom import COLUMNS, FACTORS, INDEPENDENT, Factors, generate, make_phantom, render
from lungvae_core.data.phantom.factors import draw_from_ratings
from lungvae_core.data.slices import KEY, RATINGS
from lungvae_core.errors import UserError

SEEDS = [0, 1, 2, 3]
CLEAR = Factors(diameter_mm=14, pleura_mm=12)  # in the open lung


def properties(mask):
    return regionprops(mask.astype(int))[0]


def sweep(name, values, seed=0, base=CLEAR):
    return [render(base.replace(**{name: float(value)}), seed=seed) for value in values]


def cohort(nodules=12, seed=0):
    """A table like the real cohort's: balls of several sizes with random ratings."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(nodules):
        spacing, gap = float(rng.uniform(0.55, 0.8)), float(rng.choice([1.25, 2.5]))
        radius = float(rng.uniform(2.5, 10))
        ratings = {f"{name}_all": "|".join(map(str, rng.integers(1, 6, 3))) for name in RATINGS}
        ratings["malignancy_all"] = "|".join([str(number % 5 + 1)] * 3)  # a malignancy lies within them
        z = np.arange(-radius + 0.2, radius, gap)
        z = z[np.sqrt(radius**2 - z**2) > 1.8 * spacing]
        for i, height in enumerate(z):
            rows.append(
                {
                    "patient_id": f"LIDC-IDRI-{number // 2:04d}",
                    "nodule": number % 2,
                    "slice": i,
                    "malignancy": int(number % 5 + 1),
                    "z_mm": float(height - 100),
                    "row0": 200 + i,
                    "col0": 210 - i,
                    "area_px": round(np.pi * (radius**2 - height**2) / spacing**2),
                    "pixel_spacing_mm": spacing,
                    "slice_thickness_mm": gap,
                    "slice_spacing_mm": gap,
                    "diameter_mm": 2 * radius,
                    "volume_mm3": 4 / 3 * np.pi * radius**3,
                    "n_readers": 3,
                    "series_uid": "1.2.3",
                    **ratings,
                }
            )
    return pd.DataFrame(rows)


def lidc_set(out, **options):
    return make_phantom(out, cohort=cohort, workers=1, **options)


# --- one slice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_slice_is_int16_hu_with_a_mask_and_the_same_by_seed(seed):
    hu, mask = render(CLEAR, seed=seed)
    again, again_mask = render(CLEAR, seed=seed)
    other, _ = render(CLEAR, seed=seed + 100)
    assert hu.dtype == np.int16
    assert mask.dtype == np.uint8
    assert hu.shape == mask.shape == (64, 64)
    assert hu.min() >= -1024
    assert hu.max() <= 3071
    assert set(np.unique(mask)) == {0, 1}
    assert np.array_equal(hu, again)
    assert np.array_equal(mask, again_mask)
    assert not np.array_equal(hu, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_diameter_is_the_masks(seed):
    values = np.linspace(4, 24, 21)
    masks = [mask for _, mask in sweep("diameter_mm", values, seed)]
    area = np.array([mask.sum() for mask in masks])
    assert (np.diff(area) > 0).all()
    assert np.abs(2 * np.sqrt(area / np.pi) * 0.7 - values).max() < 0.3


@pytest.mark.parametrize("seed", SEEDS)
def test_density_is_the_hu_inside(seed):
    values = np.linspace(-650, 80, 9)
    slices = sweep("density_hu", values, seed)
    inside = [np.median(hu[mask > 0]) for hu, mask in slices]
    assert (np.diff(inside) > 0).all()
    assert inside[0] < -500
    assert inside[-1] > -30
    outside = slices[0][1] == 0
    # Beyond the blur of the edge, nothing moves.
    far = np.hypot(*(np.mgrid[:64, :64] - 31.75)) > 20
    assert np.array_equal(slices[0][0][far & outside], slices[-1][0][far & outside])
    assert all(np.array_equal(mask, slices[0][1]) for _, mask in slices)


@pytest.mark.parametrize("seed", SEEDS)
def test_margin_softens_the_edge_and_leaves_the_mask(seed):
    slices = sweep("margin_mm", np.linspace(0, 2.5, 6), seed)
    mask = slices[0][1]
    assert all(np.array_equal(other, mask) for _, other in slices)
    grown = np.roll(mask, 1, 0) | np.roll(mask, -1, 0) | np.roll(mask, 1, 1) | np.roll(mask, -1, 1)
    shrunk = np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    step = [hu[(mask & ~shrunk) > 0].mean() - hu[(grown & ~mask) > 0].mean() for hu, _ in slices]
    assert (np.diff(step) < 0).all()
    assert step[-1] < 0.5 * step[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_elongation_and_angle_are_those_of_the_mask(seed):
    for value in (1.0, 1.4, 1.8, 2.2):
        found = properties(render(CLEAR.replace(elongation=value, angle_deg=30), seed=seed)[1])
        assert found.major_axis_length / found.minor_axis_length == pytest.approx(value, rel=0.12)
    for angle in (0, 30, 75, 120, 165):
        found = properties(render(CLEAR.replace(elongation=2, angle_deg=angle), seed=seed)[1])
        # scikit-image measures counter-clockwise from the axis of rows, which runs down the image.
        measured = np.rad2deg(found.orientation) + 90
        assert abs((measured - angle + 90) % 180 - 90) < 8


@pytest.mark.parametrize("seed", SEEDS)
def test_lobulation_makes_the_outline_less_convex_and_keeps_its_area(seed):
    masks = [mask for _, mask in sweep("lobulation", [0, 0.5, 1], seed, CLEAR.replace(diameter_mm=20))]
    solidity = [properties(mask).solidity for mask in masks]
    assert solidity[0] > solidity[1] > solidity[2]
    area = np.array([mask.sum() for mask in masks])
    assert np.ptp(area) / area.mean() < 0.03


@pytest.mark.parametrize("seed", SEEDS)
def test_spiculation_brightens_the_rim_only(seed):
    slices = sweep("spiculation", [0, 0.3, 0.6, 1], seed)
    mask = slices[0][1]
    away = np.hypot(*(np.mgrid[:64, :64] - 31.75))
    ring = (away > 12) & (away < 18) & (mask == 0)
    brightness = [hu[ring].mean() for hu, _ in slices]
    assert (np.diff(brightness) > 0).all()
    assert all(np.array_equal(other, mask) for _, other in slices)
    inner = away < 7
    assert np.abs(slices[0][0][inner].astype(int) - slices[-1][0][inner]).max() < 12


@pytest.mark.parametrize("seed", SEEDS)
def test_calcification_raises_the_peak(seed):
    slices = sweep("calcification", [0, 0.2, 0.5, 1], seed)
    peak = [np.percentile(hu[mask > 0], 90) for hu, mask in slices]
    assert (np.diff(peak) > 0).all()
    assert peak[0] < 250
    assert peak[-1] > 900
    assert all(np.array_equal(mask, slices[0][1]) for _, mask in slices)


@pytest.mark.parametrize("seed", SEEDS)
def test_pleura_moves_the_wall_and_not_the_nodule(seed):
    slices = sweep("pleura_mm", [0, 5, 10, 14], seed)
    assert all(np.array_equal(mask, slices[0][1]) for _, mask in slices)
    wall = [(hu > -300).sum() for hu, _ in slices]
    assert (np.diff(wall) < 0).all()


@pytest.mark.parametrize("name", list(FACTORS))
@pytest.mark.long
def test_small_steps_make_small_changes(name):
    low, high = INDEPENDENT[name]
    base = CLEAR.replace(elongation=1.5, lobulation=0.4, spiculation=0.4, calcification=0.3)
    slices = [hu.astype(float) for hu, _ in sweep(name, np.linspace(low, high, 201), 5, base)]
    steps = np.array([np.abs(a - b).mean() for a, b in pairwise(slices)])
    whole = np.abs(slices[-1] - slices[0]).mean() if name != "angle_deg" else steps.sum() / 10
    assert whole > 2
    # No step of 200 does much of what all do together, and none stands out.
    assert steps.max() < max(0.06 * whole, 1.5)


def test_an_angle_of_180_degrees_is_one_of_0():
    base = CLEAR.replace(elongation=2)
    first, last = render(base.replace(angle_deg=0), seed=1), render(base.replace(angle_deg=180), seed=1)
    assert np.abs(first[0].astype(int) - last[0]).max() <= 1


@pytest.mark.parametrize("name", list(FACTORS))
@pytest.mark.parametrize("value", [-1e4, 1e4, float("nan")])
def test_a_factor_out_of_range_is_refused(name, value):
    with pytest.raises(UserError, match=name):
        Factors(**{name: value})


def test_a_nodule_too_large_for_the_crop_is_refused():
    with pytest.raises(UserError, match="does not fit"):
        render(Factors(diameter_mm=44, elongation=2.5), seed=0)


@settings(max_examples=60, deadline=None)
@given(
    radius=st.floats(1.2, 16.5),
    seed=st.integers(0, 10_000),
    ratings=st.lists(st.integers(1, 5), min_size=len(RATINGS), max_size=len(RATINGS)),
)
def test_whatever_the_ratings_say_fits_the_crop(radius, seed, ratings):
    row = {f"{name}_all": str(value) for name, value in zip(RATINGS, ratings, strict=True)}
    factors = draw_from_ratings(row, radius, 0.7, np.random.default_rng(seed))
    hu, mask = render(factors.replace(diameter_mm=2 * radius), seed=seed)
    assert mask.sum() == mask[1:-1, 1:-1].sum() > 0
    assert -1024 <= hu.min() <= hu.max() <= 3071


def test_the_page_has_every_factor():
    page = (Path(__file__).resolve().parents[2] / "docs" / "phantom.md").read_text(encoding="utf-8")
    for name, span in FACTORS.items():
        unit = f" {span.unit} " if span.unit else " "
        row = f"| `factor_{name}` | {span.low:g} to {span.high:g} |{unit}| {span.meaning} |"
        assert row in page


# --- sets -----------------------------------------------------------------------------------------------


def test_a_lidc_set_keeps_lidcs_rows_and_areas(tmp_path):
    made = lidc_set(tmp_path / "set", seed=3)
    table = cohort()
    assert len(made) == len(table)
    for column in [*KEY, "malignancy", "area_px", "z_mm", "texture_all", "n_readers"]:
        assert made.table[column].tolist() == table[column].tolist()
    assert "series_uid" not in made.table  # no series was scanned
    assert (made.masks.sum(axis=(1, 2)) == table["area_px"]).all()
    area = np.pi / 4 * made.table["factor_diameter_mm"] ** 2 / table["pixel_spacing_mm"] ** 2
    assert (np.abs(area - table["area_px"]) <= 0.5 + 0.06 * table["area_px"]).all()
    for column in COLUMNS:
        span = FACTORS[column.removeprefix("factor_")]
        assert made.table[column].between(span.low, span.high).all()
    # What belongs to a nodule is the same in all of its slices.
    shared = [name for name in COLUMNS if name not in ("factor_diameter_mm", "factor_pleura_mm")]
    assert (made.table.groupby(["patient_id", "nodule"])[shared].nunique() == 1).all(axis=None)
    info = json.loads((tmp_path / "set" / "dataset.json").read_text())
    assert info["generated"] is True
    assert "seed 3" in info["source"]
    assert "LIDC-IDRI" in info["attribution"]
    assert "CC BY 3.0" in info["attribution"]


def test_ratings_become_factors():
    rng = np.random.default_rng(0)

    def mean(name, column, rating):
        row = {f"{other}_all": "3" for other in RATINGS} | {"calcification_all": "6"}
        drawn = [draw_from_ratings(row | {f"{name}_all": rating}, 6, 0.7, rng) for _ in range(60)]
        return np.mean([getattr(factors, column) for factors in drawn])

    assert mean("texture", "density_hu", "1|1") < -500 < -100 < mean("texture", "density_hu", "5|5")
    assert mean("margin", "margin_mm", "1") > 2 * mean("margin", "margin_mm", "5")
    assert mean("lobulation", "lobulation", "5") > 0.8 > 0.2 > mean("lobulation", "lobulation", "1")
    assert mean("spiculation", "spiculation", "4|5") > 0.6 > 0.2 > mean("spiculation", "spiculation", "1")
    assert mean("sphericity", "elongation", "2") > 1.4 > mean("sphericity", "elongation", "5")
    assert mean("calcification", "calcification", "6|6") == 0 < mean("calcification", "calcification", "3")


def test_slices_of_a_nodule_change_coherently(tmp_path):
    made = lidc_set(tmp_path / "set")
    still = [
        np.corrcoef(made.slices[i].ravel(), made.slices[i + 1].ravel())[0, 1]
        for i in range(len(made) - 1)
        if (
            made.table.loc[i, ["patient_id", "nodule"]] == made.table.loc[i + 1, ["patient_id", "nodule"]]
        ).all()
    ]
    strangers = [
        np.corrcoef(made.slices[i].ravel(), made.slices[(i + 17) % len(made)].ravel())[0, 1]
        for i in range(len(made))
    ]
    assert np.median(still) > 0.7
    assert np.median(still) > np.median(strangers) + 0.3


def test_independent_factors_are_independent():
    _, jobs = generate._plan_independent(seed=0, count=12_000)
    drawn = pd.DataFrame([generate._draw_factors(job, 0).columns() for job in jobs])
    correlation = np.corrcoef(drawn[COLUMNS].to_numpy().T)
    assert np.abs(correlation - np.eye(len(COLUMNS))).max() < 0.1
    for name, (least, most) in INDEPENDENT.items():
        values = drawn[f"factor_{name}"]
        slack = 0.02 * (most - least)
        assert least <= values.min() < least + slack
        assert most - slack < values.max() <= most


def test_an_independent_set(tmp_path):
    made = make_phantom(tmp_path / "set", factors="independent", count=402, workers=1)
    assert made.table.groupby("patient_id").size().value_counts().to_dict() == {4: 100, 2: 1}
    assert "malignancy" not in made.table
    assert np.isnan(made.labelled()).all()
    assert made.info.attribution == ""
    area = made.masks.sum(axis=(1, 2))
    assert (made.table["area_px"] == area).all()
    wanted = np.pi / 4 * (made.table["factor_diameter_mm"] / 0.7) ** 2
    assert np.abs(area - wanted).max() < 12


@pytest.mark.parametrize("factors", ["lidc", "independent"])
def test_a_smaller_set_is_part_of_a_larger_one(tmp_path, factors):
    whole = make_phantom(tmp_path / "whole", factors=factors, count=60, workers=1, cohort=cohort)
    part = make_phantom(tmp_path / "part", factors=factors, count=23, workers=1, cohort=cohort)
    assert len(part) == 23
    place = {tuple(key): i for i, key in enumerate(whole.table[KEY].itertuples(index=False))}
    rows = [place[tuple(key)] for key in part.table[KEY].itertuples(index=False)]
    assert np.array_equal(part.slices, whole.slices[rows])
    assert np.array_equal(part.masks, whole.masks[rows])
    assert part.table.equals(whole.table.iloc[rows].reset_index(drop=True))


@pytest.mark.long
@pytest.mark.slow
def test_the_set_depends_on_the_seed_and_not_on_the_workers(tmp_path):
    sets = {
        name: make_phantom(
            tmp_path / name, seed=seed, workers=workers, factors="independent", count=200
        ).info.content_hash
        for name, seed, workers in (("one", 1, 1), ("two", 1, 2), ("three", 1, 3), ("other", 2, 1))
    }
    assert sets["one"] == sets["two"] == sets["three"] != sets["other"]


# --- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"factors": "both"}, "lidc or independent"),
        ({"count": 0}, "1 or more"),
        ({"count": -3}, "1 or more"),
        ({"workers": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
        ({"count": 10_000}, "The LIDC cohort has"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        make_phantom(tmp_path / "set", cohort=cohort, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_set_is_kept_unless_told(tmp_path):
    first = make_phantom(tmp_path / "set", factors="independent", count=4, workers=1)
    with pytest.raises(UserError, match="already exists"):
        make_phantom(tmp_path / "set", factors="independent", count=8, workers=1)
    again = make_phantom(tmp_path / "set", factors="independent", count=8, workers=1, overwrite=True)
    assert (first.info.count, again.info.count) == (4, 8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def lungvae(*arguments):
    command = [sys.executable, "-c", "from lungvae_core.cli import main; main()", "phantom", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_command(tmp_path):
    out = str(tmp_path / "set")
    done = lungvae("--out", out, "--factors", "independent", "--count", "10", "--seed", "4", "--workers", "1")
    assert (done.returncode, "10 generated slices of 3 nodules" in done.stdout) == (0, True)
    for wrong in (
        ["--out", out],
        ["--out", out + "2", "--factors", "x"],
        ["--out", out + "2", "--count", "0"],
    ):
        refused = lungvae(*wrong)
        assert refused.returncode == 2
        assert refused.stderr.startswith("Error: ")
        assert "Traceback" not in refused.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


@pytest.mark.slow
def test_an_interrupt_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", "from lungvae_core.cli import main; main()", "phantom"]
    options = ["--out", str(tmp_path / "set"), "--factors", "independent", "--workers", "2"]
    running = subprocess.Popen(
        [*command, *options],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode != 0
    assert list(tmp_path.iterdir()) == []
