"""Figures of held-out slices in the middle of a training, and the words for a collapse."""

from __future__ import annotations

import pytest
import torch

from lungvae_core.training.validate import DEAD, signs_of_collapse, validate
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import normalise
from lungvae_core.vae.objective import image_metrics, objective


def small(name: str) -> Config:
    return override(preset(name), {"width": 4, "dimensions": 6, "free_bits": 0})


def some(name: str, count: int) -> tuple[Config, VAE, torch.Tensor]:
    config = small(name)
    torch.manual_seed(0)
    return config, VAE(config.model), torch.randint(-1000, 400, (count, 64, 64), dtype=torch.int16)


@pytest.mark.parametrize("name", ["gvae", "dirvae"])
def test_figures_are_the_means_over_all_slices_however_they_are_cut(name: str) -> None:
    config, vae, hu = some(name, 11)
    figures, units, _ = validate(vae, hu, config, batch_size=4)
    whole, whole_units, _ = validate(vae, hu, config)
    assert figures == pytest.approx(whole, rel=1e-4)
    assert units["kl"] == pytest.approx(whole_units["kl"], rel=1e-2)
    with torch.no_grad():
        x = normalise(hu, config.model)[:, None]
        posterior = vae.posterior(x)
        y = vae.reconstruct(vae.latent.code(posterior))
        for metric, values in image_metrics(x, y).items():
            assert figures[metric] == pytest.approx(float(values.mean()), rel=1e-4)
        assert figures["kl"] == pytest.approx(float(vae.latent.kl(posterior).mean()), rel=1e-4)
        loss = objective(x, y, posterior, vae.latent, config, beta=config.objective.beta).loss
        assert figures["loss"] == pytest.approx(float(loss), rel=1e-4)
        each = vae.latent.kl_per_unit(posterior).mean(0)
    assert units["kl"] == pytest.approx(each.tolist(), rel=1e-3, abs=1e-6)
    assert ("alpha0" in figures) == (name == "dirvae")
    if name == "dirvae":
        assert figures["alpha0"] == pytest.approx(float(posterior.concentration.sum(1).mean()), rel=1e-4)


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_units_and_samples_have_the_sizes_promised(count: int) -> None:
    config, vae, hu = some("dirvae", count)
    vae.train()
    figures, units, samples = validate(vae, hu, config)
    assert not vae.training
    assert units.keys() == {"kl", "column_norm"}
    assert [len(values) for values in units.values()] == [6, 6]
    assert samples.shape == (2, min(8, count), 64, 64)
    assert ((samples >= 0) & (samples <= 1)).all()
    assert 0 <= figures["active_units"] <= 6


def test_validating_draws_nothing_and_changes_nothing() -> None:
    config, vae, hu = some("dirvae", 5)
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    assert validate(vae, hu, config)[0] == validate(vae, hu, config)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in vae.state_dict().items())


def test_dead_columns_are_counted() -> None:
    config, vae, hu = some("gvae", 3)
    assert validate(vae, hu, config)[0]["dead_columns"] == 0
    with torch.no_grad():
        vae.decoder.network.stem.weight[:, [1, 4]] *= 1e-6
    figures, units, _ = validate(vae, hu, config)
    assert figures["dead_columns"] == 2
    assert [number for number, norm in enumerate(units["column_norm"]) if norm < DEAD] == [1, 4]


def test_collapse_is_put_in_words_by_its_two_faces() -> None:
    config = small("gvae")
    assert signs_of_collapse(config, {"active_units": 6, "dead_columns": 0}) == []
    assert signs_of_collapse(config, {"active_units": 3, "dead_columns": 0}) == []
    (whole,) = signs_of_collapse(config, {"active_units": 0, "dead_columns": 0})
    assert "has collapsed" in whole
    assert "lower beta" in whole
    (part,) = signs_of_collapse(config, {"active_units": 2, "dead_columns": 0})
    assert "only 2 of 6 dimensions" in part
    (dead,) = signs_of_collapse(config, {"active_units": 6, "dead_columns": 1})
    assert "does not use 1 of 6 dimensions" in dead
    assert len(signs_of_collapse(config, {"active_units": 0, "dead_columns": 6})) == 2
    assert signs_of_collapse(config, {}) == []  # figures of runs older than these
