"""Augmentation of training slices that suits CT: flips, turns, small shifts, offsets and noise in HU.

Sampling is separate from applying (as in torchio): `draw` makes a batch's random numbers on the CPU,
`augment` applies them on any device. So a CPU, a GPU and a resumed training see the same changes, and of
several processes that draw for the whole batch each applies its own rows.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lungvae_core.data.slices import SIZE
from lungvae_core.vae.config import TrainingConfig

_MASK = 0xFFFFFFFF


class Draws(NamedTuple):
    """The random changes of N slices; row i of every tensor belongs to slice i. 0 where switched off."""

    flips: Tensor  # (N, 2) bool: mirrored left-right, up-down
    quarters: Tensor  # (N,) int64 in 0..3: quarter turns, counterclockwise on screen
    angle: Tensor  # (N,) float32 degrees, counterclockwise on screen
    shift: Tensor  # (N, 2) float32 pixels down and right, after the turn
    offset: Tensor  # (N,) float32 HU added to the whole slice
    noise: Tensor  # (N,) float32 HU, the noise's standard deviation
    seed: Tensor  # (N, 2) int64 in 0..2**32-1, the noise's own

    def rows(self, rows: slice | Tensor) -> Draws:
        """The draws of these slices only: those of one process, or of one slice as slice(i, i + 1)."""
        return Draws(*(each[rows] for each in self))

    def to(self, device: torch.device | str) -> Draws:
        """The same draws on another device."""
        return Draws(*(each.to(device) for each in self))


def draw(count: int, config: TrainingConfig, generator: torch.Generator | None = None) -> Draws:
    """Draws for `count` slices from a CPU generator (None: PyTorch's own).

    A switched-off change draws nothing from the generator.
    """

    def either_way(most: float, *shape: int) -> Tensor:
        if not most:
            return torch.zeros(shape)
        return (2 * torch.rand(shape, generator=generator) - 1) * most

    flips = torch.zeros(2, count, dtype=torch.bool)
    if config.flips:
        flips = torch.rand(2, count, generator=generator) < 0.5
    quarters = torch.zeros(count, dtype=torch.int64)
    if config.quarter_turns:
        quarters = torch.randint(4, (count,), generator=generator)
    angle = either_way(config.rotate_degrees, count)
    shift = either_way(config.shift_px, count, 2)
    offset = either_way(config.jitter_hu, count)
    noise, seed = torch.zeros(count), torch.zeros(count, 2, dtype=torch.int64)
    if config.noise_hu:
        noise = torch.rand(count, generator=generator) * config.noise_hu
        seed = torch.randint(_MASK + 1, (count, 2), generator=generator)
    return Draws(flips.T.contiguous(), quarters, angle, shift, offset, noise, seed)


def augment(hu: Tensor, config: TrainingConfig, draws: Draws) -> Tensor:
    """Slices hu (N, 64, 64) float32 HU, before the window, changed as `draws` say, on hu's device.

    `config` says what is switched on; with nothing on, `hu` itself comes back. In order: mirrors and quarter
    turns, which move whole pixels; one linear interpolation for turn and shift together, beyond the crop's
    border its mirror image, so that there is no invented air; an offset in HU; noise. Turning and shifting
    keep every value within the slice's range, and smooth a little, as any interpolation does; where both are
    switched off nothing is interpolated.

    The noise is white, each pixel's its own, while a scanner's is correlated over neighbouring pixels by its
    reconstruction kernel. It makes a model robust to grain, not to other kernels.
    """
    moves = config.rotate_degrees or config.shift_px
    if not (config.flips or config.quarter_turns or moves or config.jitter_hu or config.noise_hu):
        return hu
    draws = draws.to(hu.device)
    if config.flips:
        hu = torch.where(draws.flips[:, 0, None, None], hu.flip(2), hu)
        hu = torch.where(draws.flips[:, 1, None, None], hu.flip(1), hu)
    if config.quarter_turns:
        quarters = draws.quarters[:, None, None]
        hu = torch.where(quarters % 2 == 1, hu.rot90(1, (1, 2)), hu)
        hu = torch.where(quarters >= 2, hu.flip((1, 2)), hu)
    if moves:
        hu = _move(hu, draws.angle, draws.shift)
    if config.jitter_hu:
        hu = hu + draws.offset[:, None, None]
    if config.noise_hu:
        hu = hu + draws.noise[:, None, None] * _normal(draws.seed)
    return hu


def augment_masks(masks: Tensor, config: TrainingConfig, draws: Draws) -> Tensor:
    """Masks (N, 64, 64) float32 of 0..1, moved as `augment` moves their slices; their borders turn soft."""
    return augment(masks, config.model_copy(update={"jitter_hu": 0.0, "noise_hu": 0.0}), draws)


def _move(hu: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """Slices (N, 64, 64) turned about their middle by `angle` (N,), then shifted by `shift` (N, 2)."""
    middle = torch.arange(SIZE, device=hu.device) - (SIZE - 1) / 2  # pixels from the middle; exact in float32
    row = middle[None, :, None] - shift[:, 0, None, None]  # (N, 64, 1)
    column = middle[None, None, :] - shift[:, 1, None, None]  # (N, 1, 64)
    radians = angle[:, None, None] * (math.pi / 180)
    cosine, sine = radians.cos(), radians.sin()
    # Where each pixel comes from. Without align_corners, and as half the side is a power of two, pixels
    # become grid_sample's units and pixels again without rounding: an unmoved pixel is exactly itself.
    source = torch.stack((cosine * column - sine * row, sine * column + cosine * row), dim=3) / (SIZE / 2)
    return F.grid_sample(hu[:, None], source, "bilinear", "reflection", align_corners=False)[:, 0]


def _normal(seed: Tensor) -> Tensor:
    """(N, 64, 64) float32 standard normal values from seeds (N, 2), on their device.

    Counted and hashed rather than drawn in turn: any device makes the same values (to float32's rounding)
    from 16 bytes a slice, and each process only those of its own slices.
    """
    count = torch.arange(SIZE * SIZE, device=seed.device)
    bits = _hash(_hash((count + seed[:, :1]) & _MASK) ^ seed[:, 1:])  # (N, 4096)
    uniform = ((bits >> 8).float() + 0.5) * 2.0**-24  # above 0, at most 1
    first, second = uniform.chunk(2, dim=1)
    radius, turn = (-2 * first.log()).sqrt(), 2 * math.pi * second  # Box & Muller 1958
    return torch.cat((radius * turn.cos(), radius * turn.sin()), dim=1).view(-1, SIZE, SIZE)


def _hash(x: Tensor) -> Tensor:
    """int64 in 0..2**32-1, each mapped to another as if by chance: Wellons' lowbias32."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    # The constant less 2**32, so that the product fits into int64; its low 32 bits are the same.
    x = ((x ^ (x >> 15)) * (0x846CA68B - 2**32)) & _MASK
    return x ^ (x >> 16)
