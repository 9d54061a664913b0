"""clusters.json: a patient is found out as a confound; written, read and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.methods import METHODS
from lungvae_core.explore.clusters.report import FILE, QUICK, cluster, load_clusters, make_clusters
from lungvae_core.explore.maps import nodules
from lungvae_core.files import read_json, write_json
from lungvae_core.training.checkpoints import Run
from tests.explore.clusters.conftest import lesions


def test_codes_of_a_patients_own_are_found_out() -> None:
    generator = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 6)
    points = 4 * generator.normal(size=(40, 8))[patient] + generator.normal(size=(240, 8))
    frame = lesions(np.zeros(240, int)).assign(
        patient_id=[f"P{number:02d}" for number in patient], malignancy=generator.choice([1, 5], 240)
    )
    report = cluster(frame, points, amount=QUICK)
    compared = {one["name"]: one for one in report["methods"]["kmeans"]["attributes"]}
    assert compared["patient"]["kind"] == "confound"
    assert compared["patient"]["ami"]["value"] > 0.4
    assert compared["patient"]["ami"]["p"] < 0.02
    assert compared["patient"]["shared"]["value"] > 2 * compared["patient"]["shared"]["others"]
    assert compared["malignancy"]["ami"]["value"] < 0.05


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
    for change, sentence in (
        ({"format": 2}, "Update lungvae"),
        ({"rows": [1]}, "damaged"),
        ({"methods": 3}, "damaged"),
    ):
        write_json(model / FILE, report | change)
        with pytest.raises(UserError, match=sentence):
            load_clusters(model, codes, 24)
    with pytest.raises(UserError, match="nodule or slice"):
        make_clusters(run, unit="patient")
    table, codes = run.latents()
    run.write_latents(table[:50], codes[:50])
    with pytest.raises(UserError, match="too few"):
        make_clusters(run)
