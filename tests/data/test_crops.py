"""Crops follow the paper's rule."""

from __future__ import annotations

import numpy as np
import pytest

from lungvae_core.data.crops import crop
from lungvae_core.errors import UserError


def test_crops_follow_the_papers_rule_and_fill_with_air() -> None:
    image = np.arange(200 * 200, dtype=np.int32).reshape(200, 200) % 3000
    image = image.astype(np.int16)
    np.testing.assert_array_equal(crop(image, 100, 100), image[68:132, 68:132])  # whole centre: one less
    np.testing.assert_array_equal(crop(image, 100.5, 100), image[69:133, 68:132])
    corner = crop(image, 0, 0)
    assert (corner[:32] == -1000).all()
    np.testing.assert_array_equal(corner[32:, 32:], image[:32, :32])
    with pytest.raises(UserError, match="outside"):
        crop(image, 250, 3)
