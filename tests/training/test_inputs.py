"""Which numbers of codes classifiers read, and that a file keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.attention import Attentions, fit_attention, load_attentions, save_attentions
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.classifier import (
    ClassifierConfig,
    fit_classifier,
    load_classifier,
    save_classifier,
)
from lungvae_core.training.ensemble import fit_ensemble, load_ensemble, save_ensemble
from lungvae_core.training.inputs import Inputs, inputs_of
from lungvae_core.training.weights_file import load_tensors, save_tensors
from lungvae_core.vae.config import override, preset
from tests.training.test_attention import nodules

K, QUICK = 6, ClassifierConfig(hidden=(8,), epochs=2)
AXES = np.concatenate((np.full((1, K), 0.5), np.eye(K)[:2] * 3)).astype(np.float32)


def some_codes(count: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, K)).astype(np.float32)


@pytest.fixture
def run(tiny_data: Path, tmp_path: Path) -> Run:
    return Run.create(
        tmp_path, override(preset("gvae"), {"dimensions": K}), SliceSet.open(tiny_data), device="cpu"
    )


def test_of_axes_only_what_lies_along_them_is_read() -> None:
    inputs, codes = Inputs(axes=AXES), torch.tensor(some_codes(5))
    read = inputs.of(codes, torch.tensor(AXES))
    assert inputs.count(K) == 2
    torch.testing.assert_close(read, 3 * (codes[:, :2] - 0.5))
    assert inputs_of(preset("gvae")).count(256) == 256
    assert inputs_of(preset("gvae-guided")).count(256) == 9


def test_whatever_reads_codes_keeps_its_axes_in_its_file(run: Run) -> None:
    inputs, codes = Inputs(axes=AXES), some_codes(60)
    labels, patients = (np.arange(60) % 2).astype(float), np.array([f"P-{at // 3}" for at in range(60)])
    beside = codes + np.pad(np.ones((1, K - 2)), ((0, 0), (2, 0)))  # what no axis sees

    classifier = fit_classifier(codes, labels, QUICK, inputs)
    save_classifier(run, classifier)
    loaded = load_classifier(run)
    assert loaded is not None
    np.testing.assert_array_equal(loaded.logits(codes), classifier.logits(codes))
    np.testing.assert_allclose(loaded.logits(beside), loaded.logits(codes), atol=1e-5)

    ensemble = fit_ensemble(codes, labels, patients, QUICK, inputs, members=6)
    assert ensemble is not None
    save_ensemble(run, ensemble)
    again = load_ensemble(run)
    assert again is not None
    np.testing.assert_allclose(again.scores(codes), ensemble.scores(codes), atol=2e-3)  # in half precision
    np.testing.assert_allclose(again.scores(beside), again.scores(codes), atol=2e-3)

    table, _, of_nodules = nodules(20, 3)
    many = some_codes(len(table))
    attention = fit_attention(many, table, of_nodules, seed=0, inputs=inputs)
    save_attentions(run, Attentions(attention, (), {}))
    attentions = load_attentions(run)
    assert attentions is not None
    expected = attention.logits(many, table)["logit"]
    np.testing.assert_array_equal(attentions.final.logits(many, table)["logit"], expected)


@pytest.mark.parametrize("axes", [-1, 3, 10**9, "2", 1.5])
def test_a_file_whose_axes_are_not_those_it_names_is_refused(run: Run, axes: object) -> None:
    save_classifier(run, fit_classifier(some_codes(20), np.arange(20.0) % 2, QUICK, Inputs(axes=AXES)))
    path = run.folder / "classifier.safetensors"
    tensors, state = load_tensors(path)
    save_tensors(path, tensors, {**state, "axes": axes})
    with pytest.raises(UserError, match="damaged"):
        load_classifier(run)
