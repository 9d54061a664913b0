"""Share of fine detail in decoded lesions, which a slider for a rating can draw and no reader would read.

A decoder that is trained against a network for ratings can satisfy it with patterns of single pixels, to
which the judge, another network, may respond too. So this stands beside the judge's predictions.
"""

from __future__ import annotations

import numpy as np

from lungvae_core.data.slices import SIZE

FINE, COARSE = (1 / 4, 1), (1 / 16, 1 / 8)  # cycles per pixel: under 4 pixels, and 8 to 16
MIDDLE = 32  # pixels: the side of the part of a slice that is looked at, where the lesion lies
MUCH = 2.0  # times the starting lesions' share, above which it is said in words
_FLOOR = 1.0  # HU²


def fine_share(hu: np.ndarray) -> np.ndarray:
    """(N,) power of detail under 4 pixels over that of 8 to 16, in the middle of slices hu (N, 64, 64).

    Relative, since both grow where a lesion becomes brighter.
    """
    start = (SIZE - MIDDLE) // 2
    middle = np.asarray(hu, np.float64)[:, start : start + MIDDLE, start : start + MIDDLE]
    window = np.outer(np.hanning(MIDDLE), np.hanning(MIDDLE))
    power = np.abs(np.fft.fft2((middle - middle.mean((1, 2), keepdims=True)) * window)) ** 2
    frequency = np.fft.fftfreq(MIDDLE)
    away = np.hypot(frequency[:, None], frequency[None])
    fine, coarse = (power[:, (low <= away) & (away < high)].sum(1) for low, high in (FINE, COARSE))
    floor = _FLOOR * (window**2).sum() * MIDDLE**2
    return (fine + floor) / (coarse + floor)


def growth(walks: np.ndarray, shares: np.ndarray, steps: int) -> list[float]:
    """[low, high] times the starts' `shares` (S,) at both ends of their walks (S * T, 64, 64) in HU.

    Medians over the starts; each walk has T `steps`.
    """
    ends = [fine_share(walks[at::steps]) for at in (0, steps - 1)]
    return [float(np.median(end / shares)) for end in ends]
