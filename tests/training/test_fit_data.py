"""What a training reads: what the configuration needs and nothing else, learned from training rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.fit_data import FitData, on_device
from lungvae_core.vae.config import override, preset
from tests.conftest import few_guides

TRAIN, HELD_OUT = np.arange(80), np.arange(80, 120)


def read(tiny_data: Path, name: str, **changes: object) -> FitData:
    config = override(preset(name), {"width": 4, "dimensions": 6, **few_guides(name), **changes})
    return on_device(config, SliceSet.open(tiny_data), TRAIN, HELD_OUT, torch.device("cpu"))


def test_a_plain_training_reads_slices_alone(tiny_data: Path) -> None:
    data = read(tiny_data, "gvae")
    np.testing.assert_array_equal(data.hu.numpy(), SliceSet.open(tiny_data).slices)
    assert data.hu.dtype == torch.int16
    assert (data.train.tolist(), data.held_out.tolist()) == (TRAIN.tolist(), HELD_OUT.tolist())
    assert list(data.keys) == ["patient_id", "nodule", "slice"]
    assert [data.masks, data.guides, data.guide_table, data.lesions, data.labels, data.targets] == [None] * 6


def test_masks_are_read_where_they_weigh_pixels(tiny_data: Path) -> None:
    data = read(tiny_data, "gvae", mask_focus=1)
    assert data.masks is not None
    np.testing.assert_array_equal(data.masks.numpy(), SliceSet.open(tiny_data).masks > 0)


def test_a_guided_training_reads_scores_and_lesions(tiny_data: Path) -> None:
    data = read(tiny_data, "gvae-guided")
    assert data.masks is None
    assert data.guides is not None
    assert data.guides.shape == (120, 5)
    assert data.guide_table is not None
    background, lesion = data.layers(torch.tensor([0, 7]))
    assert background.shape == lesion.shape == (2, 64, 64)
    # The disc is gone from the background.
    inside = torch.as_tensor(SliceSet.open(tiny_data).masks[[0, 7]] > 0)
    assert background[inside].mean() < -600
    assert data.hu[[0, 7]][inside].float().mean() > -100


def test_a_joint_training_reads_labels(tiny_data: Path) -> None:
    data = read(tiny_data, "gvae-joint")
    assert data.labels is not None
    assert data.targets is not None
    assert data.targets.shape == (120,)
    assert data.ratings is not None
    assert len(data.ratings) == 120


def test_data_without_what_is_needed_are_refused(tiny_data: Path) -> None:
    data = SliceSet.open(tiny_data)
    data.table["malignancy"] = 3
    config = override(preset("gvae"), {"width": 4, "dimensions": 6, "feature": 1.0})
    with pytest.raises(UserError):
        on_device(config, data, TRAIN, HELD_OUT, torch.device("cpu"))
