"""What surrounds a phantom nodule: its scanner, its lung, its vessels, its chest wall.

Everything here is a nuisance: it is drawn from the seed alone, never from the factors, so that a factor can
be moved while all of this stays as it is. Lengths are mm in a frame whose origin is the nodule's centre in
its middle slice; x runs along an image row to the right, y down the image, z along the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

SIZE = 64
CENTRE = 31.75  # LIDC's crop rule puts a mask's bounding box at 31.5 or 32 pixels
_BATCH = 256  # vessel segments drawn at a time; their arrays stay in the processor's cache


@dataclass(frozen=True)
class Scanner:
    """What one patient's slices share: the kernel, the noise and the lung's inflation."""

    psf_mm: float  # sigma of the blur in the image plane
    sharpening: float  # edge enhancement of the kernel, 0 none
    noise_hu: float  # standard deviation
    noise_power: float  # ramp exponent of the noise spectrum
    noise_cut: float  # sigma of its high-frequency roll-off, cycles per pixel
    streaks: float  # how much wider the noise correlates along rows than columns, 1 none
    lung_hu: float
    texture_hu: float  # standard deviation of the lung's own unevenness
    vessels: float  # how many vessels, 1 on average
    emphysema: float  # HU by which emphysematous spots are darker, 0 none
    tissue_hu: float  # muscle
    fat: float  # how much of the chest wall is fat, about -1 little to 1 much
    blood_hu: float  # heart and large vessels, above muscle with contrast agent

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Scanner:
        """Draw a scanner as varied as LIDC's: noise, kernel and lung density were measured there."""
        normal = rng.normal(size=8)
        uniform = rng.uniform(size=6)
        sharp = uniform[0] < 0.25
        contrast = uniform[1] < 0.45
        return cls(
            psf_mm=float((0.42 if sharp else 0.51) * np.exp(0.12 * normal[0])),
            sharpening=float((0.7 if sharp else 0.25) * uniform[2]),
            noise_hu=float(np.clip((64 if sharp else 24) * np.exp(0.42 * normal[1]), 7, 170)),
            noise_power=float(0.1 + 0.35 * uniform[3]),
            noise_cut=float((0.26 if sharp else 0.185) * np.exp(0.12 * normal[2])),
            streaks=float(1.0 + 0.55 * abs(normal[3])),
            lung_hu=float(np.clip(-868 + 48 * normal[4], -960, -740)),
            texture_hu=float(23 * np.exp(0.3 * normal[5])),
            vessels=float(np.exp(0.35 * normal[6])),
            emphysema=float(70 * uniform[4] if uniform[5] < 0.2 else 0.0),
            tissue_hu=float(48 + 12 * normal[7]),
            fat=float(rng.normal()),
            blood_hu=float(150 if contrast else 45),
        )


@dataclass(frozen=True)
class Slab:
    """Consecutive slices of one nodule: where they lie and how large the nodule is in each."""

    z: np.ndarray  # (n,) mm from the nodule's middle
    shift: np.ndarray  # (n, 2) mm: x and y of the crop's centre in the scene
    radius: np.ndarray  # (n,) mm, of the circle with the outline's area
    slope: np.ndarray  # (n,) mm that the radius changes per mm of z; blurs the caps by partial volume
    spacing_mm: float
    thickness_mm: float
    area_px: np.ndarray | None = None  # (n,) pixels of the masks, to which the radius is adjusted

    @property
    def grid(self) -> np.ndarray:
        """(64,) mm: the pixels along an axis, from the crop's centre."""
        return (np.arange(SIZE) - CENTRE) * self.spacing_mm

    @classmethod
    def at(cls, z: np.ndarray, spacing_mm: float, thickness_mm: float, radius: float = 0.0) -> Slab:
        """Slices at z (n,), each centred in its crop, of one radius."""
        nothing = np.zeros(len(z))
        return cls(z, np.zeros((len(z), 2)), nothing + radius, nothing, spacing_mm, thickness_mm)


