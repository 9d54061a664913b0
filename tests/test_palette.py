"""The colours that figures, maps and images share."""

from __future__ import annotations

import numpy as np

from lungvae_core.palette import LESS, MORE, diverging


def test_differences_are_blue_below_orange_above_and_dark_at_zero():
    below, nothing, above, beyond = diverging(np.array([-0.25, 0, 0.25, 9.0]), 0.25)
    assert tuple(below) == LESS
    assert nothing.max() < 20
    assert tuple(above) == tuple(beyond) == MORE
