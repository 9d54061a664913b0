"""Sets of phantoms: LIDC's rows and areas, independent factors, and the same set by seed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lungvae_core.data.phantom import COLUMNS, FACTORS, INDEPENDENT, generate, make_phantom
from lungvae_core.data.slices import KEY, RATINGS
from lungvae_core.errors import UserError


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


def test_slices_of_a_nodule_change_coherently(tmp_path):
    made = lidc_set(tmp_path / "set")
    correlation = np.corrcoef(made.slices.reshape(len(made), -1))
    nodule = made.table.groupby(["patient_id", "nodule"]).ngroup().to_numpy()
    still = np.diag(correlation, 1)[nodule[1:] == nodule[:-1]]
    rows = np.arange(len(made))
    strangers = correlation[rows, (rows + 17) % len(made)]
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
    expected = np.pi / 4 * (made.table["factor_diameter_mm"] / 0.7) ** 2
    assert np.abs(area - expected).max() < 12


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


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"factors": "both"}, "lidc or independent"),
        ({"count": 0}, "1 or more"),
        ({"count": -3}, "1 or more"),
        ({"workers": 0}, "1 or more"),
        ({"seed": -1}, "0 or more"),
        ({"count": 10_000}, "The LIDC cohort has"),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        make_phantom(tmp_path / "set", cohort=cohort, **options)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_set_is_kept_unless_forced(tmp_path):
    first = make_phantom(tmp_path / "set", factors="independent", count=4, workers=1)
    with pytest.raises(UserError, match="already exists"):
        make_phantom(tmp_path / "set", factors="independent", count=8, workers=1)
    again = make_phantom(tmp_path / "set", factors="independent", count=8, workers=1, overwrite=True)
    assert (first.info.count, again.info.count) == (4, 8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]
