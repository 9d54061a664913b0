"""Draw a phantom nodule with known factors into its scene, and scan it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage
from scipy.special import ndtr

from lungvae_core.data.phantom.factors import Factors
from lungvae_core.data.phantom.scene import SIZE, Scanner, Scene, Slab, Waves
from lungvae_core.errors import UserError

HU_LOW, HU_HIGH = -1024, 3071
_ANGLES = 512
_THETA = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
_STRANDS = 12


@dataclass(frozen=True)
class Shape:
    """What gives one nodule its individual outline when its factors allow it."""

    lobe_phase: np.ndarray  # (4,) of 3 to 6 lobes
    lobe_turn: np.ndarray  # (4,) radians per mm of z
    lobe_weight: np.ndarray  # (4,) the sum of squares is 2, so that the lobes' sum has variance 1
    bumps: np.ndarray  # (2, 8) cosine and sine of 3 to 10 bumps: the unevenness that every nodule has
    strand_angle: np.ndarray  # (12,)
    strand_length: np.ndarray  # (12,) relative
    strand_weight: np.ndarray  # (12,) relative
    strand_bend: np.ndarray  # (12,) radians per mm
    strand_turn: np.ndarray  # (12, 2) radians per mm of z, phase
    core: np.ndarray  # (2,) centre of the calcified core, relative to the radius
    inside: Waves

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Shape:
        """Draw an outline's individuality; the factors say how much of it shows."""
        weight = rng.uniform(0.4, 1, 4)
        bumps = rng.normal(size=(2, 8)) * 0.028 / np.sqrt(np.arange(1, 9))
        return cls(
            lobe_phase=rng.uniform(0, 2 * np.pi, 4),
            lobe_turn=rng.normal(0, 0.12, 4),
            lobe_weight=weight * np.sqrt(2 / (weight**2).sum()),
            bumps=bumps * min(1.0, 0.12 / np.hypot(*bumps).sum()),
            strand_angle=(np.arange(_STRANDS) + rng.uniform(-0.9, 0.9, _STRANDS)) * (2 * np.pi / _STRANDS),
            strand_length=rng.uniform(0.3, 1.4, _STRANDS),
            strand_weight=rng.uniform(0.4, 1.0, _STRANDS),
            strand_bend=rng.normal(0, 0.012, _STRANDS),
            strand_turn=np.stack(
                [rng.uniform(0.2, 0.5, _STRANDS), rng.uniform(0, 2 * np.pi, _STRANDS)], axis=1
            ),
            core=rng.normal(0, 0.12, 2),
            inside=Waves.draw(rng, 1.8),
        )

    def outline(self, factors: Factors, z: np.ndarray) -> np.ndarray:
        """The outline's distance from the centre at 512 angles (n, 512), for a mean area of pi: radius 1.

        Angles run clockwise on the screen from the image's left-to-right axis.
        """
        # The image's rows run downwards, so a counter-clockwise angle is a negative one here.
        turned = _THETA + np.deg2rad(factors.angle_deg)
        stretch = factors.elongation
        ellipse = 1 / np.sqrt(np.cos(turned) ** 2 / stretch + np.sin(turned) ** 2 * stretch)
        orders = np.arange(3, 7)
        phase = self.lobe_phase + z[:, None] * self.lobe_turn
        lobes = np.einsum("k,nka->na", self.lobe_weight, np.cos(orders[:, None] * _THETA + phase[:, :, None]))
        # From 3 on: an order of 2 would be elongation.
        turns = np.arange(3, 11)[:, None] * _THETA
        bumps = self.bumps[0] @ np.cos(turns) + self.bumps[1] @ np.sin(turns)
        radius = ellipse * (1 + 0.12 * factors.lobulation * lobes + bumps)
        return radius / np.sqrt((radius**2).mean(axis=1, keepdims=True))


def render(
    factors: Factors, *, seed: int, spacing_mm: float = 0.7, thickness_mm: float = 1.25
) -> tuple[np.ndarray, np.ndarray]:
    """Render the middle slice of one nodule: HU (64, 64) int16 in -1024..3071 and mask (64, 64) uint8.

    The scanner, the lung, the vessels, the wall's shape, the noise and the nodule's individuality come from
    `seed` alone. So with one seed and one factor moved, only what that factor means changes, smoothly; moving
    `diameter_mm` or `pleura_mm` moves the wall too, since the distance between them is a factor. The mask is
    where the nodule fills at least half of a pixel; strands of spiculation are not in it.

    Raises UserError when the outline does not fit into the crop at `spacing_mm` (mm per pixel).
    """
    patient, nodule = np.random.SeedSequence([seed, 0x5EED]).spawn(2)
    scanner = Scanner.draw(np.random.default_rng(patient))
    slab = Slab.at(np.zeros(1), spacing_mm, thickness_mm, radius=factors.diameter_mm / 2)
    hu, mask, _, _ = render_slab(factors, slab, scanner, nodule)
    return hu[0], mask[0]


