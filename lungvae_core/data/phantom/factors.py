"""The nine known factors of a phantom nodule, and two ways to draw them at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lungvae_core.errors import UserError


class Span(NamedTuple):
    """What one factor means and the values it may take."""

    low: float
    high: float
    unit: str
    meaning: str


FACTORS: dict[str, Span] = {
    "diameter_mm": Span(2.0, 45.0, "mm", "diameter of the circle with the outline's area, in this slice"),
    "density_hu": Span(-750.0, 150.0, "HU", "tissue at the core: ground glass about -650, solid about 30"),
    "margin_mm": Span(
        0.0, 3.0, "mm", "blur of the edge (sigma) beyond the scanner's: 0 sharp, 3 ill-defined"
    ),
    "lobulation": Span(0.0, 1.0, "", "depth of the outline's lobes: 0 none, 1 marked"),
    "spiculation": Span(0.0, 1.0, "", "length and strength of strands around the outline: 0 none, 1 marked"),
    "elongation": Span(1.0, 2.5, "", "long axis over short axis of the outline's ellipse"),
    "angle_deg": Span(
        0.0, 180.0, "degrees", "long axis, counter-clockwise from the image's left-to-right axis"
    ),
    "calcification": Span(0.0, 1.0, "", "how much calcium: size and HU of a calcified core, 0 none, 1 most"),
    "pleura_mm": Span(
        -10.0,
        60.0,
        "mm",
        "from the edge of the circle of `diameter_mm` to the chest wall; below 0 they overlap",
    ),
}
COLUMNS = [f"factor_{name}" for name in FACTORS]

# Ranges of the independent draw. They are narrower than what `render` takes, so that every combination fits
# the 64x64 crop at 0.7 mm per pixel.
INDEPENDENT: dict[str, tuple[float, float]] = {
    "diameter_mm": (6.0, 20.0),
    "density_hu": (-650.0, 80.0),
    "margin_mm": (0.0, 1.5),
    "lobulation": (0.0, 1.0),
    "spiculation": (0.0, 1.0),
    "elongation": (1.0, 2.0),
    "angle_deg": (0.0, 180.0),
    "calcification": (0.0, 1.0),
    "pleura_mm": (0.0, 15.0),
}


@dataclass(frozen=True)
class Factors:
    """Factor values of one nodule slice, in the units and ranges of `FACTORS`; UserError for any other."""

    diameter_mm: float = 12.0
    density_hu: float = 20.0
    margin_mm: float = 0.3
    lobulation: float = 0.0
    spiculation: float = 0.0
    elongation: float = 1.0
    angle_deg: float = 0.0
    calcification: float = 0.0
    pleura_mm: float = 10.0

    def __post_init__(self) -> None:
        for name, span in FACTORS.items():
            value = getattr(self, name)
            if not span.low <= value <= span.high:  # also false for NaN
                raise UserError(
                    f"The phantom's factor {name} is {value}, but must be from {span.low:g} to {span.high:g}"
                    f"{' ' + span.unit if span.unit else ''}."
                )

    def replace(self, **changes: float) -> Factors:
        """The same nodule with some factors changed."""
        return dataclasses.replace(self, **changes)

    def columns(self) -> dict[str, float]:
        """The values under the SliceSet table's column names."""
        return {f"factor_{name}": float(getattr(self, name)) for name in FACTORS}


def draw_independent(rng: np.random.Generator) -> Factors:
    """Draw every factor uniformly over `INDEPENDENT`, independently of the others."""
    return Factors(**{name: float(rng.uniform(low, high)) for name, (low, high) in INDEPENDENT.items()})


