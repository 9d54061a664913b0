"""clusters.json: a run's clusters by every method, with their attributes, written once and read by pages."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, pairwise_distances

from lungvae_core.data.columns import NODULE
from lungvae_core.data.counted import chosen_rows
from lungvae_core.data.labels import RULES
from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.agreement import agreement, ami
from lungvae_core.explore.clusters.attributes import RULE, Attribute, attributes
from lungvae_core.explore.clusters.methods import (
    METHODS,
    NOISE,
    TITLES,
    Method,
    choose,
    fit_kmeans,
    silhouette,
)
from lungvae_core.explore.clusters.schema import ClustersReport
from lungvae_core.explore.clusters.stability import featureless, stability, without_groups
from lungvae_core.explore.clusters.words import describe
from lungvae_core.explore.maps import map_quality, nodules
from lungvae_core.files import write_figures
from lungvae_core.schema import read_as
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import left_out_of
from lungvae_core.training.lesion_space import LesionSpace, metric

FORMAT = 1
FILE = "clusters.json"
UNITS = ("nodule", "slice")
LEAST_UNITS = 20
MOST_UNITS = 3000  # all distances between them are held in memory
# Of the curve over k: what each clustering is compared with, too.
ALONG_K = ("malignancy", "size", "place", "patient")


@dataclass(frozen=True)
class Amount:
    """Numbers of resamples and shuffles."""

    resamples: int
    permutations: int
    featureless: int


FULL, QUICK = Amount(50, 1000, 5), Amount(5, 100, 2)


def make_clusters(
    run: Run,
    *,
    unit: str = "nodule",
    seed: int = 0,
    quick: bool = False,
    out: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Cluster a run's nodules (their mean codes) or slices by every method; write clusters.json.

    `out` is another file to write. `quick` takes a tenth of the draws. More than MOST_UNITS are sampled.
    Raises UserError for another unit, without codes, or with fewer than LEAST_UNITS lesions.
    """
    started = time.monotonic()
    table, codes = run.latents()
    at, rows, used, sizes = _units(table, codes, unit, seed)
    space = LesionSpace.of(run, table, codes)
    report = cluster(
        table.iloc[rows].reset_index(drop=True),
        space.points(used[at]).astype(float),
        unit=unit,
        seed=seed,
        amount=QUICK if quick else FULL,
        on_progress=on_progress,
    )
    report = {
        "format": FORMAT,
        "space": metric(run.config),
        "sample": None if len(at) == len(used) else at.tolist(),
        "rows": rows.tolist(),
        "slices": len(table),
        "counted": chosen_rows(
            np.repeat(np.isin(np.arange(len(sizes)), at), sizes),
            f"of {unit}s that are not among the {len(at):,} drawn",
            before=left_out_of(run, table),
        ).model_dump(),
        "codes": _fingerprint(codes),
        "quick": quick,
        "labels_shaped_codes": run.config.labels_shape_codes,
        "data": {"name": run.info.data.name, "content_hash": run.info.data.content_hash},
        "maps": map_quality(run, space, seed=seed),
        **report,
        "seconds": time.monotonic() - started,
        "versions": {name: version(name) for name in ("numpy", "scikit-learn", "classixclustering")},
    }
    write_figures(out or run.folder / FILE, report)
    return report


