"""Whether neighbours on a run's 2D maps are neighbours in the latent space, and the other way round.

Trustworthiness and continuity: Venna & Kaski 2001. 1 is perfect; positions at random give about 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.manifold import trustworthiness

from lungvae_core.explore.maps import TITLES, nodules
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.lesion_space import LesionSpace

NEIGHBOURS = (5, 15, 50)
MOST = 2500  # lesions that are judged; neighbours are sought among them


def map_quality(
    run: Run, space: LesionSpace, *, seed: int = 0, on_step: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Trustworthiness and continuity at each of NEIGHBOURS of every map that the run has; none without maps.

    At most one slice per nodule is used: slices of one nodule are neighbours on any map.
    """
    table, codes = run.latents()
    frame, means = nodules(table, codes)
    generator = np.random.default_rng(seed)
    shuffled = table.iloc[generator.permutation(len(table))]
    one_each = np.sort(shuffled[~shuffled.duplicated(["patient_id", "nodule"])].index.to_numpy())
    units = {"nodule": (np.arange(len(frame)), means), "slice": (one_each, codes)}
    qualities = []
    for unit, (rows, unit_codes) in units.items():
        if not run.has(f"map-{unit}.parquet"):
            continue
        places = run.read_table(f"map-{unit}.parquet", hint="Make it with `lungvae map`.")
        if len(places) != len(unit_codes):
            continue  # a map of other codes
        if len(rows) > MOST:
            rows = np.sort(generator.choice(rows, MOST, replace=False))
        inputs = space.points(unit_codes[rows])
        for method, title in TITLES.items():
            if {f"{method}_x", f"{method}_y"} <= set(places):
                xy = places[[f"{method}_x", f"{method}_y"]].to_numpy()[rows]
                qualities.append({"unit": unit, "method": method, "title": title, **quality(inputs, xy)})
                on_step()
    return qualities


def quality(inputs: np.ndarray, xy: np.ndarray) -> dict[str, Any]:
    """Trustworthiness and continuity of places xy (M, 2) for inputs (M, D), a value for each of `neighbours`.

    Continuity is the trustworthiness of the inputs as a map of the places.
    """
    neighbours = [count for count in NEIGHBOURS if count < len(inputs) / 2]
    return {
        "lesions": len(inputs),
        "neighbours": neighbours,
        "trustworthiness": [float(trustworthiness(inputs, xy, n_neighbors=count)) for count in neighbours],
        "continuity": [float(trustworthiness(xy, inputs, n_neighbors=count)) for count in neighbours],
    }