def draw_from_ratings(
    row: Mapping[str, Any], radius_mm: float, spacing_mm: float, rng: np.random.Generator
) -> Factors:
    """Turn the LIDC readers' ratings of one nodule into factors.

    `row` holds `texture_all` and the other ratings, readers separated by `|`. `radius_mm` is the radius of
    the nodule's largest slice; it limits the edge's blur, so that the nodule stays itself, and with the size
    of a pixel, `spacing_mm`, the elongation and lobulation, so that the outline stays in the crop. The HU per
    texture rating and the share of nodules at the pleura were measured on LIDC-IDRI.
    """
    # One draw of everything first, so that no factor's value depends on which branch another one took.
    jitter = rng.normal(size=8)
    uniform = rng.uniform(size=4)

    texture = float(np.clip(_mean(row, "texture") + 0.15 * jitter[0], 1, 5))
    density = np.interp(texture, [1, 2, 3, 4, 4.6, 5], [-590, -525, -350, -100, 15, 42])
    # The smaller a nodule, the less of it fills any voxel, and the darker it is.
    density -= np.interp(radius_mm, [2, 5], [120, 0]) * (texture - 1) / 4
    density += np.interp(texture, [1, 3, 4, 5], [85, 110, 90, 20]) * jitter[1]
    density -= 150 * max(0.0, -np.log1p(-uniform[3]) - 1.3)  # some solid nodules are far from dense

    # Margin 5 is sharp and 1 poorly defined.
    margin = 0.12 + 0.26 * (5 - _mean(row, "margin")) + 0.08 * abs(jitter[2])
    margin = min(margin, 0.35 * radius_mm)

    # Sphericity 5 is round, 3 ovoid, 1 linear.
    elongation = 1.05 + 0.22 * (5 - _mean(row, "sphericity")) + 0.10 * abs(jitter[3])
    # What the longest ray may be, over the circle's radius; 1.12 of it is the outline's unevenness.
    room = 30.5 * spacing_mm / radius_mm
    elongation = float(np.clip(elongation, 1.0, np.clip((room / 1.25) ** 2, 1.0, 2.5)))
    lobulation = _grade(_mean(row, "lobulation"), jitter[5])
    lobulation = float(np.clip(lobulation, 0, max(0.0, (room / np.sqrt(elongation) - 1.12) / 0.34)))

    # Calcification: 1 popcorn, 2 laminated, 3 solid, 4 non-central, 5 central, 6 absent.
    amount = {1: 0.4, 2: 0.4, 3: 0.6, 4: 0.5, 5: 0.3, 6: 0.0}
    kinds = _values(row, "calcification")
    calcium = float(np.mean([amount[int(kind)] for kind in kinds])) * float(np.exp(0.6 * jitter[4]) * 0.75)

    return Factors(
        diameter_mm=float(np.clip(2 * radius_mm, 2, 45)),
        density_hu=float(np.clip(density, -720, 120)),
        margin_mm=float(margin),
        lobulation=lobulation,
        spiculation=_grade(_mean(row, "spiculation"), jitter[6]),
        elongation=elongation,
        angle_deg=float(180 * uniform[0]),
        calcification=float(np.clip(calcium, 0, 1)),
        pleura_mm=_pleura(radius_mm, uniform[1], uniform[2], jitter[7]),
    )


def _pleura(radius_mm: float, which: float, where: float, jitter: float) -> float:
    """Draw the distance to the pleura (mm) as on LIDC: a third touch it, more of the large ones."""
    if which < np.interp(radius_mm, [3, 12], [0.28, 0.85]):
        return float(-0.8 + 0.5 * abs(jitter) - 0.15 * max(0.0, radius_mm - 4))
    # Quantiles of the rest; the last ones put the wall outside the crop.
    return float(np.interp(where, [0, 0.2, 0.4, 0.6, 0.8, 0.87, 1], [0.5, 3.0, 6.0, 10.5, 17.0, 26, 40]))


def _grade(rating: float, jitter: float) -> float:
    """A rating of 1 (none) to 5 (marked), with a reader's uncertainty, as 0 to 1."""
    return float(np.clip((rating - 1) / 4 + 0.04 * jitter, 0, 1))


def _values(row: Mapping[str, Any], rating: str) -> list[float]:
    return [float(value) for value in str(row[f"{rating}_all"]).split("|")]


def _mean(row: Mapping[str, Any], rating: str) -> float:
    return float(np.mean(_values(row, rating)))
