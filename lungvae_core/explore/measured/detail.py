"""Share of fine detail in decoded lesions, which a slider for a rating can draw and no reader would read.

A decoder that is trained against a network for ratings can satisfy it with patterns of single pixels, to
which the judge, another network, may respond too. So this stands beside the judge's predictions.
"""

from __future__ import annotations

import numpy as np
import torch

from lungvae_core.training.reader import MIDDLE, middle_power

FINE, COARSE = (1 / 4, 1), (1 / 16, 1 / 8)  # cycles per pixel: under 4 pixels, and 8 to 16
MUCH = 2.0  # times the starting lesions' share, above which it is said in words
_FLOOR = float((np.hanning(MIDDLE) ** 2).sum() ** 2)  # HU²: the windowed power of noise of 1 HU


def fine_share(hu: np.ndarray) -> np.ndarray:
    """(N,) power of detail under 4 pixels over that of 8 to 16, in the middle of slices hu (N, 64, 64).

    Relative, since both grow where a lesion becomes brighter.
    """
    fine, coarse = middle_power(torch.tensor(np.asarray(hu, np.float32)), (FINE, COARSE)).T.numpy() + _FLOOR
    return fine / coarse


def growth(walks: np.ndarray, shares: np.ndarray, steps: int) -> list[float]:
    """[low, high] times the starts' `shares` (S,) at both ends of their walks (S * T, 64, 64) in HU.

    Medians over the starts; each walk has T `steps`.
    """
    ends = [fine_share(walks[at::steps]) for at in (0, steps - 1)]
    return [float(np.median(end / shares)) for end in ends]
