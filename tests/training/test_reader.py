"""The network that reads ratings off pictures while a VAE trains, and the steps that it teaches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from lungvae_core.data.slices import SliceSet
from lungvae_core.training.checkpoints import CHECKPOINT, READER, Run
from lungvae_core.training.fit import fit
from lungvae_core.training.lesions import normal_scores
from lungvae_core.training.reader import (
    detail_losses,
    draw_rated_steps,
    draw_view,
    fit_reader,
    load_reader,
    rated,
    rating_losses,
)
from lungvae_core.training.weights_file import load_tensors
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import normalise
from tests.conftest import blobs, few_guides

NAMES = ("diameter", "density", "edge", "elongation", "spiculation", "malignancy")


def test_ratings_are_what_is_not_measured() -> None:
    assert rated(NAMES) == [4, 5]
    rating, guide, size = draw_rated_steps(NAMES, torch.rand(2, 2000))
    assert set(guide.tolist()) == {4, 5}
    assert torch.equal(guide - 4, rating)
    assert size.min() < -1.9
    assert size.max() > 1.9


def test_a_step_without_effect_costs_the_weight_and_one_with_its_effect_nothing() -> None:
    rating, _, size = draw_rated_steps(NAMES, torch.rand(2, 20_000))
    still = rating_losses(torch.zeros(len(size), 2), rating, size, 50.0)
    assert float(still.mean()) == pytest.approx(50, rel=0.05)
    change = torch.nn.functional.one_hot(rating, 2) * size[:, None]
    assert rating_losses(change, rating, size, 50.0).numpy() == pytest.approx(0, abs=1e-4)


def test_views_are_of_the_same_kind_for_all_images_and_drawn_anew() -> None:
    x = torch.rand(2, 1, 64, 64)
    generator = torch.Generator().manual_seed(0)
    views = [draw_view(generator) for _ in range(8)]
    seen = [view(x) for view in views]
    assert all(one.shape == x.shape for one in seen)
    assert len({float(one[0, 0, 5, 9]) for one in seen}) > 4
    torch.testing.assert_close(views[0](x[1:]), seen[0][1:])


def test_fine_patterns_cost_and_smooth_changes_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.nn.functional.avg_pool2d(torch.rand(4, 1, 70, 70, generator=generator), 7, stride=1)
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    patterned = before + 0.1 * checks
    slope = before + 0.2 * torch.linspace(0, 1, 64)
    assert detail_losses(before, before, 50).max() == 0
    for alike in (slope, 2 * before, before.flip(3)):
        assert detail_losses(before, alike, 50).max() < 1
    assert detail_losses(before, patterned, 50).min() > 50
    assert detail_losses(patterned, before, 50).max() == 0


def small(**changes: object):
    return override(preset("gvae-guided"), {**few_guides("gvae-guided"), "width": 4, "epochs": 1, **changes})


@pytest.mark.long
def test_it_reads_what_it_learned_in_standard_deviations(tiny_data: Path, tmp_path: Path) -> None:
    data = SliceSet.open(tiny_data)
    run = Run.create(tmp_path / "run", small(rating_networks=2), data, device="cpu")
    hu, _, table = blobs(120)
    malignancy = table["malignancy_all"].str[0].astype(float).to_numpy()
    scores = np.full((120, 5), np.nan, np.float32)
    scores[:, 4:] = normal_scores(malignancy[:, None])
    scores[::9] = np.nan
    fit_reader(run, hu, scores, lambda share: None)
    reader = load_reader(run, torch.device("cpu"))
    x = normalise(torch.tensor(hu), run.config.model)[:, None]
    read = reader(x).numpy()
    own = torch.stack([reader(x, only) for only in range(2)])
    assert not torch.equal(own[0], own[1])
    torch.testing.assert_close(own.mean(0), torch.tensor(read), atol=1e-4, rtol=0)
    assert read.shape == (120, 1)
    assert read[np.isfinite(scores[:, 4])].std() == pytest.approx(1, abs=0.1)
    assert spearmanr(read[:, 0], malignancy)[0] > 0.6


@pytest.mark.long
def test_a_training_keeps_it_and_follows_it(tiny_data: Path, tmp_path: Path) -> None:
    losses = {}
    for weight in (0, 50):
        config = small(guided_ratings=weight, rating_dimensions=0)
        run, _ = fit(config, SliceSet.open(tiny_data), tmp_path / str(weight), device="cpu")
        assert run.has(READER) == bool(weight)
        losses[weight] = run.metrics()[0]["train"]["guided_loss"]
    assert losses[50] > losses[0] + 5


@pytest.mark.long
@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_the_encoder_reads_ratings_with_it_and_resumes_to_the_bit(
    tiny_data: Path, tmp_path: Path, name: str
) -> None:
    config = override(preset(name), {**few_guides(name), "width": 4, "epochs": 2})
    data = SliceSet.open(tiny_data)
    run, _ = fit(config, data, tmp_path / "whole", device="cpu")
    vae, reader = run.load_model(), load_reader(run, torch.device("cpu"))
    x = vae.images(np.asarray(data.slices[:20]))
    code = vae.latent.code(vae.posterior(x))
    own, _ = vae.latent.coordinates(code, 5)
    read = reader(x).clamp(-2, 2)  # beyond, a concentration meets its floor
    score = (own[:, 4] - vae.latent.coordinate_centre(5)).clamp(-2, 2)
    torch.testing.assert_close(score, read[:, 0], atol=0.1, rtol=0)

    other = override(config, {"rating_density": 0.1, "rating_gain": 2})
    before, _ = fit(other, data, tmp_path / "on", device="cpu", start=run, should_stop=lambda: True)
    begins = VAE(before.config.model).eval()
    kept, _ = load_tensors(before.folder / CHECKPOINT)
    begins.load_state_dict(
        {key.removeprefix("model."): each for key, each in kept.items() if key.startswith("model.")}
    )
    drawn = [each.decode_hu(each.encode_hu(np.asarray(data.slices[:20]))) for each in (vae, begins)]
    np.testing.assert_allclose(drawn[1], drawn[0], atol=0.5)  # HU

    fit(config, data, tmp_path / "parts", device="cpu", until=1)
    again, _ = fit(config, data, tmp_path / "parts", device="cpu", resume=True)
    for key, tensor in again.load_model().state_dict().items():
        assert torch.equal(tensor, vae.state_dict()[key]), key
