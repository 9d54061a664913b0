"""The outlines that a decoder of layers learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.outlines import outlines_of
from lungvae_core.data.properties import PROPERTIES, measure
from lungvae_core.data.slices import SliceSet
from lungvae_core.training.fit import fit
from lungvae_core.training.guided import MEASURED
from lungvae_core.training.lesions import Lesions, layer_loss, lesions_of, normal_scores, table_of
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.lesion import GRID, KINDS, slope_of
from lungvae_core.vae.networks import normalise
from tests.conftest import blobs, few_guides

MODEL = preset("gvae-guided").model


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, Lesions]:
    """Slices and masks, and what is known of all but the first."""
    hu, masks, _ = blobs(60)
    rows = np.arange(1, 60)
    outlines = outlines_of(hu[rows], masks[rows])
    measured = measure(hu[rows], outlines)
    values = np.full((60, len(KINDS)), np.nan, np.float32)
    keys = list(PROPERTIES)
    for at, kind in enumerate(KINDS):
        key, sign = MEASURED[kind]
        values[rows, at] = sign * measured[:, keys.index(key)]
    return hu, masks, lesions_of(outlines, values, rows, MODEL)


def test_inside_the_outline_is_inside_the_mask(case: tuple) -> None:
    _, masks, lesions = case
    inside = lesions.inside().numpy()[1:] > 0
    assert (inside != (masks[1:] > 0)).mean() < 0.01
    assert torch.isnan(lesions.width[0])


def test_layers_that_are_right_cost_nothing_and_slices_without_outline_none(case: tuple) -> None:
    hu, _, lesions = case
    outline = torch.sigmoid(slope_of(lesions.width)[:, None, None] * lesions.inside())
    level, lung = normalise(lesions.levels, MODEL)[:, :, None, None].expand(-1, -1, 64, 64).unbind(1)
    right = torch.stack((lung, level, outline), 1).nan_to_num(0.3)
    inside = lesions.inside()
    assert float(layer_loss(right, inside, lesions, MODEL, 4.0)) == pytest.approx(0, abs=1e-3)
    wrong = right.clone()
    wrong[0] = 1 - wrong[0]
    assert float(layer_loss(wrong, inside, lesions, MODEL, 4.0)) == pytest.approx(0, abs=1e-3)
    wrong[1:, 2] = 0
    expected = 4 * 4096 * float(outline[1:].nan_to_num(0).mean((1, 2)).sum()) / len(hu)
    assert float(layer_loss(wrong, inside, lesions, MODEL, 4.0)) == pytest.approx(expected, rel=0.05)


def test_background_has_no_lesion_and_the_lesion_no_lung(case: tuple) -> None:
    hu, _, lesions = case
    slices = torch.tensor(hu).float()
    background, lesion = lesions.layers(slices)
    torch.testing.assert_close(background[0], slices[0])  # without an outline both are the slice
    torch.testing.assert_close(lesion[0], slices[0])
    has = ~torch.isnan(lesions.width)
    middle = (slice(None), 31, 31)
    torch.testing.assert_close(background[has][middle], lesions.levels[has, 1])
    torch.testing.assert_close(background[has][:, 0, 0], slices[has][:, 0, 0])
    torch.testing.assert_close(lesion[has][middle], slices[has][middle])
    torch.testing.assert_close(lesion[has][:, 0, 0], lesions.levels[has, 0])


def test_normal_scores_keep_order_ties_and_gaps() -> None:
    scores = normal_scores(np.array([[3.0, 1.0], [1.0, 1.0], [np.nan, 1.0], [2.0, np.nan]]))
    assert np.argsort(scores[[0, 1, 3], 0]).tolist() == [1, 2, 0]
    assert np.isnan(scores[2, 0])
    assert scores[:3, 1] == pytest.approx(0, abs=1e-6)


def test_the_table_holds_the_values_at_normal_scores() -> None:
    values = np.random.default_rng(0).normal([10, -300, -2, 0.5, 3], [2, 90, 0.5, 0.1, 1], (20_000, 5))
    values[::7, 2] = np.nan
    table = table_of(values)
    assert table.shape == (4, GRID)
    assert (table.diff(dim=1) >= 0).all()
    assert table[:, GRID // 2].numpy() == pytest.approx([10, -300, -2, 0.5], rel=0.03)


@pytest.mark.long
@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_a_training_learns_the_outlines(name: str, tiny_data: Path, tmp_path: Path) -> None:
    changes = {
        **few_guides("gvae-guided"),
        "linear_path": True,
        "lesion_layer": True,
        "guided_layers": 4,
        "guided_ratings": 0,
        "guided_weight": 0,
        "width": 4,
        "epochs": 8,
        "batch_size": 16,
        "learning_rate": 0.01,
    }
    run, finished = fit(
        override(preset(name), changes), SliceSet.open(tiny_data), tmp_path / "run", device="cpu"
    )
    assert finished
    losses = [row["train"]["guided_loss"] for row in run.metrics()]
    assert losses[-1] < 0.8 * losses[0]
    assert run.load_model().decoder.table.diff(dim=1).min() >= 0