def cluster(
    frame: pd.DataFrame,
    points: np.ndarray,
    *,
    unit: str = "nodule",
    seed: int = 0,
    amount: Amount = FULL,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Clusters of lesions `frame` (M rows of a run's table) at points (M, D), with all figures."""
    lesions = _Lesions(
        frame,
        points,
        pairwise_distances(points),
        frame["patient_id"].astype(str).to_numpy(),
        attributes(frame),
        featureless(points, amount.featureless, seed),
        unit,
        seed,
        amount,
    )
    # The steps: choosing counts for ten, as the slowest of them does.
    steps = len(METHODS) * (10 + amount.resamples + amount.featureless)
    done = 0

    def step(count: int = 1) -> None:
        nonlocal done
        done += count
        on_progress(min(done, steps), steps)

    judged: dict[str, Any] = {}
    members: dict[str, np.ndarray] = {}
    for name in METHODS:
        method = choose(name, points, seed=seed, distances=lesions.distances)
        step(10)
        if name == "kmeans":
            lesions.compare_along_k(method)
        members[name] = method.fit(points)
        judged[name] = lesions.judge(method, members[name], step)
    label = next((one.groups for one in lesions.attributes if one.name == "malignancy"), np.zeros(0, int))
    return {
        "unit": unit,
        "units": len(points),
        "nodules": len(frame[NODULE].drop_duplicates()),
        "patients": len(np.unique(lesions.patients)),
        "dimensions": points.shape[1],
        "label_rule": RULE,
        "label_rule_in_words": RULES[RULE],
        "labelled": {"units": int((label >= 0).sum()), "malignant": int((label == 1).sum())},
        "seed": seed,
        "resamples": amount.resamples,
        "permutations": amount.permutations,
        "featureless": amount.featureless,
        "methods": judged,
        "alike": [
            {"methods": pair, "rand": float(adjusted_rand_score(*(members[name] for name in pair)))}
            for pair in combinations(METHODS, 2)
        ],
    }


@dataclass(frozen=True)
class _Lesions:
    """M lesions that are clustered, and what their clusters are compared with."""

    frame: pd.DataFrame
    points: np.ndarray  # (M, D)
    distances: np.ndarray  # (M, M)
    patients: np.ndarray  # (M,)
    attributes: list[Attribute]
    sets: list[np.ndarray]  # each (M, D), without groups
    unit: str
    seed: int
    amount: Amount

    def compare_along_k(self, method: Method) -> None:
        """Add to each k of k-means the silhouette of sets without groups, and what its clusters follow."""
        apart = [pairwise_distances(one) for one in self.sets]
        for one in method.curve:
            widths = [
                silhouette(distance, fit_kmeans(other, one["k"], seed=self.seed)[0])
                for other, distance in zip(self.sets, apart, strict=True)
            ]
            one["featureless"] = {
                "value": float(np.mean(widths)),
                "low": float(np.min(widths)),
                "high": float(np.max(widths)),
            }
            members = fit_kmeans(self.points, one["k"], seed=self.seed)[0]
            one["ami"] = {each.name: ami(members, each) for each in self.attributes if each.name in ALONG_K}

    def judge(self, method: Method, members: np.ndarray, step: Callable[[], None]) -> dict[str, Any]:
        """Everything about one clustering, ready for JSON."""
        patients, seed, amount = self.patients, self.seed, self.amount
        steady = stability(
            method.fit, self.points, members, patients, resamples=amount.resamples, seed=seed, on_step=step
        )
        described = describe(self.frame, self.points, members, unit=self.unit, seed=seed)
        for one, jaccard in zip(described, steady.pop("jaccard"), strict=True):
            one["jaccard"] = jaccard
        compared = [
            agreement(members, each, patients, permutations=amount.permutations, seed=seed)
            for each in self.attributes
        ]
        return {
            "title": TITLES[method.name],
            "settings": method.settings,
            "chosen_by": method.chosen_by,
            "curve": method.curve,
            "count": int(members.max()) + 1,
            "noise": float(np.mean(members == NOISE)),
            "silhouette": silhouette(self.distances, members),
            "stability": steady,
            "featureless": without_groups(method.fit, self.sets, patients, seed=seed, on_step=step),
            "attributes": [one for one in compared if one is not None],
            "clusters": described,
            "members": members.tolist(),
        }


def _units(
    table: pd.DataFrame, codes: np.ndarray, unit: str, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(number of each lesion that is clustered (M,), its row in the table (M,), all units' codes (U, K)).

    The fourth is how many slices each unit has (U,).
    """
    if unit not in UNITS:
        raise UserError(f"Clusters are of one of {' or '.join(UNITS)}, not of {unit!r}.")
    rows, used, sizes = np.arange(len(table)), codes, np.ones(len(table), int)
    if unit == "nodule":
        frame, used = nodules(table, codes)
        rows, sizes = frame["row"].to_numpy(), frame["slices"].to_numpy()
    at = np.arange(len(rows))
    if len(at) > MOST_UNITS:
        at = np.sort(np.random.default_rng(seed).choice(len(at), MOST_UNITS, replace=False))
    if len(at) < LEAST_UNITS:
        raise UserError(f"{len(at)} {unit}(s) are too few for clusters; at least {LEAST_UNITS} are needed.")
    return at, rows[at], used, sizes


@dataclass(frozen=True)
class Clusters:
    """The content of clusters.json: its report, and for M lesions their rows and clusters."""

    report: dict[str, Any]
    unit: str
    at: np.ndarray  # (M,) number among the run's nodules (`maps.nodules`) or slices
    rows: np.ndarray  # (M,) the row of the run's table that stands for it
    members: dict[str, np.ndarray]  # method -> (M,) cluster, NOISE for none

    def centres(self, method: str, codes: np.ndarray) -> np.ndarray:
        """(C, K) float32 each cluster's mean of the units' codes (U, K); means of valid codes are valid."""
        used, members = codes[self.at], self.members[method]
        return np.stack([used[members == one].mean(0) for one in range(int(members.max()) + 1)])


def load_clusters(folder: Path, codes: np.ndarray, nodule_count: int) -> Clusters:
    """clusters.json of a run with codes (N, K); UserError when missing, damaged or of other codes."""
    again = f"lungvae clusters {folder}"
    if not (folder / FILE).is_file():
        raise UserError(f"The model {folder.name} has no clusters yet. Make them with `{again}`.")
    report = read_as(folder / FILE, ClustersReport, what="The model's clusters", again=again, newest=FORMAT)
    rows = np.array(report["rows"], int)
    at = np.arange(len(rows)) if report["sample"] is None else np.array(report["sample"], int)
    members = {name: np.array(one["members"], int) for name, one in report["methods"].items()}
    units = nodule_count if report["unit"] == "nodule" else len(codes)
    if report["codes"] != _fingerprint(codes) or rows.max() >= len(codes) or at.max() >= units:
        raise UserError(
            f"{folder / FILE} was not made from this model's codes. Make it again with `{again}`."
        )
    return Clusters(report, report["unit"], at, rows, members)


def _fingerprint(codes: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes, np.float32).tobytes()).hexdigest()[:16]