@dataclass(frozen=True)
class Waves:
    """A smooth random field in 3D, a sum of plane waves; standard deviation 1."""

    k: np.ndarray  # (M, 3) radians per mm
    phase: np.ndarray  # (M,)

    @classmethod
    def draw(cls, rng: np.random.Generator, length_mm: float, count: int = 64) -> Waves:
        """A field with a Gaussian correlation of about `length_mm`."""
        return cls(rng.normal(size=(count, 3)) / length_mm, rng.uniform(0, 2 * np.pi, count))

    def at(self, grid: np.ndarray, shift: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Values (n, 64, 64) float32 on `grid` (64,) along x and y, shifted by (n, 2), in planes z (n,)."""
        # A plane wave is a product of one factor per axis, which makes the sum of waves a matrix product.
        start = np.exp(1j * (shift @ self.k[:, :2].T + z[:, None] * self.k[:, 2] + self.phase))
        along_x = np.exp(1j * (self.k[:, 0, None] * grid))
        along_y = np.exp(1j * (grid[:, None] * self.k[:, 1]))[None] * start[:, None, :]
        left = np.concatenate([along_y.real, along_y.imag], axis=2).astype(np.float32)
        right = np.concatenate([along_x.real, -along_x.imag]).astype(np.float32)
        return (left @ right) * np.float32(np.sqrt(2 / len(self.phase)))


@dataclass(frozen=True)
class Wall:
    """The chest wall: lung inside a wide curve, outside it muscle, ribs, fat, skin and air."""

    direction: float  # radians, from the nodule outwards
    radius: float  # mm, of the curve at its vertex
    tilt: float  # mm by which the wall moves per mm of z
    wave: float  # mm, height of the wall's undulation
    wave_length: float  # mm
    wave_phase: float
    rib_at: float  # mm along the wall
    rib_period: float
    rib_slope: float  # mm along the wall per mm of z
    rib_length: float  # half axis
    rib_width: float  # half axis
    rib_depth: float
    rib_lean: float  # mm deeper per mm along the wall
    rib_hu: float
    muscle_mm: float  # thickness of the layer that has no fat
    skin_mm: float  # depth at which the body ends

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Wall:
        """Draw a wall in any direction; far more curve gently than sharply."""
        uniform = rng.uniform(size=12)
        normal = rng.normal(size=4)
        width = 2.6 + 2.2 * uniform[0]
        return cls(
            direction=float(2 * np.pi * uniform[1]),
            radius=float(np.clip(44 * np.exp(0.5 * normal[0]), 14, 200)),
            tilt=float(np.clip(0.28 * normal[1], -0.7, 0.7)),
            wave=float(0.2 + 1.0 * uniform[2] ** 2),
            wave_length=float(7 + 8 * uniform[3]),
            wave_phase=float(2 * np.pi * uniform[4]),
            rib_at=float(60 * uniform[5]),
            rib_period=float(36 + 40 * uniform[6]),
            rib_slope=float(1.6 * normal[2]),
            rib_length=float(4 + 13 * uniform[7]),
            rib_width=float(width),
            rib_depth=float(width + 1.2 + 2.5 * uniform[8]),
            rib_lean=float(0.22 * normal[3]),
            rib_hu=float(100 + 320 * uniform[9]),
            muscle_mm=float(2 + 8 * uniform[10]),
            skin_mm=float(26 + 40 * uniform[11]),
        )

    def depth(
        self, x: np.ndarray, y: np.ndarray, z: np.ndarray, offset: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Distance into the lung (mm; below 0 in the wall) and place along the wall (mm), at x, y, z (mm).

        `offset` is the distance from the frame's origin to the wall.
        """
        out_x, out_y = np.float32(np.cos(self.direction)), np.float32(np.sin(self.direction))
        bend = np.float32(1 / self.radius)
        across = (y * out_x - x * out_y) * bend
        # A parabola: unlike a circle it lets through a nodule of any size, and `offset` enters linearly.
        away = np.asarray(offset + self.tilt * z, dtype=np.float32) - (x * out_x + y * out_y)
        inward = (away - np.float32(self.radius / 2) * across**2) / np.sqrt(1 + across**2)
        along = np.arcsinh(across) * np.float32(self.radius)
        wave = np.sin(along / np.float32(self.wave_length) + np.float32(self.wave_phase))
        return inward + np.float32(self.wave) * (wave - np.float32(np.sin(self.wave_phase))), along

    def offset_for(self, x: np.ndarray, y: np.ndarray, z: np.ndarray, depth: np.ndarray) -> float:
        """The smallest offset (mm) that leaves at least `depth` (n,) of lung at each of the points (n,)."""
        at_zero = self.depth(x, y, z, 0.0)[0]
        gain = self.depth(x, y, z, 1.0)[0] - at_zero
        return float(((depth - at_zero) / gain).max())


@dataclass(frozen=True)
class Scene:
    """Everything around one nodule that does not depend on its factors."""

    scanner: Scanner
    wall: Wall
    organ: tuple[float, float, float, float] | None  # angle from the wall, radius, gap, tilt
    fissure: tuple[float, float, float, float] | None  # direction, distance, tilt, HU
    ends: np.ndarray  # (S, 2, 3) mm, both ends of each vessel segment
    thickness: np.ndarray  # (S,) mm, vessel radius
    fine: Waves
    coarse: Waves
    fatty: Waves

    @classmethod
    def draw(cls, scanner: Scanner, rng: np.random.Generator, slab: Slab) -> Scene:
        """Draw the surroundings of a nodule."""
        wall_rng, organ_rng, vessel_rng, field_rng = rng.spawn(4)
        wall = Wall.draw(wall_rng)
        organ = fissure = None
        uniform = organ_rng.uniform(size=10)
        if uniform[0] < 0.25:
            organ = (
                float(np.pi + 2.0 * (uniform[1] - 0.5)),
                float(14 + 45 * uniform[2]),
                float(5 + 20 * uniform[3]),
                float(0.8 * (uniform[4] - 0.5)),
            )
        if uniform[5] < 0.15:
            fissure = (
                float(2 * np.pi * uniform[6]),
                float(4 + 16 * uniform[7]),
                float(0.9 * (uniform[8] - 0.5)),
                float(50 + 110 * uniform[9]),
            )
        z_low, z_high = float(slab.z.min()) - 6, float(slab.z.max()) + 6
        ends, thickness = _vessels(
            vessel_rng, scanner.vessels, wall.direction, slab.spacing_mm, z_low, z_high
        )
        fine = Waves.draw(field_rng, 1.1, 96)
        coarse, fatty = Waves.draw(field_rng, 4.0), Waves.draw(field_rng, 5.0)
        return cls(scanner, wall, organ, fissure, ends, thickness, fine, coarse, fatty)

    def image(self, slab: Slab, *, wall_offset: float) -> np.ndarray:
        """HU (n, 64, 64) float32 of the slab's pixels, without noise and nodule.

        `wall_offset` (mm) is the distance from the origin to the chest wall; all else is the scene's own.
        """
        scanner, grid, shift, z = self.scanner, slab.grid, slab.shift, slab.z
        blur = np.float32(scanner.psf_mm)
        x, y = grid + shift[:, :1], grid + shift[:, 1:]
        grid_x, grid_y = x[:, None, :].astype(np.float32), y[:, :, None].astype(np.float32)
        plane = z[:, None, None].astype(np.float32)
        depth, along = self.wall.depth(grid_x, grid_y, plane, wall_offset)

        coarse = self.coarse.at(grid, shift, z)
        hu = scanner.lung_hu + np.float32(scanner.texture_hu) * (
            np.float32(0.7) * self.fine.at(grid, shift, z) + np.float32(0.85) * coarse
        )
        if scanner.emphysema:
            hu -= np.float32(scanner.emphysema) * ndtr((coarse - np.float32(0.7)) * 3)
        if self.fissure is not None:
            direction, distance, tilt, amount = self.fissure
            across = grid_x * np.float32(np.cos(direction)) + grid_y * np.float32(np.sin(direction))
            across = across - np.float32(distance) - np.float32(tilt) * plane + coarse * np.float32(0.4)
            hu += np.float32(amount) * np.exp(-0.5 * (across / (blur + np.float32(0.25))) ** 2)

        vessel = self._vessel_share(slab)
        # The last millimetres below the pleura hold no vessel that CT could show.
        vessel *= np.clip(depth * np.float32(0.16), 0.1, 1)
        hu += vessel * (np.float32(scanner.tissue_hu - 10) - hu)

        if self.organ is not None:
            hu = self._add_organ(hu, grid_x, grid_y, plane, coarse, wall_offset)
        share = ndtr(-depth / blur)
        if share.max() > 1e-4:
            hu += share * (self._chest_wall(-depth, along, plane, self.fatty.at(grid, shift, z), coarse) - hu)
        return hu

    def _add_organ(
        self, hu: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray, coarse: np.ndarray, offset: float
    ) -> np.ndarray:
        """Put the heart, the mediastinum or the diaphragm opposite the chest wall, always farther away."""
        assert self.organ is not None
        angle, radius, gap, tilt = self.organ
        direction = self.wall.direction + angle
        away = max(offset, 4.0) + gap + radius + np.float32(tilt) * np.abs(z)
        distance = np.hypot(
            x - away * np.float32(np.cos(direction)), y - away * np.float32(np.sin(direction))
        )
        share = ndtr((radius + coarse * np.float32(0.5) - distance) / np.float32(self.scanner.psf_mm))
        return hu + share * (np.float32(self.scanner.blood_hu) + np.float32(10) * coarse - hu)

    def _chest_wall(
        self, into: np.ndarray, along: np.ndarray, plane: np.ndarray, fatty: np.ndarray, coarse: np.ndarray
    ) -> np.ndarray:
        """HU (n, 64, 64) of the wall at the depth `into` it (mm) and the place `along` it (mm)."""
        wall, scanner = self.wall, self.scanner
        fatty = fatty + np.float32(0.7 * scanner.fat - 0.65)
        fatty = fatty + np.clip((into - np.float32(wall.muscle_mm)) * np.float32(0.12), -2.5, 1.2)
        hu = np.float32(scanner.tissue_hu) + 8 * coarse - np.float32(145) * ndtr(fatty * 3)
        # Ribs cross the slice obliquely, one every `rib_period` along the wall.
        place = along - np.float32(wall.rib_at) - np.float32(wall.rib_slope) * plane
        place -= np.float32(wall.rib_period) * np.round(place / np.float32(wall.rib_period))
        level = into - np.float32(wall.rib_depth) - np.float32(wall.rib_lean) * place
        # An ellipse, a little uneven; the square root turns its equation into about a distance.
        rib = np.hypot(place / np.float32(wall.rib_length), level / np.float32(wall.rib_width)) - 1
        rib = rib * np.float32(wall.rib_width) + np.float32(0.5) * coarse
        cortex = np.exp(-0.5 * ((rib + 0.9) / np.float32(0.9)) ** 2)
        bone = np.float32(wall.rib_hu) + 25 * coarse + np.float32(270) * cortex
        hu += ndtr(-rib * 1.6) * (bone - hu)
        hu += ndtr((into - np.float32(wall.skin_mm)) * 1.5) * (-1000 - hu)
        return hu

    def _vessel_share(self, slab: Slab) -> np.ndarray:
        """Share of each pixel (n, 64, 64) that is vessel, averaged over the slice's thickness."""
        x, y = slab.grid + slab.shift[:, :1], slab.grid + slab.shift[:, 1:]
        share = np.zeros((len(slab.z), SIZE, SIZE), np.float32)
        low, high = self.ends.min(axis=1), self.ends.max(axis=1)
        reach = self.thickness + 2.5 * self.scanner.psf_mm
        in_x = (low[:, 0] - reach < x[:, -1:]) & (high[:, 0] + reach > x[:, :1])
        in_y = (low[:, 1] - reach < y[:, -1:]) & (high[:, 1] + reach > y[:, :1])
        deep = reach + 0.34 * slab.thickness_mm
        in_z = (low[:, 2] - deep < slab.z[:, None]) & (high[:, 2] + deep > slab.z[:, None])
        which, segment = np.nonzero(in_x & in_y & in_z)
        thin = self.thickness[segment] < 0.9
        for window, chosen in ((16, thin), (28, ~thin)):
            pairs = np.flatnonzero(chosen)
            for begin in range(0, len(pairs), _BATCH):
                batch = pairs[begin : begin + _BATCH]
                self._draw_vessels(share, slab, which[batch], segment[batch], window)
        return share

    def _draw_vessels(
        self, share: np.ndarray, slab: Slab, which: np.ndarray, segment: np.ndarray, window: int
    ) -> None:
        """Draw each `segment` (P,) into its slice `which` (P,), in a square around it, not in the whole."""
        x, y = slab.grid + slab.shift[:, :1], slab.grid + slab.shift[:, 1:]
        steep = np.float32(0.8 / self.scanner.psf_mm)
        middle = self.ends[segment].mean(axis=1)
        first = np.stack([middle[:, 0] - x[which, 0], middle[:, 1] - y[which, 0]], axis=1) / slab.spacing_mm
        first = np.clip(np.round(first).astype(int) - window // 2, 0, SIZE - window)
        offsets = np.arange(window)
        columns, rows = first[:, :1] + offsets, first[:, 1:] + offsets
        start = self.ends[segment, 0]
        run = (self.ends[segment, 1] - start).astype(np.float32)
        over_square = 1 / np.maximum((run**2).sum(axis=1), np.float32(1e-6))[:, None, None]
        px = (x[which[:, None], columns] - start[:, :1]).astype(np.float32)[:, None, :]
        py = (y[which[:, None], rows] - start[:, 1:2]).astype(np.float32)[:, :, None]
        radius = self.thickness[segment].astype(np.float32)[:, None, None] * steep
        run_x, run_y, run_z = (run[:, axis, None, None] for axis in range(3))
        flat = (px * run_x + py * run_y) * over_square
        total = np.zeros((len(which), window, window), np.float32)
        for step in (-1 / 3, 0.0, 1 / 3):
            pz = slab.z[which] + step * slab.thickness_mm - start[:, 2]
            pz = pz.astype(np.float32)[:, None, None]
            t = flat + pz * run_z * over_square
            np.minimum(np.maximum(t, 0, out=t), 1, out=t)
            distance = (px - t * run_x) ** 2
            distance += (py - t * run_y) ** 2
            distance += (pz - t * run_z) ** 2
            np.sqrt(distance, out=distance)
            distance *= steep
            # A smooth slab from -radius to radius, which vanishes with its radius.
            total += np.tanh(radius - distance)
            distance += radius
            total += np.tanh(distance, out=distance)
        total *= np.float32(1 / 6)
        where = (which[:, None, None] * SIZE + rows[:, :, None]) * SIZE + columns[:, None, :]
        np.maximum.at(share.reshape(-1), where.ravel(), total.ravel())


def _vessels(
    rng: np.random.Generator, abundance: float, outward: float, spacing_mm: float, z_low: float, z_high: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw branching vessels in the box around the crop: ends (S, 2, 3) and radii (S,), mm."""
    half = 0.6 * SIZE * spacing_mm
    volume = (2 * half) ** 2 * (z_high - z_low)
    # Few and thin near the pleura, many and thick near the hilum: where a nodule lies is a matter of luck.
    abundance *= float(np.exp(rng.normal(0, 0.35)))
    scale = 0.45 * float(np.exp(rng.normal(0.1, 0.25)))
    parents = max(3, int(rng.poisson(abundance * volume / 1000)))
    steps = 10
    length = 6 * spacing_mm
    mean = 0.5 * np.array([np.cos(outward), np.sin(outward), 0.0])
    starts = rng.uniform([-half, -half, z_low], [half, half, z_high], size=(parents, 3))
    radii = np.clip(scale * np.exp(0.6 * rng.normal(size=parents)), 0.2, 2.6)
    # Half of the nodules hang on a vessel.
    if rng.uniform() < 0.5:
        starts[0] = rng.normal(scale=0.8, size=3)
        radii[0] = rng.uniform(0.45, 0.9)
    paths = _grow(rng, starts, _unit(rng.normal(size=(parents, 3)) + mean), steps, length)
    # They end thin at both ends; an abrupt thick end would look like a rod.
    taper = radii[:, None] * np.interp(np.linspace(0, 1, steps), [0, 0.25, 1], [0.55, 1, 0.55])
    # Two children each, from somewhere on their parent, thinner, at an angle.
    from_parent = np.repeat(np.arange(parents), 2)
    at = rng.integers(1, steps, size=len(from_parent))
    along = paths[from_parent, at] - paths[from_parent, at - 1]
    heading = _unit(_unit(along) + 0.75 * _unit(rng.normal(size=along.shape)))
    branches = _grow(rng, paths[from_parent, at], heading, steps - 3, length)
    branch_radii = (0.75 * taper[from_parent, at])[:, None] * np.linspace(1, 0.6, steps - 3)
    ends = np.concatenate([_segments(paths), _segments(branches)])
    return ends, np.concatenate([taper.ravel(), branch_radii.ravel()])


def _grow(
    rng: np.random.Generator, starts: np.ndarray, heading: np.ndarray, steps: int, length: float
) -> np.ndarray:
    """Points (V, steps + 1, 3) of wandering lines from `starts` (V, 3) in directions `heading` (V, 3)."""
    turns = np.cumsum(0.17 * rng.normal(size=(len(starts), steps, 3)), axis=1)
    moves = length * _unit(heading[:, None] + turns)
    return np.concatenate([starts[:, None], starts[:, None] + np.cumsum(moves, axis=1)], axis=1)


def _segments(paths: np.ndarray) -> np.ndarray:
    return np.stack([paths[:, :-1], paths[:, 1:]], axis=2).reshape(-1, 2, 3)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
