"""Maps of the codes in two and three dimensions: UMAP, t-SNE and PCA, of slices and of nodules.

Distances and axes of UMAP and t-SNE maps have no clinical meaning. A new case is placed among its
neighbours in the original latent space, deterministically, rather than by a stochastic transform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

from lungvae_core.cache_places import without_numba_cache
from lungvae_core.data.columns import NODULE, numbers
from lungvae_core.errors import UserError
from lungvae_core.quiet import silence
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.lesion_space import LesionSpace

TITLES = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
METHODS = tuple(TITLES)
UNITS = ("slice", "nodule")
DIMS = (2, 3)
# The parameters of each method: name -> (least, most, default, in words).
PARAMETERS: dict[str, dict[str, tuple[float, float, float, str]]] = {
    "umap": {
        "neighbours": (2, 200, 15, "Neighbours: few show detail, many the whole"),
        "min_dist": (0.0, 0.99, 0.1, "Least distance: small packs neighbours tightly"),
        "seed": (0, 2**31 - 1, 0, "Seed"),
    },
    "tsne": {
        "perplexity": (5, 100, 30, "Perplexity: how many neighbours each point attends to"),
        "seed": (0, 2**31 - 1, 0, "Seed"),
    },
    "pca": {},
}
METRICS = ("euclidean", "cosine")
# Of a map's quality: the numbers of neighbours, and how many lesions are drawn, among which these are.
NEIGHBOURHOODS, MOST_LESIONS = (5, 15, 50), 2500


def columns(method: str, dims: int) -> list[str]:
    """The columns of a map's table: umap_x and umap_y, of three dimensions umap3_x, umap3_y and umap3_z."""
    return [f"{method}{'' if dims == 2 else dims}_{axis}" for axis in "xyz"[:dims]]


