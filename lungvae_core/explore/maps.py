"""Two-dimensional maps of the codes: UMAP, t-SNE and PCA, of slices and of nodules.

Distances and axes of UMAP and t-SNE maps have no clinical meaning. A new case is placed among its
neighbours in the original latent space, deterministically, rather than by a stochastic transform.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from lungvae_core.explore.neighbours import features
from lungvae_core.training.checkpoints import Run

TITLES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
METHODS = tuple(TITLES)
UNITS = ("slice", "nodule")


def project(codes: np.ndarray, method: str, *, seed: int = 0, neighbours: int = 15) -> np.ndarray:
    """(N, 2) float32 positions of features (N, K), centred and scaled to about -1..1."""
    neighbours = max(2, min(neighbours, len(codes) - 1))
    if method == "pca" or len(codes) < 5:
        xy = PCA(2, random_state=seed).fit_transform(codes)
    elif method == "tsne":
        perplexity = min(30.0, (len(codes) - 1) / 3)
        xy = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)
    else:
        import warnings

        import umap

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="n_jobs value")
            xy = umap.UMAP(n_neighbors=neighbours, min_dist=0.1, random_state=seed).fit_transform(codes)
    xy = np.asarray(xy, np.float32)
    xy = xy - xy.mean(0)
    return xy / max(float(np.abs(xy).max()), 1e-9)


def nodules(table: pd.DataFrame, codes: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """(a row a nodule, codes (M, K)): the mean code, and the row of the largest (else middle) slice.

    The table has patient_id, nodule, `row` (the representative slice's row) and `slices` (how many).
    """
    rows, means = [], []
    for (patient, nodule), part in table.groupby(["patient_id", "nodule"], sort=False):
        at = part.index.to_numpy()
        if "area_px" in part and part["area_px"].notna().any() and part["area_px"].max() > 0:
            chosen = at[int(np.nanargmax(part["area_px"].to_numpy(float)))]
        else:
            chosen = at[len(at) // 2]
        rows.append({"patient_id": patient, "nodule": nodule, "row": int(chosen), "slices": len(at)})
        means.append(codes[at].mean(0))
    return pd.DataFrame(rows), np.stack(means)


def make_maps(
    run: Run,
    methods: tuple[str, ...] = METHODS,
    *,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Write map-slice.parquet and map-nodule.parquet: columns <method>_x and <method>_y.

    map-slice has a row for each of latents.parquet; map-nodule has those of `nodules`.
    """
    table, codes = run.latents()
    units = {"slice": (pd.DataFrame(index=table.index), codes), "nodule": nodules(table, codes)}
    done = 0
    for unit, (frame, unit_codes) in units.items():
        inputs = features(unit_codes, run.config.model.prior)
        for method in methods:
            xy = project(inputs, method, seed=seed)
            frame[f"{method}_x"], frame[f"{method}_y"] = xy[:, 0], xy[:, 1]
            done += 1
            on_progress(done, len(methods) * len(units))
        run.write_table(f"map-{unit}.parquet", frame)
