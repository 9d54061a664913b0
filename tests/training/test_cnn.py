"""The small supervised network: it learns what is there, by its seed, from its labels alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lungvae_core.errors import UserError
from lungvae_core.statistics.roc import auc
from lungvae_core.training.cnn import CnnConfig, fit_cnn
from tests.conftest import blobs

SMALL = CnnConfig(width=4, epochs=5, batch_size=16)


def discs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Slices of discs, and whether each is larger than most."""
    hu, masks, _ = blobs(count, seed)
    area = masks.reshape(count, -1).sum(1)
    return hu, (area > np.median(area)).astype(float)


def test_it_tells_large_discs_from_small_ones_of_other_patients() -> None:
    hu, labels = discs(200, 0)
    other, truth = discs(100, 1)
    assert auc(truth, fit_cnn(hu, labels, seed=0, config=SMALL).logits(other)) > 0.9


def test_a_seed_names_the_network_and_nothing_else_is_drawn() -> None:
    hu, labels = discs(60, 0)
    config = CnnConfig(width=4, epochs=1)
    state = torch.get_rng_state()
    first = fit_cnn(hu, labels, seed=3, config=config).logits(hu)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)
    assert np.array_equal(first, fit_cnn(hu, labels, seed=3, config=config).logits(hu))
    assert not np.allclose(first, fit_cnn(hu, labels, seed=4, config=config).logits(hu))


def test_a_mirrored_slice_has_the_same_logit() -> None:
    hu, labels = discs(60, 0)
    hu = hu + np.arange(64, dtype=np.int16)  # no longer alike in both halves
    model = fit_cnn(hu, labels, seed=0, config=CnnConfig(width=4, epochs=1))
    assert np.allclose(model.logits(hu), model.logits(hu[:, :, ::-1].copy()), atol=1e-4)
    assert np.allclose(model.logits(hu), model.logits(hu[:, ::-1].copy()), atol=1e-4)


def test_a_single_class_or_an_unknown_label_is_refused() -> None:
    hu, labels = discs(10, 0)
    for wrong in (np.ones(10), np.where(labels == 1, np.nan, 0.0)):
        with pytest.raises(UserError, match="both malignant and benign"):
            fit_cnn(hu, wrong, seed=0, config=SMALL)
