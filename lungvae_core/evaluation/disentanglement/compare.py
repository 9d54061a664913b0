"""Compare runs: mean and spread by prior, and which differences exceed those between seeds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import ttest_ind

from lungvae_core.evaluation.disentanglement.scores import WORDS
from lungvae_core.vae.latents import FAMILIES

PHANTOM_WORDS = {"factor_vae": "FactorVAE score", "beta_vae": "BetaVAE score"}
SPACE_WORDS = {"code": "codes", "log_ratio": "log-ratios"}
VARIANT_WORDS = {"raw": "raw", "without_size": "without size", "phantom": "phantom"}
PROBES = {"linear": "linear probes", "boosted": "boosted probes"}
FIGURE_WORDS = WORDS | PHANTOM_WORDS | {kind: f"{text}, mean R2" for kind, text in PROBES.items()}


def compare(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Groups of runs with the same prior, settings and data, and differences of groups that differ by prior.

    {groups: [{prior, space, model, data, runs, figures: {"variant/figure": {mean, sd, min, max, null,
    values}}}], differences: [{figure, first, second, difference, low, high, p, clear, won, of}],
    comparisons}. The interval is Welch's, over seeds. `clear` means that p is below 0.05 divided by the
    number of comparisons (Bonferroni), and `won` counts the pairs of seeds in which the first group's run has
    the higher figure. A group of a single run has no spread, so no difference is reported for it.
    """
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for report in reports:
        model = {name: value for name, value in report["model"].items() if name != "seed"}
        data = report["data"]
        for space in report["spaces"]:
            key = (report["prior"], space, *model.values(), data["content_hash"], data["nodules"])
            group = groups.setdefault(
                key,
                {
                    "prior": report["prior"],
                    "space": space,
                    "model": model,
                    "data": {name: data[name] for name in ("name", "content_hash", "nodules", "patients")},
                    "runs": [],
                    "figures": {},
                },
            )
            group["runs"].append({"title": report["title"], "seed": report["model"]["seed"]})
            for name, value, null in _figures(report, space):
                entry = group["figures"].setdefault(name, {"values": [], "nulls": []})
                entry["values"].append(value)
                entry["nulls"].append(null)
    for group in groups.values():
        group["figures"] = {
            name: _summary(entry["values"], entry["nulls"])
            for name, entry in group["figures"].items()
            if len(entry["values"]) == len(group["runs"])
        }
    differences = _differences(list(groups.values()))
    return {"groups": list(groups.values()), "differences": differences, "comparisons": len(differences)}


def _figures(report: dict[str, Any], space: str) -> Iterator[tuple[str, float, float]]:
    """(variant/figure, value, mean of its null) of a report."""
    parts = dict(report["spaces"][space])
    if report["phantom"] and space == "code":
        parts["phantom"] = report["phantom"]["free"]
        for name, entry in report["phantom"]["moved"].items():
            yield f"phantom/{name}", entry["value"], entry["null"]["mean"]
    for variant, part in parts.items():
        for name, entry in part["scores"].items():
            if entry["value"] is not None and entry["null"]:
                yield f"{variant}/{name}", entry["value"], entry["null"]["mean"]
        for kind in PROBES:
            notes = [
                probe[kind]
                for probe in part["probes"].values()
                if probe["measure"] == "r2" and probe[kind]["value"] is not None and probe[kind]["null"]
            ]
            if notes:
                value = float(np.mean([entry["value"] for entry in notes]))
                yield f"{variant}/{kind}", value, float(np.mean([entry["null"]["mean"] for entry in notes]))


def figure_words(figure: str) -> str:
    """A figure "variant/name" in words."""
    variant, name = figure.split("/")
    return f"{FIGURE_WORDS[name]} ({VARIANT_WORDS[variant]})"


def _summary(values: list[float], nulls: list[float]) -> dict[str, Any]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)), 4) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
        "null": round(float(np.mean(nulls)), 4),
        "values": [round(value, 4) for value in values],
    }


def _differences(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entries, order = [], list(FAMILIES)
    for first, second in combinations(groups, 2):
        if first["prior"] == second["prior"] or first["data"] != second["data"]:
            continue
        first, second = sorted((first, second), key=lambda group: order.index(group["prior"]))
        sizes = ("dimensions", "width", "epochs")
        if any(first["model"][name] != second["model"][name] for name in sizes):
            continue
        for name in first["figures"]:
            ours, theirs = first["figures"][name]["values"], second["figures"].get(name, {}).get("values", [])
            if min(len(ours), len(theirs)) < 2 or np.ptp([*ours, *theirs]) == 0:
                continue
            test = ttest_ind(ours, theirs, equal_var=False)
            interval = test.confidence_interval(0.95)
            entries.append(
                {
                    "figure": name,
                    "first": [first["prior"], first["space"]],
                    "second": [second["prior"], second["space"]],
                    "difference": round(float(np.mean(ours) - np.mean(theirs)), 4),
                    "low": round(float(interval.low), 4),
                    "high": round(float(interval.high), 4),
                    "p": float(f"{test.pvalue:.2g}"),
                    "won": int(sum(a > b for a in ours for b in theirs)),
                    "of": len(ours) * len(theirs),
                }
            )
    for entry in entries:
        entry["clear"] = bool(entry["p"] * len(entries) < 0.05)
    return entries
