"""What clusters are compared with."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lungvae_core.explore.clusters.attributes import attributes
from tests.explore.clusters.conftest import lesions, planted


def test_only_what_is_known_is_compared() -> None:
    _, truth = planted(60)
    frame = lesions(truth)
    assert [one.name for one in attributes(frame)] == [
        "malignancy",
        "size",
        "rating-malignancy",
        "rating-spiculation",
        "rating-texture",
        "patient",
    ]
    bare = frame[["patient_id", "nodule"]]
    assert [one.name for one in attributes(bare)] == ["patient"]
    placed = frame.assign(row0=np.arange(60) * 7, col0=np.arange(60) * 7 % 450, slice_thickness_mm=1.25)
    kinds = {one.name: one.kind for one in attributes(placed)}
    assert kinds["place"] == "surroundings"
    assert "thickness" not in kinds  # the same of all
    diameter = pd.DataFrame({"diameter_mm": [5.9, 6, 7.9, 8, 14.9, 15] * 3, "patient_id": list("abcdef") * 3})
    size = next(one for one in attributes(diameter) if one.name == "size")
    assert size.groups[:6].tolist() == [0, 1, 1, 2, 2, 3]
