"""Measurements of an outlined lesion, in HU and pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lungvae_core.data.outlines import ANGLES, CENTRE, DISTANCE, RAYS, SIZE, Outlines, polygon_area, rays

_CHUNK = 256
_NO_EDGE = 10.0  # pixels over which a fall is a slope and no edge; its width would outweigh all others
_APART = 3.0  # pixels beyond the outline from which the surroundings count; nearer is the lesion's own edge


@dataclass(frozen=True)
class Property:
    """A measured property: its name, unit and family, and words for a dimension that changes it."""

    label: str
    unit: str
    family: str  # properties of one family say the same; a name has one of each at most
    up: str  # what is said of a dimension that raises it
    down: str
    meaning: str
    names: bool = True  # False: measured and shown, but follows from others and names nothing


PROPERTIES: dict[str, Property] = {
    "diameter_px": Property(
        "diameter", "px", "size", "grows", "shrinks", "of the circle that has the outline's area"
    ),
    "area_px": Property("area", "px²", "size", "grows", "shrinks", "inside the outline", names=False),
    "mean_hu": Property(
        *("mean HU", "HU", "density", "becomes denser", "becomes fainter"),
        "inside the outline, without its outermost pixel (or the outer half of a lesion of under 4 pixels)",
    ),
    "contrast_hu": Property(
        *("contrast", "HU", "density", "becomes denser", "becomes fainter"),
        "mean HU above that of the lung beside it",
        names=False,
    ),
    "eccentricity": Property(
        "eccentricity", "", "shape", "elongates", "rounds", "of the like ellipse: 0 round, 1 a line"
    ),
    "solidity": Property(
        *("solidity", "", "outline", "fills its outline", "indents its outline"),
        "the area over that of the outline's convex hull",
    ),
    "roughness": Property(
        *("roughness", "", "outline", "roughens", "smooths its outline"),
        "of the outline: what an ellipse leaves of the radii, root mean square, as a share of the radius",
    ),
    "edge_px": Property(
        "edge width", "px", "edge", "blurs", "sharpens", "contrast over the steepness of the edge"
    ),
    "edge_hu_px": Property(
        *("edge steepness", "HU/px", "edge", "sharpens", "blurs"),
        "the steepest fall outwards, median of the rays that end in lung",
        names=False,
    ),
    "texture_hu": Property(
        *("texture", "HU", "texture", "becomes uneven", "evens out"),
        "standard deviation inside, once the trend from the middle outwards is taken off",
    ),
    "right_px": Property(
        "place, right", "px", "place", "moves right", "moves left", "of the centre of gravity in the crop"
    ),
    "down_px": Property(
        "place, down", "px", "place", "moves down", "moves up", "of the centre of gravity in the crop"
    ),
    "around_hu": Property(
        *("surroundings", "HU", "surroundings", "brightens the surroundings", "darkens the surroundings"),
        "mean HU of what is more than 3 pixels beyond the outline",
    ),
    "around_right_hu": Property(
        *("surroundings, right − left", "HU", "surroundings"),
        *("brightens what is right of it", "brightens what is left of it"),
        "mean HU of the surroundings' right half less the left one's",
    ),
    "around_down_hu": Property(
        *("surroundings, below − above", "HU", "surroundings"),
        *("brightens what is below it", "brightens what is above it"),
        "mean HU of the surroundings' lower half less the upper one's",
    ),
}
FAMILIES = tuple(dict.fromkeys(one.family for one in PROPERTIES.values()))


def deviations(values: np.ndarray) -> np.ndarray:
    """(P,) one standard deviation of each property, from values (N, P) of reconstructed real lesions.

    Crops have their lesion in the middle, so its place in the crop hardly varies: for place, a pixel counts
    as much as a pixel of radius.
    """
    measured = np.isfinite(values)
    spread = np.zeros(values.shape[1])
    spread[measured.any(0)] = np.nanstd(np.where(measured, values, np.nan)[:, measured.any(0)], axis=0)
    place = [one.family == "place" for one in PROPERTIES.values()]
    spread[place] = spread[list(PROPERTIES).index("diameter_px")] / 2
    return spread


def measure(hu: np.ndarray, outlines: Outlines) -> np.ndarray:
    """(N, len(PROPERTIES)) float: each slice hu (N, 64, 64) in HU measured within and around its outline.

    In the order of `PROPERTIES` and in their units; NaN where the outline is not trusted, and where a lesion
    is too small (texture below a radius of 2 pixels).
    """
    chunks = [slice(at, at + _CHUNK) for at in range(0, len(hu), _CHUNK)]
    parts = [_measure(np.asarray(hu[chunk], np.float32), outlines[chunk]) for chunk in chunks]
    return np.concatenate([np.zeros((0, len(PROPERTIES))), *parts])


def _measure(hu: np.ndarray, outlines: Outlines) -> np.ndarray:
    radius, reach = outlines.radius, outlines.reach()
    # How much of each pixel lies inside: by its distance from the outline, as no area jumps then.
    share = np.clip(reach - DISTANCE + 0.5, 0, 1)
    weight = share.sum((1, 2))
    area = polygon_area(radius)
    # Less the rim, where a pixel is part lesion and part lung: small lesions would pass for faint ones.
    inner = np.clip(np.maximum(reach - 1, reach / 2) - DISTANCE + 0.5, 0, 1)
    mean = (inner * hu).sum((1, 2)) / np.maximum(inner.sum((1, 2)), 1e-6)
    right, down, eccentricity = _moments(share, weight)
    steep, width = _edge(hu, outlines, mean - outlines.outside_hu)
    ring = reach + _APART < DISTANCE
    columns = {
        "diameter_px": 2 * np.sqrt(area / np.pi),
        "area_px": area,
        "mean_hu": mean,
        "contrast_hu": mean - outlines.outside_hu,
        "eccentricity": eccentricity,
        "solidity": area / _hull_area(radius),
        "roughness": _roughness(radius),
        "edge_px": width,
        "edge_hu_px": steep,
        "texture_hu": _texture(hu, reach, radius),
        "right_px": right,
        "down_px": down,
        "around_hu": _mean(hu, ring),
        "around_right_hu": _mean(hu, ring & _RIGHT) - _mean(hu, ring & ~_RIGHT),
        "around_down_hu": _mean(hu, ring & _DOWN) - _mean(hu, ring & ~_DOWN),
    }
    values = np.stack([columns[name] for name in PROPERTIES], axis=1).astype(float)
    values[~outlines.trusted] = np.nan
    return values


_ROW, _COLUMN = (part.astype(np.float32) for part in np.mgrid[:SIZE, :SIZE] - CENTRE)
_DOWN, _RIGHT = _ROW > 0, _COLUMN > 0


def _mean(hu: np.ndarray, where: np.ndarray) -> np.ndarray:
    """(N,) mean of hu (N, 64, 64) where (N, 64, 64) is true; NaN where that is fewer than 30 pixels."""
    count = where.sum((1, 2))
    return np.where(count >= 30, (hu * where).sum((1, 2)) / np.maximum(count, 1), np.nan)


def _moments(share: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(columns, rows from the crop's middle to the centre of gravity; eccentricity of the like ellipse)."""
    right = (share * _COLUMN).sum((1, 2)) / weight
    down = (share * _ROW).sum((1, 2)) / weight
    across, along = _COLUMN - right[:, None, None], _ROW - down[:, None, None]
    # A pixel is not a point: its own second moment is a twelfth.
    xx = (share * across**2).sum((1, 2)) / weight + 1 / 12
    yy = (share * along**2).sum((1, 2)) / weight + 1 / 12
    xy = (share * across * along).sum((1, 2)) / weight
    middle, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return right, down, np.sqrt(np.clip(2 * apart / (middle + apart), 0, 1))


