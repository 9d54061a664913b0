"""Each cluster in figures and words: count, malignancy, size, and differences from the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.data.columns import numbers
from lungvae_core.data.labels import labels
from lungvae_core.data.slices import RATINGS
from lungvae_core.explore.clusters.attributes import RULE, place, rating_values
from lungvae_core.explore.clusters.methods import NOISE
from lungvae_core.explore.colours import BANDS_MM
from lungvae_core.number_text import plural
from lungvae_core.statistics.intervals import percentile_interval, wilson
from lungvae_core.statistics.patients import draw_counts
from lungvae_core.statistics.rates import share

# The smallest differences to mention, in standard deviations from the rest and from all lesions: where almost
# all lesions are in one cluster, it is the rest that differs.
TELLS, TELLS_OF_ALL = 0.3, 0.15
RESAMPLES = 500
MOST_NAMED = 4  # differences in words
MOST_TYPICAL = 4  # lesions
LIKE_THE_REST = "like the rest"
# Property -> adjectives for a cluster with more of it than the rest, and with less.
WORDS = {
    "diameter": ("larger", "smaller"),
    "malignancy": ("more suspicious to readers", "less suspicious to readers"),
    "subtlety": ("more obvious", "more subtle"),
    "calcification": ("more often calcified", "less often calcified"),
    "sphericity": ("rounder", "less round"),
    "margin": ("of sharper margin", "of less sharp margin"),
    "lobulation": ("more lobulated", "less lobulated"),
    "spiculation": ("more spiculated", "less spiculated"),
    "texture": ("more solid", "less solid"),
    "down": ("lower in the image", "higher in the image"),
    "across": ("further right in the image", "further left in the image"),
}


def describe(
    frame: pd.DataFrame,
    points: np.ndarray,
    members: np.ndarray,
    *,
    unit: str = "nodule",
    seed: int = 0,
) -> list[dict[str, Any]]:
    """A description of each cluster of lesions `frame` (M rows) at points (M, D); intervals over patients.

    `frame` has the run's table's columns. A description has counts, `malignant` (the share among labelled,
    with its 95 % interval), `diameter_mm`, `differences` from the rest (standard deviations of all lesions),
    `typical` (up to four lesions, of different patients, nearest to the cluster's mean: numbers in `frame`),
    `name` and `words`.
    """
    patient, names = pd.factorize(frame["patient_id"].astype(str))
    weights = np.vstack([np.ones(len(names)), draw_counts(len(names), RESAMPLES, seed=seed)])
    label = labels(frame, "mvb", RULE)
    values = properties(frame)
    nodules = frame["patient_id"].astype(str) + ":" + frame["nodule"].astype(str)
    described = []
    for cluster in range(int(members.max()) + 1):
        inside = members == cluster
        labelled = inside & ~np.isnan(label)
        one: dict[str, Any] = {
            "cluster": cluster,
            "unit": unit,
            "units": int(inside.sum()),
            "share": float(inside.mean()),
            "nodules": int(nodules[inside].nunique()),
            "patients": len(np.unique(patient[inside])),
            "labelled": int(labelled.sum()),
            "malignant": _share(label, labelled, patient, weights),
            "malignant_of_all": float(np.nanmean(label)) if (~np.isnan(label)).any() else None,
            "diameter_mm": _quartiles(frame, inside),
            "bands": _bands(frame, inside),
            "differences": [
                {"name": name, **_difference(value, inside, patient, weights)}
                for name, value in values.items()
            ],
            "typical": _typical(points, inside, patient),
        }
        one["name"], one["words"] = cluster_name(one), cluster_words(one)
        described.append(one)
    return described


def properties(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Properties to compare clusters by, name -> (M,) float: log diameter, ratings, place in the CT image."""
    values: dict[str, np.ndarray] = {}
    if "diameter_mm" in frame:
        diameter = numbers(frame, "diameter_mm")
        values["diameter"] = np.log(np.where(diameter > 0, diameter, np.nan))
    for rating in ["malignancy", *RATINGS]:
        if rating in WORDS and rating not in values and f"{rating}_all" in frame:
            values[rating] = rating_values(frame, rating)
    if {"row0", "col0"} <= set(frame):
        values["down"], values["across"] = place(frame)
    return {name: value for name, value in values.items() if np.nanstd(value) > 1e-9}


def cluster_name(cluster: dict[str, Any]) -> str:
    """A short name from the two clearest differences of a description, as "larger, more solid"."""
    return ", ".join(_word(one) for one in _clear_differences(cluster)[:2]) or LIKE_THE_REST


def cluster_words(cluster: dict[str, Any]) -> str:
    """A description of `describe` in sentences: counts, malignant share, size, differences from the rest."""
    unit = cluster["unit"]
    of = f" ({cluster['nodules']:,} nodules)" if unit != "nodule" else ""
    sentences = [f"{plural(cluster['units'], unit)}{of} of {plural(cluster['patients'], 'patient')}."]
    malignant = cluster["malignant"]
    if malignant["value"] is None:
        sentences.append("None is labelled malignant or benign.")
    else:
        sentences.append(
            f"Malignant: {malignant['value']:.0%} of {cluster['labelled']:,} labelled (95 % interval "
            f"{malignant['low']:.0%} to {malignant['high']:.0%}; of all {cluster['malignant_of_all']:.0%})."
        )
    if size := cluster["diameter_mm"]:
        sentences.append(
            f"Median diameter {size['median']:.1f} mm (middle half {size['low']:.1f} to {size['high']:.1f})."
        )
    clear = [f"{_word(one)} ({one['value']:+.1f} SD)" for one in _clear_differences(cluster)[:MOST_NAMED]]
    against = f"Against the rest: {', '.join(clear)}."
    sentences.append(against if clear else f"In size, ratings and place {LIKE_THE_REST}.")
    return " ".join(sentences)


def in_words(method: dict[str, Any], unit: str) -> str:
    """A method's clusters in sentences: compared with codes without groups, and their attributes."""
    if method["count"] < 2:
        groups = "no group" if method["count"] == 0 else "one group only"
        return f"{method['title']} finds {groups} among these {unit}s: {method['chosen_by']}."
    sentences = [f"{method['title']} finds {method['count']} clusters"]
    if method["noise"]:
        sentences[0] += f" and leaves {method['noise']:.0%} of the {unit}s in none"
    bare = method["featureless"]
    low, high = bare["clusters"]["low"], bare["clusters"]["high"]
    if bare["silhouette"]["value"] is None:
        none = {0: "no group", 1: "no two groups"}[min(high, 1)]
        sentences[0] += f", and {none} in codes that have none."
    else:
        sentences[0] += (
            f" ({low if low == high else f'{low} to {high}'} in codes that have none). Their silhouette is "
            f"{method['silhouette']:.2f}, there {bare['silhouette']['value']:.2f} (0: touching)."
        )
    ami = {one["name"]: one["ami"] for one in method["attributes"]}
    above = [one for one in method["attributes"] if one["ami"]["value"] > one["ami"]["null_high"]]
    if above:
        most = max(above, key=lambda one: one["ami"]["value"])
        sentences.append(
            f"Most of all they go with the {most['title']} (AMI {most['ami']['value']:.2f} of 1)."
        )
    if "malignancy" in ami:
        value, high = ami["malignancy"]["value"], ami["malignancy"]["null_high"]
        chance = "above chance" if value > high else "no more than chance gives"
        sentences.append(f"Their AMI with malignancy is {value:.3f}, {chance} (up to {high:.3f}).")
    return " ".join(sentences)


def _clear_differences(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """The differences that are large enough and whose interval is clear of 0, clearest first."""
    clear = [
        one
        for one in cluster["differences"]
        if one["value"] is not None
        and abs(one["value"]) >= max(TELLS, TELLS_OF_ALL / max(1 - cluster["share"], 1e-9))
        and one["low"] * one["high"] > 0
    ]
    return sorted(clear, key=lambda one: -abs(one["value"]))


def _word(difference: dict[str, Any]) -> str:
    return WORDS[difference["name"]][0 if difference["value"] > 0 else 1]


def _mean(values: np.ndarray, part: np.ndarray, patient: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) means of the values of `part` (M,) under weights of patients (B, P)."""
    sums, counts = (
        weights @ np.bincount(patient[part], weights=each, minlength=weights.shape[1])
        for each in (values[part], None)
    )
    return share(sums, counts)


def _interval(figures: np.ndarray) -> dict[str, float | None]:
    """The first is the value, the others are of resamples."""
    interval = percentile_interval(figures[0], figures[1:])
    return dict.fromkeys(interval) if np.isnan(list(interval.values())).any() else dict(interval)


def _share(
    label: np.ndarray, part: np.ndarray, patient: np.ndarray, weights: np.ndarray
) -> dict[str, float | None]:
    malignant = _interval(_mean(label, part, patient, weights))
    if malignant["value"] in (0.0, 1.0):
        # All alike, every resample is so as well; Wilson's interval is not of no width.
        low, high = wilson(malignant["value"], len(np.unique(patient[part])))
        malignant |= {"low": low, "high": high}
    return malignant


def _difference(
    values: np.ndarray, inside: np.ndarray, patient: np.ndarray, weights: np.ndarray
) -> dict[str, float | None]:
    """How far the cluster's mean lies from the rest's, in standard deviations of all."""
    rated = ~np.isnan(values)
    apart = _mean(values, inside & rated, patient, weights) - _mean(values, ~inside & rated, patient, weights)
    return _interval(apart / max(float(np.nanstd(values)), 1e-12))


def _quartiles(frame: pd.DataFrame, inside: np.ndarray) -> dict[str, float] | None:
    size = numbers(frame, "diameter_mm")[inside]
    if np.isnan(size).all():
        return None
    low, median, high = np.nanpercentile(size, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def _bands(frame: pd.DataFrame, inside: np.ndarray) -> list[int] | None:
    if "diameter_mm" not in frame:
        return None
    size = numbers(frame, "diameter_mm")[inside]
    return np.bincount(np.digitize(size[~np.isnan(size)], BANDS_MM), minlength=4).tolist()


def _typical(points: np.ndarray, inside: np.ndarray, patient: np.ndarray) -> list[int]:
    rows = np.flatnonzero(inside)
    apart = np.linalg.norm(points[rows] - points[rows].mean(0), axis=1)
    rows = rows[np.argsort(apart, kind="stable")]
    _, first = np.unique(patient[rows], return_index=True)
    return rows[np.sort(first)][:MOST_TYPICAL].tolist()


def named(clusters: list[dict[str, Any]], members: np.ndarray) -> list[str]:
    """(M,) the name of each lesion's cluster, for labels on a map; empty for those in none."""
    names = [cluster["name"] for cluster in clusters]
    return ["" if member == NOISE else names[member] for member in members]
