"""Classifiers of codes: what they read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.attention import Attentions, fit_attention, load_attentions, save_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import (
    Classifier,
    ClassifierConfig,
    fit_classifier,
    load_classifier,
    save_classifier,
)
from lungvae_core.training.inputs import Inputs, inputs_of
from lungvae_core.training.weights_file import load_network, save_tensors
from lungvae_core.vae.config import Config, override, preset
from lungvae_core.vae.latents import make_latent
from tests.training.test_attention import nodules

QUICK = ClassifierConfig(hidden=(8,), epochs=2)


def guided(prior: str) -> Config:
    return override(preset(prior), {"dimensions": 8, "guided": ("diameter", "malignancy")})


def codes_of(config: Config, count: int) -> np.ndarray:
    return np.stack([make_latent(config.model).draw(seed) for seed in range(count)])


@pytest.mark.parametrize("prior", ["gvae", "dirvae"])
def test_of_a_guided_model_it_reads_the_guided_dimensions_alone(prior: str) -> None:
    config = guided(prior)
    codes, latent = codes_of(config, 40), make_latent(config.model)
    labels = (np.arange(40) % 2).astype(float)
    model = fit_classifier(codes, labels, QUICK, inputs_of(config))
    free = np.stack([latent.valid(np.concatenate((code[:2], code[2:][::-1]))) for code in codes])
    np.testing.assert_allclose(model.logits(free), model.logits(codes), rtol=1e-4, atol=1e-5)
    moved = np.stack([latent.valid(np.concatenate((code[:2][::-1], code[2:]))) for code in codes])
    assert np.abs(model.logits(moved) - model.logits(codes)).max() > 1e-3
    everything = fit_classifier(codes, labels, QUICK, Inputs(prior == "dirvae"))
    assert np.abs(everything.logits(free) - everything.logits(codes)).max() > 1e-3


@pytest.mark.parametrize("prior", ["gvae", "dirvae"])
def test_saved_it_reads_the_same_and_one_of_before_reads_all(
    tiny_data: Path, tmp_path: Path, prior: str
) -> None:
    config = guided(prior)
    run = Run.create(tmp_path, config, SliceSet.open(tiny_data), device="cpu")
    codes, labels = codes_of(config, 40), (np.arange(40) % 2).astype(float)
    model = fit_classifier(codes, labels, QUICK, inputs_of(config))
    save_classifier(run, model)
    loaded = load_classifier(run)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.logits(codes), model.logits(codes))

    table, _, of_nodules = nodules(20, 3)
    many = codes_of(config, len(table))
    attention = fit_attention(many, table, of_nodules, seed=0, inputs=inputs_of(config))
    save_attentions(run, Attentions(attention, (), {}))
    again = load_attentions(run)
    assert again is not None
    assert again.final.inputs == inputs_of(config)

    before = fit_classifier(codes, labels, QUICK, Inputs(prior == "dirvae"))
    state = {"config": QUICK.model_dump(), "simplex": prior == "dirvae", "dimensions": 8}
    path = run.folder / "classifier.safetensors"
    save_tensors(path, before.state_dict(), state)
    loaded = load_network(path, lambda saved: Classifier.empty(run, saved))
    np.testing.assert_array_equal(loaded.logits(codes), before.logits(codes))
    save_tensors(path, model.state_dict(), {**state, "guided": 1})
    with pytest.raises(UserError, match="another model"):
        load_classifier(run)
