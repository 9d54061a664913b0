"""Augmentation: off is nothing, mirrors are exact, geometry invents no value, every draw repeats."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lungvae_core.training.augment import Draws, augment, augment_masks, draw
from lungvae_core.vae.config import TrainingConfig
from tests.conftest import blobs

OFF = TrainingConfig(flips=False)
ALL = TrainingConfig(flips=True, quarter_turns=True, rotate_degrees=30, shift_px=4, jitter_hu=40, noise_hu=60)


def still(count: int) -> Draws:
    """Draws that change nothing."""
    return draw(count, OFF)


def changed(draws: Draws, **values: Tensor) -> Draws:
    return draws._replace(**values)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def hu() -> Tensor:
    """(10, 64, 64) discs in noisy lung, no two pixels' places alike."""
    return torch.tensor(blobs(10)[0]).float() + torch.linspace(0, 20, 64 * 64).view(64, 64)


def test_switched_off_gives_the_very_input(hu: Tensor) -> None:
    assert augment(hu, OFF, draw(10, OFF)) is hu
    everything_on = augment(hu, ALL, still(10))  # but nothing drawn: exactly nothing happens
    assert torch.equal(everything_on, hu)


def test_drawing_nothing_leaves_the_generator_alone() -> None:
    generator = seeded()
    draw(10, OFF, generator)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=seeded()))


def test_mirrors_move_whole_pixels(hu: Tensor) -> None:
    config = TrainingConfig(flips=True)
    both = torch.tensor([[False, False], [True, False], [False, True], [True, True]])
    found = augment(hu[:4], config, changed(still(4), flips=both))
    expected = [hu[0], hu[1].fliplr(), hu[2].flipud(), hu[3].rot90(2)]
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    flips = draw(4000, config, seeded()).flips.float()
    assert flips.mean(0) == pytest.approx([0.5, 0.5], abs=0.04)
    assert (flips[:, 0] * flips[:, 1]).mean() == pytest.approx(0.25, abs=0.04)


def test_quarter_turns_move_whole_pixels(hu: Tensor) -> None:
    config = TrainingConfig(flips=False, quarter_turns=True)
    turned = augment(hu[:4], config, changed(still(4), quarters=torch.arange(4)))
    for quarters, (one, other) in enumerate(zip(turned, hu[:4], strict=True)):
        assert torch.equal(one, other.rot90(quarters))
    drawn = draw(4000, config, seeded()).quarters
    assert drawn.bincount(minlength=4).float() / 4000 == pytest.approx([0.25] * 4, abs=0.04)


@pytest.mark.parametrize("quarters", [-1, 1, 2, 3])
def test_a_rotation_by_a_quarter_is_rot90(hu: Tensor, quarters: int) -> None:
    config = TrainingConfig(flips=False, rotate_degrees=180)
    found = augment(hu, config, changed(still(10), angle=torch.full((10,), 90.0 * quarters)))
    assert torch.allclose(found, hu.rot90(quarters, (1, 2)), atol=0.05)  # HU


def test_a_shift_by_whole_pixels_is_exact_and_mirrors_the_border(hu: Tensor) -> None:
    config = TrainingConfig(flips=False, shift_px=16)
    found = augment(hu, config, changed(still(10), shift=torch.tensor([[3.0, -5.0]]).expand(10, 2)))
    assert torch.equal(found[:, 3:, :-5], hu[:, :-3, 5:])
    assert torch.equal(found[:, :3, :-5], hu[:, :3, 5:].flip(1))
    assert torch.equal(found[:, 3:, -5:], hu[:, :-3, -5:].flip(2))


def test_turning_is_about_the_middle_and_then_shifts() -> None:
    hu = torch.full((1, 64, 64), -850.0)
    hu[0, 28:36, 44:52] = 30  # centre (31.5, 47.5): 16 pixels to the right of the middle
    draws = changed(still(1), angle=torch.tensor([90.0]), shift=torch.tensor([[0.0, 4.0]]))
    found = augment(hu, ALL, draws)[0]
    assert found[12:20, 32:40].min() > 29.9  # 16 above the middle, then 4 to the right
    assert found.sum() == pytest.approx(float(hu.sum()), rel=1e-4)


