"""Edited slices: one thing of a lesion changes by as much as was asked, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lungvae_core.data.outlines import outlines_of, segment
from lungvae_core.data.properties import PROPERTIES, deviations, measure
from lungvae_core.data.slices import SliceSet
from lungvae_core.training.edits import (
    KINDS,
    Lesions,
    Steps,
    draw_steps,
    edit,
    edit_loss,
    lesions_of,
    normal_scores,
)
from lungvae_core.training.fit import fit
from lungvae_core.training.guided import MEASURED
from lungvae_core.vae.config import override, preset
from lungvae_core.vae.latents import make_latent


def ellipses(count: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Slices (N, 64, 64) HU of ellipses in lung and their masks, of any size, density, edge and shape."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.75
    radius, ratio, turn = (
        random.uniform(3, 12, count),
        random.uniform(1, 2.5, count),
        random.uniform(0, 3, count),
    )
    width, level = random.uniform(0.8, 3, count), random.uniform(-500, 50, count)
    across = np.cos(turn)[:, None, None] * x + np.sin(turn)[:, None, None] * y
    along = np.cos(turn)[:, None, None] * y - np.sin(turn)[:, None, None] * x
    longer = np.sqrt(ratio)[:, None, None]
    depth = (1 - np.hypot(across / longer, along * longer) / radius[:, None, None]) * radius[:, None, None]
    share = np.clip(depth / width[:, None, None] + 0.5, 0, 1)
    slices = -860 + share * (level + 860)[:, None, None] + random.normal(0, 10, (count, 64, 64))
    return slices.astype(np.float32), (depth > 0).astype(np.uint8)


@pytest.fixture(scope="module")
def case() -> tuple[torch.Tensor, Lesions, np.ndarray]:
    """Slices, what edits know of them, and what is measured of them as they are."""
    hu, masks = ellipses()
    measured = measure(hu, outlines_of(hu, masks))
    names = list(PROPERTIES)
    values = np.stack([sign * measured[:, names.index(key)] for key, sign in map(MEASURED.get, KINDS)], 1)
    config = override(preset("gvae-guided"), {"guided": KINDS})
    lesions = lesions_of(hu, masks, values, config, torch.device("cpu"))
    return torch.tensor(hu), lesions, measure(hu, segment(hu))


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_moves_its_property_and_little_else(kind: str, case: tuple) -> None:
    hu, lesions, before = case
    at, names = KINDS.index(kind), list(PROPERTIES)
    scale = deviations(before)
    changes = []
    for target in (-1.0, 1.0):
        end = torch.full((len(hu),), target)
        steps = Steps(torch.full((len(hu),), at), lesions.scores[:, at], end)
        edited = edit(hu, lesions, steps, KINDS).numpy()
        changes.append(measure(edited, segment(edited)))
    low, high = changes
    moved = np.nanmedian((high - low) / scale, axis=0)
    key, sign = MEASURED[kind]
    own = names.index(key)
    assert sign * moved[own] > 1  # two normal scores apart
    others = [other for other, _ in MEASURED.values() if other != key] + ["right_px", "down_px"]
    assert max(abs(moved[names.index(key)]) for key in others) < 0.15 * abs(moved[own])
    around = names.index("around_hu")
    assert abs(np.nanmedian(high[:, around] - low[:, around])) < 20  # HU; a large lesion's crop has less lung


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_and_no_outline_leave_the_slice(kind: str, case: tuple) -> None:
    hu, lesions, _ = case
    guide = torch.full((len(hu),), KINDS.index(kind))
    start = lesions.scores[:, KINDS.index(kind)]
    inner = start.abs() < 2  # beyond, a value is that of the slider's end
    still = edit(hu, lesions, Steps(guide, start, start), KINDS)
    assert (still - hu)[inner].abs().max() < 60  # resampled at its own place
    assert (still - hu)[inner].abs().mean() < 1
    nothing = torch.full_like(start, torch.nan)
    assert (edit(hu, lesions, Steps(guide, nothing, start), KINDS) - hu).abs().mean() < 1
    steps = Steps(guide, nothing, start)
    assert steps.size.abs().max() == 0
    assert edit_loss(hu[:, None] + 1, hu[:, None], lesions, steps, 1.0) == 0


def test_what_lies_far_from_the_lesion_stays(case: tuple) -> None:
    hu, lesions, _ = case
    small = lesions.radius.amax(1) < 8
    steps = draw_steps(lesions, KINDS, torch.rand(3, len(hu), generator=torch.Generator().manual_seed(0)))
    corner = (edit(hu, lesions, steps, KINDS) - hu)[small][:, :4, :4]
    assert corner.abs().max() < 1


def test_steps_go_anywhere_that_the_slider_goes(case: tuple) -> None:
    _, lesions, _ = case
    rated = replace(lesions, scores=torch.cat((torch.zeros(len(lesions.scores), 1), lesions.scores), dim=1))
    many = rated.rows(torch.zeros(4000, dtype=torch.long))
    steps = draw_steps(many, ("texture", *KINDS), torch.rand(3, 4000))
    assert set(steps.guide.tolist()) == {1, 2, 3, 4}  # a rating cannot be edited
    assert steps.end.min() < -2 < 2 < steps.end.max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_without_effect_costs_the_weight(kind: str, case: tuple) -> None:
    hu, lesions, _ = case
    drawn = torch.rand(3, len(hu), generator=torch.Generator().manual_seed(1))
    steps = draw_steps(lesions, KINDS, drawn, along=KINDS.index(kind))
    change = (edit(hu, lesions, steps, KINDS).clamp(-1000, 400) - hu.clamp(-1000, 400))[:, None] / 1400
    nothing = edit_loss(torch.zeros_like(change), change, lesions, steps, 200.0) / len(hu)
    assert float(nothing) == pytest.approx(200, rel=0.5)
    assert edit_loss(change, change, lesions, steps, 200.0) == 0


def test_normal_scores_keep_order_ties_and_gaps() -> None:
    scores = normal_scores(np.array([[3.0, 1.0], [1.0, 1.0], [np.nan, 1.0], [2.0, np.nan]]))
    assert np.argsort(scores[[0, 1, 3], 0]).tolist() == [1, 2, 0]
    assert np.isnan(scores[2, 0])
    assert scores[:3, 1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_a_step_moves_one_coordinate_by_its_size(name: str) -> None:
    latent = make_latent(override(preset(name), {"dimensions": 12}).model)
    code = torch.tensor(np.stack([latent.draw(seed) for seed in range(6)])).clamp(
        min=1e-3 if "dir" in name else -9
    )
    guide, size = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([1.0, -1.0, 0.5, 0.0, 2.0, -2.0])
    own, free = latent.coordinates(code, 3)
    moved_own, moved_free = latent.coordinates(latent.with_step(code, guide, size), 3)
    assert torch.allclose(moved_free, free, atol=1e-4)
    assert torch.allclose(moved_own - own, torch.nn.functional.one_hot(guide, 3) * size[:, None], atol=1e-4)


def test_guides_that_cannot_be_edited_are_trained_without(tiny_data: Path, tmp_path: Path) -> None:
    changes = {"width": 4, "dimensions": 6, "linear_path": False, "pca_start": False, "epochs": 1}
    lines = {}
    for weight in (0, 300):
        config = override(preset("gvae-guided"), {**changes, "guided": "texture", "guided_edits": weight})
        run, _ = fit(config, SliceSet.open(tiny_data), tmp_path / f"{weight}", device="cpu")
        lines[weight] = run.metrics()[0]["train"]
    assert lines[0] == lines[300]


@pytest.mark.parametrize("name", ["gvae-guided", "dirvae-guided"])
def test_a_training_with_edits_learns_from_them(name: str, tiny_data: Path, tmp_path: Path) -> None:
    small = {
        "width": 4,
        "dimensions": 6,
        "linear_path": False,
        "pca_start": False,
        "epochs": 3,
        "batch_size": 16,
    }
    guides = {"guided": "diameter,density", "guided_anchor": 5}
    losses = {}
    for weight in (0, 1):
        config = override(preset(name), {**small, **guides, "guided_edits": weight})
        run, finished = fit(config, SliceSet.open(tiny_data), tmp_path / f"{weight}", device="cpu")
        assert finished
        losses[weight] = [row["train"]["guided_loss"] for row in run.metrics()]
    assert losses[1][0] > losses[0][0]  # edits are part of it
    assert losses[1][-1] < losses[1][0]
