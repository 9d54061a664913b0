"""What is measured of an outlined lesion is what it is."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.data.outlines import segment
from lungvae_core.data.properties import PROPERTIES, measure

KEYS = list(PROPERTIES)


def test_a_disc_is_measured_as_what_it_is():
    y, x = np.mgrid[:64, :64] - 31.75
    for radius in (2.5, 6.0, 15.0):
        share = np.clip(radius - np.hypot(x, y) + 0.5, 0, 1)
        hu = (-850 + 880 * share)[None]
        outlines = segment(hu)
        value = dict(zip(KEYS, measure(hu, outlines)[0], strict=True))
        assert outlines.trusted.all()
        # The outline of what is denser than -100 HU lies a little outside half of its height.
        assert 2 * radius - 0.2 < value["diameter_px"] < 2 * radius + 0.6
        assert value["mean_hu"] == pytest.approx(30, abs=60)
        assert value["eccentricity"] < 0.3
        assert value["solidity"] > 0.97
        assert value["around_hu"] == pytest.approx(-850, abs=1)
        assert abs(value["right_px"]) < 0.1


def test_an_ellipse_and_a_star_differ_in_what_makes_them_differ():
    y, x = np.mgrid[:64, :64] - 31.75
    turn, away = np.arctan2(y, x), np.hypot(x, y)

    def value(radius: np.ndarray) -> dict[str, float]:
        hu = (-850 + 880 * np.clip(radius - away + 0.5, 0, 1))[None]
        return dict(zip(KEYS, measure(hu, segment(hu))[0], strict=True))

    disc = value(np.full_like(away, 10.0))
    ellipse = value(1 / np.sqrt((np.cos(turn) / 14) ** 2 + (np.sin(turn) / 7) ** 2))
    star = value(10 + 2 * np.cos(5 * turn))
    assert ellipse["eccentricity"] == pytest.approx(np.sqrt(1 - 0.25), abs=0.06)
    assert star["eccentricity"] < 0.4
    assert star["roughness"] > 3 * max(disc["roughness"], 0.02)
    assert star["solidity"] < 0.92 < ellipse["solidity"]