def test_geometry_stays_finite_within_range_and_keeps_the_lung(hu: Tensor) -> None:
    config = TrainingConfig(rotate_degrees=180, shift_px=16)
    found = augment(hu, config, draw(10, config, seeded()))
    assert found.isfinite().all()
    low, high = (value[:, None, None] for value in (hu.amin((1, 2)), hu.amax((1, 2))))
    assert (found >= low - 1e-3).all()
    assert (found <= high + 1e-3).all()
    lung = torch.full((5, 64, 64), -850.0) + 30 * torch.randn(5, 64, 64, generator=seeded(1))
    moved = augment(lung, config, draw(5, config, seeded()))
    assert moved.mean((1, 2)) == pytest.approx(lung.mean((1, 2)), abs=2)  # HU: no air came in


def test_draws_stay_within_the_settings() -> None:
    draws = draw(5000, ALL, seeded())
    for values, most in ((draws.angle, 30), (draws.shift, 4), (draws.offset, 40)):
        assert values.abs().max() <= most
        assert values.min() < -0.95 * most
        assert values.max() > 0.95 * most
        assert values.mean() == pytest.approx(0, abs=0.05 * most)
    assert draws.noise.min() >= 0
    assert draws.noise.max() <= 60
    assert draws.noise.mean() == pytest.approx(30, abs=1)


def test_an_offset_is_one_for_the_slice(hu: Tensor) -> None:
    config = TrainingConfig(flips=False, jitter_hu=40)
    draws = draw(10, config, seeded())
    added = augment(hu, config, draws) - hu
    assert torch.allclose(added, draws.offset[:, None, None].expand_as(added), atol=1e-3)
    assert len(draws.offset.unique()) == 10


def test_noise_is_white_normal_and_another_in_every_slice() -> None:
    config = TrainingConfig(flips=False, noise_hu=60)
    draws = draw(400, config, seeded())
    noise = augment(torch.zeros(400, 64, 64), config, draws)
    assert noise.std((1, 2)) == pytest.approx(draws.noise, rel=0.06, abs=1e-3)
    z = noise / draws.noise[:, None, None]
    assert z.mean() == pytest.approx(0, abs=0.004)
    assert z.std() == pytest.approx(1, abs=0.004)
    assert (z**4).mean() == pytest.approx(3, abs=0.03)
    for apart in (z[:, 1:] * z[:, :-1], z[:, :, 1:] * z[:, :, :-1], z[1:] * z[:-1], z[:, :32] * z[:, 32:]):
        assert apart.mean() == pytest.approx(0, abs=0.005)
    assert len(z[:, 0, 0].unique()) == 400


def test_the_same_generator_gives_the_same_and_the_input_is_left_alone(hu: Tensor) -> None:
    before = hu.clone()
    one, same, other = (augment(hu, ALL, draw(10, ALL, seeded(seed))) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert torch.equal(hu, before)
    torch.manual_seed(1)
    assert torch.equal(augment(hu, ALL, draw(10, ALL)), one)


def test_a_process_with_its_rows_makes_its_part_of_the_whole(hu: Tensor) -> None:
    draws = draw(10, ALL, seeded())
    whole = augment(hu, ALL, draws)
    parts = [augment(hu[part], ALL, draws.rows(part)) for part in (slice(0, 3), slice(3, 9), slice(9, 10))]
    assert [len(part) for part in parts] == [3, 6, 1]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-3)
    every_other = torch.arange(0, 10, 2)
    assert torch.allclose(augment(hu[every_other], ALL, draws.rows(every_other)), whole[::2], atol=1e-3)


def test_masks_move_with_their_slices() -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    masks = torch.tensor(((y - 6) ** 2 + (x + 4) ** 2 < 64), dtype=torch.float32).repeat(5, 1, 1)
    slices = 900 * masks - 850
    draws = draw(5, ALL, seeded())
    still = ALL.model_copy(update={"jitter_hu": 0.0, "noise_hu": 0.0})
    moved = augment_masks(masks, ALL, draws)
    torch.testing.assert_close(900 * moved - 850, augment(slices, still, draws), atol=0.01, rtol=0)
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_a_batch_of_one_and_of_none(hu: Tensor) -> None:
    for count in (0, 1):
        found = augment(hu[:count], ALL, draw(count, ALL, seeded()).to("cpu"))
        assert found.shape == (count, 64, 64)
        assert found.dtype == torch.float32


def test_draws_follow_the_slices_to_their_device(hu: Tensor) -> None:
    found = augment(hu.to("meta"), ALL, draw(10, ALL, seeded()))  # a device without a machine; mixing raises
    assert (found.device.type, found.shape) == ("meta", hu.shape)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_makes_what_the_cpu_makes(hu: Tensor) -> None:
    draws = draw(10, ALL, seeded())
    found = augment(hu.cuda(), ALL, draws).cpu()
    assert torch.allclose(found, augment(hu, ALL, draws), atol=0.1)  # HU