def _hull_area(radius: np.ndarray) -> np.ndarray:
    """(N,) square pixels inside the convex hull of the outlines radius (N, RAYS)."""
    # The hull is what no half-plane through an extreme point cuts off.
    turn = np.cos(ANGLES[:, None] - ANGLES[None])  # (RAYS, RAYS)
    extreme = (radius[:, :, None] * turn).max(1)  # (N, RAYS): how far the outline goes in each direction
    ahead = turn > 0.05
    bound = np.where(ahead, extreme[:, :, None] / np.where(ahead, turn, 1), np.inf).min(1)
    return polygon_area(bound)


def _roughness(radius: np.ndarray) -> np.ndarray:
    """(N,) what an ellipse off the middle leaves of the outlines radius (N, RAYS), relative and rms."""
    relative = radius / radius.mean(1, keepdims=True)
    waves = np.fft.rfft(relative, axis=1)
    waves[:, :3] = 0  # size, place, elongation
    return np.fft.irfft(waves, n=RAYS, axis=1).std(1)


def edge_steepness(real: np.ndarray, drawn: np.ndarray, outlines: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """(N,), (N,) HU/px: steepness of the edges in slices and in their reconstructions.

    Both (N, 64, 64) in HU; medians over the same rays, those that end in lung in the slice, and NaN where
    these are too few or the slice has no edge.
    """
    steep, free = _steepness(real, outlines, outlines.inside_hu - outlines.outside_hu)
    of_drawn = np.maximum(_median(_falls(drawn, outlines)[0], free), 0)
    return steep, np.where(np.isnan(steep), np.nan, of_drawn)


def _edge(hu: np.ndarray, outlines: Outlines, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(steepness in HU/px, width in px) (N,), (N,) of the edges: medians over the rays that end in lung."""
    steep, _ = _steepness(hu, outlines, contrast)
    width = np.maximum(contrast, 1) / steep
    return steep, np.where(width < _NO_EDGE, width, np.nan)


def _steepness(hu: np.ndarray, outlines: Outlines, contrast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(HU/px (N,), NaN where there is no edge; (N, RAYS) bool: the rays that end in lung).

    A ray into the chest wall or a vessel has no edge.
    """
    fall, last = _falls(hu, outlines)
    free = last < (outlines.outside_hu + 0.5 * np.maximum(contrast, 1))[:, None]
    steep = _median(fall, free)
    return np.where(steep > 1, steep, np.nan), free


def _falls(hu: np.ndarray, outlines: Outlines) -> tuple[np.ndarray, np.ndarray]:
    """(N, RAYS) HU by which each ray falls over a pixel at its steepest place, and HU 2 pixels beyond."""
    # Of the image as it is: the search's smoothing would set a limit to sharpness.
    offsets = np.array([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], np.float32)
    profile = rays(hu, np.maximum(outlines.radius[:, :, None] + offsets, 0))
    return (profile[:, :, :-2] - profile[:, :, 2:]).max(2), profile[:, :, -1]


def _median(fall: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(N,) the median over the free rays; NaN where they are fewer than a quarter."""
    enough = free.sum(1) >= RAYS // 4
    median = np.full(len(fall), np.nan)
    median[enough] = np.nanmedian(np.where(free[enough], fall[enough], np.nan), axis=1)
    return median


def _texture(hu: np.ndarray, reach: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """(N,) standard deviation inside, in HU, once the trend from middle to edge is taken off."""
    place = DISTANCE / reach
    ring = np.minimum((place * 4 / 0.8).astype(int), 4)  # four rings of the inner 80 %; 4 is all else
    label = (ring + 5 * np.arange(len(hu))[:, None, None]).ravel()
    # Less a level that is near all of it, so that squares lose no digits.
    level = np.float64(hu.mean())
    flat = hu.astype(np.float64).ravel() - level
    count, total, square = (
        np.bincount(label, weights, minlength=5 * len(hu)).reshape(-1, 5)[:, :4]
        for weights in (None, flat, flat**2)
    )
    rest = np.maximum(square - total**2 / np.maximum(count, 1), 0)
    freedom = np.maximum(count - 1, 0).sum(1)
    spread = np.sqrt(rest.sum(1) / np.maximum(freedom, 1))
    large = (polygon_area(radius) >= np.pi * 2**2) & (freedom >= 6)
    return np.where(large, spread, np.nan)
