"""How sharp a reconstructed slice is: power of its detail, HU inside the lesion, the lesion's margin.

SSIM and MSE hardly distinguish a blurred image from a noisy one; these figures do.

- `power`: the radial power spectrum, Hann-windowed, in bands of cycles per pixel (`BANDS`), as the ratio of
  reconstruction to slice: 1 means the same, and below 1 detail of that size is missing. `fine_power` is the
  ratio for details of two to four pixels (1/8 to 1/4 cycles per pixel).
- `fine_invented`: the share of the reconstruction's power in that detail that no multiple of the slice's own
  explains, slice by slice. 0 for a blurred slice; as large as the noise's share where noise was added.
- `histogram_hu`: the Wasserstein distance between the HU inside the readers' mask, regardless of position.
- `margin`: the steepness of the lesion's edge, as the ratio of reconstruction to slice (`data.properties`):
  the steepest fall within 1.5 pixels of the readers' outline, median over the rays that end in lung.

Ratios are of means over slices: a mean of ratios would depend on slices with values near 0.
"""

from __future__ import annotations

import numpy as np

from lungvae_core.data.outlines import outlines_of
from lungvae_core.data.properties import edge_steepness
from lungvae_core.data.slices import SIZE

BANDS = tuple((low / 16, (low + 1) / 16) for low in range(8))  # cycles per pixel; 1/2 is the finest possible
FINE = (2, 3)  # indices of BANDS
REAL, DRAWN = "_real", "_drawn"  # suffixes of a ratio's two columns

_AWAY = np.hypot(*np.meshgrid(np.fft.fftfreq(SIZE), np.fft.fftfreq(SIZE)))  # (64, 64) cycles per pixel
_HANN = np.outer(np.hanning(SIZE), np.hanning(SIZE))


def sharpness(
    x: np.ndarray, y: np.ndarray, masks: np.ndarray, window_hu: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Columns (N,) of images y against slices x, both (N, 64, 64) in 0..1 of the window.

    They are `power_0_real`, `power_0_drawn` and so on for each band, `fine_power_real` and `_drawn`,
    `fine_invented_real` (the reconstruction's fine power) and `_drawn` (what of it is invented), and, NaN if
    a slice has no mask or no edge in lung, `inside_histogram` (0..1), `inside_margin_real` and `_drawn`.
    """
    columns: dict[str, np.ndarray] = {}
    waves = {REAL: _waves(x), DRAWN: _waves(y)}
    for kind, of_images in waves.items():
        power = _banded(np.abs(of_images) ** 2)
        columns |= {f"power_{band}{kind}": power[:, band] for band in range(len(BANDS))}
        columns[f"fine_power{kind}"] = power[:, list(FINE)].sum(1)
    shared = _banded((waves[REAL] * waves[DRAWN].conj()).real)[:, list(FINE)].sum(1)
    own, drawn = columns[f"fine_power{REAL}"], columns[f"fine_power{DRAWN}"]
    explained = shared**2 / np.maximum(own, np.finfo(float).tiny)
    columns |= {f"fine_invented{REAL}": drawn, f"fine_invented{DRAWN}": drawn - explained}
    columns["inside_histogram"] = _histogram_distance(x, y, masks > 0)
    low, high = window_hu
    real_hu, drawn_hu = (low + (high - low) * images for images in (x, y))
    outlines = outlines_of(real_hu, masks)
    steep = edge_steepness(real_hu, drawn_hu, outlines)
    for values, kind in zip(steep, (REAL, DRAWN), strict=True):
        columns[f"inside_margin{kind}"] = np.where(outlines.trusted, values, np.nan)
    return columns


def _waves(images: np.ndarray) -> np.ndarray:
    """(N, 64, 64) the complex spectrum of images, without their means and Hann-windowed."""
    return np.fft.fft2((images - images.mean((1, 2), keepdims=True)) * _HANN, norm="ortho")


def _banded(power: np.ndarray) -> np.ndarray:
    """(N, len(BANDS)) power (N, 64, 64) in each band, summed over its frequencies."""
    # The last band includes the higher frequencies in the corners.
    band = np.minimum((_AWAY * 16).astype(int), len(BANDS) - 1)
    return np.stack([power[:, band == number].sum(1) for number in range(len(BANDS))], axis=1)


def _histogram_distance(x: np.ndarray, y: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """(N,) the Wasserstein distance between the values inside the masks; NaN without one."""
    columns = np.full(len(x), np.nan)
    for row in np.flatnonzero(masks.any((1, 2))):
        inside = masks[row]
        columns[row] = np.abs(np.sort(x[row][inside]) - np.sort(y[row][inside])).mean()
    return columns
