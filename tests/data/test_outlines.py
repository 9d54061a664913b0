"""No outline is believed where there is no lesion."""

from __future__ import annotations

import numpy as np

from lungvae_core.data.outlines import segment
from lungvae_core.data.properties import measure


def test_no_outline_is_believed_where_there_is_no_lesion():
    generator = np.random.default_rng(0)
    hu = -850 + generator.normal(0, 5, (3, 64, 64))
    outlines = segment(hu)
    assert not outlines.trusted.any()
    assert np.isnan(measure(hu, outlines)).all()
    assert segment(np.zeros((0, 64, 64))).radius.shape[0] == 0
