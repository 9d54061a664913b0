"""The start from principal components: the best linear codes at once, for both priors, and trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.fit import fit
from lungvae_core.training.pca_start import start_from_pca
from lungvae_core.vae.config import PRESETS, Config, TrainingConfig, override, preset
from lungvae_core.vae.model import VAE
from tests.conftest import few_guides

K = 6


def config_of(name: str, **changes: object) -> Config:
    tiny = {
        "width": 4,
        "dimensions": K,
        "epochs": 1,
        "batch_size": 32,
        "linear_path": True,
        "pca_start": True,
    }
    return override(preset(name), {**tiny, **changes})


def ramps(count: int = 300) -> np.ndarray:
    """Slices in HU of four smooth patterns, symmetric under flips, and faint noise."""
    generator = np.random.default_rng(0)
    y, x = (np.mgrid[:64, :64] - 31.5) / 32
    patterns = np.stack([x * x, y * y, np.cos(3 * x) * np.cos(2 * y), np.cos(5 * x) * np.cos(4 * y)])
    weights = generator.normal(0, 1, (count, 4)) * [120, 80, 50, 30]
    return np.tensordot(weights, patterns, 1) - 300 + generator.normal(0, 2, (count, 64, 64))


@pytest.mark.parametrize(("name", "share"), [("gvae", 0.1), ("dirvae", 0.4)])
def test_it_starts_with_the_codes_of_a_linear_optimum(name: str, share: float) -> None:
    hu = ramps()
    torch.manual_seed(0)
    vae = VAE(config_of(name).model)
    start_from_pca(vae, torch.tensor(hu), guided=2, training=TrainingConfig())
    vae.eval()
    codes = vae.encode_hu(hu)
    images = (hu.reshape(len(hu), -1) + 1000) / 1400
    scores = PCA(4, random_state=0).fit_transform(images)
    if name == "gvae":  # the first component lies behind the two guided dimensions, the others follow it
        assert np.abs(np.corrcoef(codes.T, scores.T)[2:6, K:].diagonal()) == pytest.approx(1, abs=0.05)
    assert LinearRegression().fit(codes, scores).score(codes, scores) > 0.8
    error = np.square(vae.decode_codes(vae.encode_hu(hu)) - images.reshape(-1, 64, 64)).mean()
    assert error < share * images.var(0).mean()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.long] if config.objective.guided else [])
        for name, config in PRESETS.items()
        if config.training.pca_start
    ],
)
def test_fewer_slices_than_dimensions_are_enough(tmp_path: Path, tiny_data: Path, name: str) -> None:
    data = SliceSet.open(tiny_data)
    dimensions = len(data) + 1
    config = config_of(name, **few_guides(name) | {"dimensions": dimensions})
    run, _ = fit(config, data, tmp_path / "run")
    row = run.metrics()[-1]
    assert np.isfinite(row["train"]["loss"])
    assert row["validation"]["mse"] < 0.05


@pytest.mark.long
def test_a_run_goes_on_from_there_and_resumes_what_it_trained(tmp_path: Path, tiny_data: Path) -> None:
    data = SliceSet.open(tiny_data)
    config = config_of("gvae-guided", epochs=2, **few_guides("gvae-guided"))
    whole, _ = fit(config, data, tmp_path / "whole")
    fit(config, data, tmp_path / "parts", until=1)
    resumed, _ = fit(config, data, tmp_path / "parts", resume=True)
    assert whole.metrics()[-1]["train"] == resumed.metrics()[-1]["train"]


@pytest.mark.parametrize("changes", [{"linear_path": False}, {"linear_rank": 2}])
def test_it_needs_a_full_linear_path(changes: dict) -> None:
    with pytest.raises(UserError, match="pca_start needs linear_path=true and linear_rank=0"):
        config_of("gvae", **changes)
