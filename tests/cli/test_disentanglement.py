"""`lungvae disentanglement`: what it writes and prints, and what bad input gets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from lungvae_core.evaluation.disentanglement import assess
from lungvae_core.files import read_json


@pytest.fixture
def copies(tiny_models: Path, tmp_path: Path) -> list[Path]:
    """Two seeds of each tiny model, in folders of the test's own."""
    return [
        shutil.copytree(tiny_models / name, tmp_path / f"{name}-{seed}")
        for name in ("tiny-gvae", "tiny-dirvae")
        for seed in range(2)
    ]


@pytest.mark.long
def test_several_runs_are_written_and_compared(printed, copies, monkeypatch):
    monkeypatch.setattr(assess, "QUICK", assess.Effort(draws=2, refits=1, groups=2, resamples=5))
    out = printed("disentanglement", *copies[::2], "--quick", "--seed", 3)
    for folder in copies[::2]:
        report = read_json(folder / "disentanglement.json", what="")
        assert (report["seed"], report["quick"], report["phantom"]) == (3, True, None)
        assert report["command"].startswith("lungvae disentanglement ")
        assert str(folder / "disentanglement.json") in out
    assert "mutual information gap" in out
    assert "size alone R2" in out
    assert "nothing can be said of a difference" in out  # a run of each prior is no spread


def test_a_folder_that_is_no_run_is_reported_before_any_work(refused, copies, tmp_path):
    refused("is not a model", "disentanglement", copies[0], tmp_path)
    assert not (copies[0] / "disentanglement.json").exists()


def test_a_run_without_codes_says_how_to_get_them(refused, copies):
    (copies[0] / "latents.parquet").unlink()
    refused("lungvae encode", "disentanglement", copies[0])


def test_a_run_of_slices_without_factors_says_what_is_needed(refused, copies):
    table = pd.read_parquet(copies[0] / "latents.parquet")
    kept = [name for name in table if not name.endswith("_all") and name not in ("diameter_mm", "area_px")]
    table[kept].to_parquet(copies[0] / "latents.parquet")
    refused("texture_all", "disentanglement", copies[0])