def check_parameters(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a method, the given ones and defaults; UserError for unknown and impossible ones."""
    if method not in PARAMETERS:
        raise UserError(f"There is no method {str(method)[:20]!r}; choose one of {', '.join(METHODS)}.")
    settings: dict[str, Any] = {name: default for name, (_, _, default, _) in PARAMETERS[method].items()}
    if method == "umap":
        settings["metric"] = METRICS[0]
    for name, value in given.items():
        if name not in settings:
            raise UserError(f"{TITLES[method]} has no parameter {str(name)[:20]!r}.")
        if name == "metric":
            if value not in METRICS:
                raise UserError(f"The metric is one of {', '.join(METRICS)}.")
            settings[name] = value
            continue
        low, high, default, _ = PARAMETERS[method][name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"{name} of {TITLES[method]} lies between {low:g} and {high:g}.")
        settings[name] = int(value) if isinstance(default, int) else float(value)
    return settings


def project(
    codes: np.ndarray,
    method: str,
    *,
    dims: int = 2,
    seed: int = 0,
    neighbours: int = 15,
    min_dist: float = 0.1,
    metric: str = "euclidean",
    perplexity: float = 30.0,
) -> np.ndarray:
    """(N, dims) float32 positions of features (N, K), centred and scaled to about -1..1."""
    neighbours = max(2, min(neighbours, len(codes) - 1))
    if method == "pca" or len(codes) < 5:
        components = PCA(min(dims, *codes.shape), random_state=seed).fit_transform(codes)
        xy = np.pad(components, ((0, 0), (0, dims - components.shape[1])))
    elif method == "tsne":
        perplexity = min(perplexity, (len(codes) - 1) / 3)
        xy = TSNE(dims, perplexity=perplexity, init="pca", random_state=seed).fit_transform(codes)
    else:
        without_numba_cache()
        import umap

        silence(message="n_jobs value")  # a seed takes one thread
        xy = umap.UMAP(
            n_components=dims, n_neighbors=neighbours, min_dist=min_dist, metric=metric, random_state=seed
        ).fit_transform(codes)
    xy = np.asarray(xy, np.float32)
    xy = xy - xy.mean(0)
    return xy / max(float(np.abs(xy).max()), 1e-9)


def nodules(table: pd.DataFrame, codes: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """(a row a nodule, codes (M, K)): the mean code, and the row of the largest (else middle) slice.

    The table has patient_id, nodule, `row` (the representative slice's row) and `slices` (how many).
    """
    areas = np.nan_to_num(numbers(table, "area_px"))
    rows, means = [], []
    for (patient, nodule), part in table.groupby(NODULE, sort=False):
        at = part.index.to_numpy()
        chosen = at[areas[at].argmax()] if areas[at].max() > 0 else at[len(at) // 2]
        rows.append({"patient_id": patient, "nodule": nodule, "row": int(chosen), "slices": len(at)})
        means.append(codes[at].mean(0))
    return pd.DataFrame(rows), np.stack(means)


def make_map(run: Run, unit: str, method: str, *, dims: int, **parameters: Any) -> np.ndarray:
    """(N, dims) float32: a map of a run's slices or nodules with custom parameters."""
    if unit not in UNITS or dims not in DIMS:
        raise UserError(f"A map is of {' or '.join(UNITS)}, in 2 or 3 dimensions.")
    table, codes = run.latents()
    space = LesionSpace.of(run, table, codes)
    if unit == "nodule":
        codes = nodules(table, codes)[1]
    return project(space.points(codes), method, dims=dims, **parameters)


def make_maps(
    run: Run,
    methods: tuple[str, ...] = METHODS,
    *,
    dims: tuple[int, ...] = DIMS,
    seed: int = 0,
    again: bool = True,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Write map-slice.parquet and map-nodule.parquet, with the `columns` of each method and of `dims`.

    map-slice has a row for each of latents.parquet; map-nodule has those of `nodules`. With `again` all are
    recomputed, else only missing ones: stored places stay unchanged.
    """
    table, codes = run.latents()
    units = {"slice": (pd.DataFrame(index=table.index), codes), "nodule": nodules(table, codes)}
    space = LesionSpace.of(run, table, codes)
    done = 0
    for unit, (frame, unit_codes) in units.items():
        name = f"map-{unit}.parquet"
        if not again and run.has(name):
            stored = run.read_table(name, hint="Make it with `lungvae map --again`.")
            if len(stored) == len(frame):
                frame = stored
        inputs = space.points(unit_codes)
        for method in methods:
            for count in dims:
                axes = columns(method, count)
                if again or not set(axes) <= set(frame):
                    places = project(inputs, method, dims=count, seed=seed)
                    frame = frame.assign(**dict(zip(axes, places.T, strict=True)))
                done += 1
                on_progress(done, len(methods) * len(units) * len(dims))
        run.write_table(name, frame)


def map_quality(run: Run, space: LesionSpace, *, seed: int) -> list[dict[str, Any]]:
    """Whether neighbours on a run's 2D maps are neighbours in its lesion space, and the other way round.

    Trustworthiness and continuity (Venna & Kaski 2001) at each of NEIGHBOURHOODS, for each map that exists: 1
    is perfect; positions at random give about 0.5. At most one slice per nodule is used: slices of one nodule
    are neighbours on any map.
    """
    table, codes = run.latents()
    frame, means = nodules(table, codes)
    generator = np.random.default_rng(seed)
    shuffled = table.iloc[generator.permutation(len(table))]
    one_each = np.sort(shuffled[~shuffled.duplicated(NODULE)].index.to_numpy())
    units = {"nodule": (np.arange(len(frame)), means), "slice": (one_each, codes)}
    qualities = []
    for unit, (rows, unit_codes) in units.items():
        if not run.has(f"map-{unit}.parquet"):
            continue
        places = run.read_table(f"map-{unit}.parquet", hint="Make it with `lungvae map`.")
        if len(places) != len(unit_codes):
            continue  # a map of other codes
        if len(rows) > MOST_LESIONS:
            rows = np.sort(generator.choice(rows, MOST_LESIONS, replace=False))
        inputs = space.points(unit_codes[rows])
        for method, title in TITLES.items():
            if set(axes := columns(method, 2)) <= set(places):
                xy = places[axes].to_numpy()[rows]
                qualities.append({"unit": unit, "method": method, "title": title, **quality(inputs, xy)})
    return qualities


def quality(inputs: np.ndarray, xy: np.ndarray) -> dict[str, Any]:
    """Trustworthiness and continuity of places xy (M, 2) for inputs (M, D), a value for each of `neighbours`.

    Continuity is the trustworthiness of the inputs as a map of the places.
    """
    neighbours = [count for count in NEIGHBOURHOODS if count < len(inputs) / 2]
    return {
        "lesions": len(inputs),
        "neighbours": neighbours,
        "trustworthiness": [float(trustworthiness(inputs, xy, n_neighbors=count)) for count in neighbours],
        "continuity": [float(trustworthiness(xy, inputs, n_neighbors=count)) for count in neighbours],
    }