def render_slab(
    factors: Factors, slab: Slab, scanner: Scanner, seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Render all slices of one nodule: HU (n, 64, 64) int16, masks (n, 64, 64) uint8, diameters, distances.

    The diameters (n,) and the distances to the pleura (n,), in mm, are those of each slice;
    `factors.pleura_mm` is the smallest of these distances. `factors.diameter_mm` is not used: `slab` has the
    radii. Raises UserError when an outline does not fit into the crop.
    """
    scene_seed, shape_seed, noise_seed = (
        np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, part)) for part in range(3)
    )
    scene = Scene.draw(scanner, np.random.default_rng(scene_seed), slab)
    shape = Shape.draw(np.random.default_rng(shape_seed))
    outline = _outline(factors, slab, shape)
    # The wall's distance from the origin leaves `pleura_mm` in the nearest slice.
    x, y = slab.shift.T
    offset = scene.wall.offset_for(x, y, slab.z, factors.pleura_mm + outline.radius)
    distances = scene.wall.depth(x, y, slab.z, offset)[0] - outline.radius
    hu = scene.image(slab, wall_offset=offset)
    hu = _add_nodule(hu, factors, slab, shape, scanner, outline)
    hu = _scan(hu, scanner, np.random.default_rng(noise_seed))
    return hu, (outline.beyond <= 0).astype(np.uint8), 2 * outline.radius, distances


@dataclass(frozen=True)
class _Outline:
    """A nodule's outline in n slices, and where the pixels lie to it."""

    radius: np.ndarray  # (n,) mm
    inside: np.ndarray  # (n, 64, 64) mm from the outline, below 0 outside
    angle: np.ndarray  # (n, 64, 64) radians
    beyond: np.ndarray  # (n, 64, 64) mm beyond the outline along the ray, below 0 inside


def _outline(factors: Factors, slab: Slab, shape: Shape) -> _Outline:
    unit = shape.outline(factors, slab.z)  # (n, 512)
    # The crop is centred on the outline's bounding box, as LIDC's crops are on the mask's.
    edge_x, edge_y = unit * np.cos(_THETA), unit * np.sin(_THETA)
    middle_x = (edge_x.max(axis=1) + edge_x.min(axis=1)) / 2
    middle_y = (edge_y.max(axis=1) + edge_y.min(axis=1)) / 2
    half = np.maximum(np.ptp(edge_x, axis=1), np.ptp(edge_y, axis=1)) / 2 * slab.radius
    if half.max() > 31 * slab.spacing_mm:
        raise UserError(
            f"A phantom nodule of {2 * slab.radius.max():.1f} mm with elongation {factors.elongation:.2f} "
            f"and lobulation {factors.lobulation:.2f} does not fit into 64 pixels of "
            f"{slab.spacing_mm:.2f} mm. Make it smaller or rounder."
        )
    x = slab.grid[None, None, :] + (middle_x * slab.radius)[:, None, None]
    y = slab.grid[None, :, None] + (middle_y * slab.radius)[:, None, None]
    away = np.hypot(x, y)
    angle = np.arctan2(y, x)
    place = (angle % (2 * np.pi)) * (_ANGLES / (2 * np.pi))
    before = place.astype(int)
    part = place - before
    row = np.arange(len(unit))[:, None, None]
    before, after = before % _ANGLES, (before + 1) % _ANGLES
    here = unit[row, before] * (1 - part) + unit[row, after] * part

    radius = slab.radius
    if slab.area_px is not None:
        radius = _radius_for_area(away / here, slab.area_px, slab.radius)
    beyond = away - radius[:, None, None] * here
    # Distance along the ray over the slope of the outline there is close to the distance to the outline.
    steep = np.gradient(np.concatenate([unit[:, -1:], unit, unit[:, :1]], axis=1), axis=1)[:, 1:-1]
    steep = 1 / np.sqrt(1 + (steep * _ANGLES / (2 * np.pi) / unit) ** 2)
    cosine = steep[row, before] * (1 - part) + steep[row, after] * part
    inside = (-beyond * cosine).astype(np.float32)
    return _Outline(radius, inside, angle.astype(np.float32), beyond.astype(np.float32))


def _radius_for_area(needed: np.ndarray, area_px: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The radii (n,) nearest to `radius` whose outlines hold exactly `area_px` pixel centres.

    `needed` (n, 64, 64) is the radius at which the outline reaches each pixel's centre.
    """
    radii = np.empty(len(needed))
    for i, area in enumerate(np.asarray(area_px, dtype=int)):
        last, beyond = np.partition(needed[i].ravel(), [area - 1, area])[area - 1 : area + 1]
        gap = 0.02 * (beyond - last)
        radii[i] = np.clip(radius[i], last + gap, beyond - gap)
    return radii


def _add_nodule(
    hu: np.ndarray, factors: Factors, slab: Slab, shape: Shape, scanner: Scanner, outline: _Outline
) -> np.ndarray:
    """Blend the nodule into `hu` (n, 64, 64), by the share of each pixel that it fills."""
    radius, grid = outline.radius, slab.grid
    caps = np.minimum(np.abs(slab.slope) * slab.thickness_mm / np.sqrt(12), 0.9 * radius)
    blur = np.sqrt(scanner.psf_mm**2 + factors.margin_mm**2 + caps**2).astype(np.float32)[:, None, None]
    share = ndtr(outline.inside / blur)
    if factors.spiculation > 0:
        share = 1 - (1 - share) * (1 - _strands(factors, slab, shape, scanner, outline))

    # Ground glass is less even than solid tissue.
    uneven = np.float32(np.interp(factors.density_hu, [-700, -400, 0], [60, 80, 32]))
    texture = shape.inside.at(grid, np.zeros_like(slab.shift), slab.z)
    tissue = np.float32(factors.density_hu) + uneven * texture
    if factors.calcification > 0:
        amount = factors.calcification
        core = np.sqrt(0.85 * amount) * radius
        centre = shape.core * radius[:, None] * (1 - np.sqrt(0.85 * amount))
        across, down = grid[None, None, :] - centre[:, :1, None], grid[None, :, None] - centre[:, 1:, None]
        away = np.hypot(across, down).astype(np.float32)
        reach, edge = core[:, None, None].astype(np.float32), np.float32(scanner.psf_mm)
        # The second term makes the core's share go to 0 with its size.
        calcium = ndtr((reach - away) / edge) - ndtr((-reach - away) / edge)
        tissue += calcium * np.float32(350 + 950 * amount)
    # A vessel or the wall shows through ground glass.
    return hu + share * (np.maximum(tissue, hu) - hu)


def _strands(factors: Factors, slab: Slab, shape: Shape, scanner: Scanner, outline: _Outline) -> np.ndarray:
    """Share (n, 64, 64) of each pixel that is a strand of spiculation."""
    radius, angle, beyond = outline.radius, outline.angle, outline.beyond
    outside = np.maximum(beyond, 0)
    # Strands are broad where they leave the nodule and thin out.
    width = 2 * (np.float32(scanner.psf_mm) ** 2 + (np.float32(0.9) / (1 + outside)) ** 2)
    away = (beyond + radius[:, None, None]).astype(np.float32)
    best = np.zeros_like(beyond)
    for k in range(_STRANDS):
        # Strands come and go along z, and each is a little bent.
        turn, phase = shape.strand_turn[k]
        strength = shape.strand_weight[k] * (0.75 + 0.25 * np.cos(turn * slab.z + phase))
        length = factors.spiculation * shape.strand_length[k] * (2.5 + 0.5 * radius)
        reach = (1.0 / np.maximum(length, 1e-3)).astype(np.float32)[:, None, None]
        delta = angle - np.float32(shape.strand_angle[k]) - np.float32(shape.strand_bend[k]) * outside
        side = away * np.sin(delta)
        strand = np.exp(-(side**2) / width - (outside * reach) ** 2)
        strand *= (np.cos(delta) > 0) * strength.astype(np.float32)[:, None, None]
        np.maximum(best, strand, out=best)
    return best * np.float32(min(1.0, 1.6 * factors.spiculation) * 0.9)


def _scan(hu: np.ndarray, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Sharpen by the kernel, add correlated noise, and store as int16 HU (n, 64, 64)."""
    if scanner.sharpening > 0:
        smooth = ndimage.gaussian_filter(hu, (0, 1.2, 1.2), mode="nearest", truncate=3)
        hu = hu + np.float32(scanner.sharpening) * (hu - smooth)
    frequency_x = fft.rfftfreq(SIZE) * scanner.streaks
    frequency_y = fft.fftfreq(SIZE)[:, None]
    frequency = np.hypot(frequency_x, frequency_y)
    # Back-projection's ramp, held down by the kernel.
    gain = (frequency + 0.01) ** scanner.noise_power * np.exp(-0.5 * (frequency / scanner.noise_cut) ** 2)
    gain[0, 0] = 0
    weight = np.full(gain.shape, 2.0)
    weight[:, [0, -1]] = 1
    gain /= np.sqrt((weight * gain**2).sum() / SIZE**2)
    white = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = fft.irfft2(fft.rfft2(white) * gain.astype(np.float32), s=hu.shape[1:])
    hu = hu + np.float32(scanner.noise_hu) * noise
    return np.clip(np.round(hu), HU_LOW, HU_HIGH).astype(np.int16)
