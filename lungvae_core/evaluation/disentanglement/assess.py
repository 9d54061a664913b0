"""The content of disentanglement.json for a run: scores and probes, raw and without size, with their null."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from lungvae_core.data.columns import NODULE
from lungvae_core.data.counted import chosen_rows, of_groups
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.evaluation.disentanglement import phantom_scores as moved
from lungvae_core.evaluation.disentanglement import probes, scores
from lungvae_core.evaluation.disentanglement.attributes import attributes
from lungvae_core.evaluation.disentanglement.factors import (
    Factors,
    factors_of,
    log_ratios,
    nodule_means,
    shuffled,
    without_size,
)
from lungvae_core.evaluation.disentanglement.phantom_scores import Sizes
from lungvae_core.evaluation.disentanglement.schema import Disentanglement
from lungvae_core.files import write_text
from lungvae_core.schema import read_as
from lungvae_core.statistics.intervals import against_null
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import left_out_of

FILE = "disentanglement.json"
FORMAT = 1
SPACES = {
    "code": "the codes themselves, as the traversal's sliders move them, averaged over a nodule's slices",
    "log_ratio": "centred log-ratios of the codes, averaged over a nodule's slices",
}
VARIANTS = {
    "raw": "the factors as they are",
    "without_size": "the factors less what a spline of the log diameter, fitted on other patients, explains",
}


@dataclass(frozen=True)
class Effort:
    """How much to compute; --quick computes less."""

    draws: int  # null draws of scores and linear probes
    refits: int  # null draws of figures that fit trees
    groups: int  # groups of patients, each left out once for the scores' intervals
    resamples: int  # resamples of patients, for the probes' intervals


FULL = Effort(draws=100, refits=20, groups=10, resamples=500)
QUICK = Effort(draws=20, refits=5, groups=5, resamples=100)
Progress = Callable[[str, int, int], None]


# One thread: the trees are so small that starting another costs more than fitting them.
@threadpool_limits.wrap(limits=1)
def assess(
    run: Run,
    *,
    phantom: Sizes | None = None,
    effort: Effort = FULL,
    seed: int = 0,
    command: str = "",
    on_progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Assess the slices that the run has encoded and, with `phantom`, that many rendered slices.

    Returns the content of disentanglement.json, which `write` saves. Raises UserError if the run has no codes
    or its slices have no factors.
    """
    began = time.monotonic()
    table, codes = run.latents()
    factors = factors_of(table)
    simplex = run.config.model.family.simplex
    report = _head(run, table, factors, seed, effort)
    spaces = {"code": codes, **({"log_ratio": log_ratios(codes)} if simplex else {})}
    for name, values in spaces.items():
        means = nodule_means(table, values, factors.nodules)
        report["spaces"][name] = _variants(means, factors, seed, effort, name, on_progress)
    report["attributes"] = attributes(
        table,
        spaces.get("log_ratio", codes),
        labels_shape_codes=run.config.labels_shape_codes,
        resamples=effort.resamples,
        seed=seed,
    )
    if phantom is not None:
        report["phantom"] = _on_phantom(run, phantom, effort, seed, on_progress)
    report |= {
        "seconds": round(time.monotonic() - began, 1),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "command": command,
    }
    return report


def _head(run: Run, table: pd.DataFrame, factors: Factors, seed: int, effort: Effort) -> dict[str, Any]:
    """The part of the report before its figures: model, data, factors and effort."""
    return {
        "format": FORMAT,
        "title": run.info.title,
        "prior": run.config.model.prior,
        "model": {
            "preset": run.config.preset,
            "dimensions": run.config.model.dimensions,
            "width": run.config.model.width,
            "epochs": run.config.epochs,
            "beta": run.config.objective.beta,
            "seed": run.config.training.seed,
        },
        "data": {
            **run.info.data.model_dump(include={"name", "attribution", "generated", "content_hash"}),
            "slices": len(table),
            "nodules": len(factors.values),
            "patients": len(np.unique(factors.patients)),
            "left_out": factors.left_out,
        },
        "counted": chosen_rows(
            of_groups(table, NODULE, factors.nodules),
            "of nodules without one of the factors",
            before=left_out_of(run, table),
        ).model_dump(),
        "unit": "nodule",
        "seen": _seen(run, table["split"].to_numpy(str) if "split" in table else np.zeros(0, str)),
        "seed": seed,
        "quick": effort == QUICK,
        "effort": asdict(effort) | {"bins": scores.BINS, "folds": probes.FOLDS},
        "factors": [asdict(kind) for kind in factors.kinds],
        "between_factors": rounded(_ranks(factors.values, factors.values), 2),
        "spaces": {},
        "phantom": None,
    }


def write(run: Run, report: dict[str, Any]) -> Path:
    """Write a report into the run's folder, atomically and on one line, since most of it is matrices."""
    write_text(run.folder / FILE, json.dumps(report, ensure_ascii=False, allow_nan=False) + "\n")
    return run.folder / FILE


def load(folder: Path) -> dict[str, Any]:
    """A run's report; UserError if there is none or this version cannot read it."""
    if not (folder / FILE).is_file():
        raise UserError(
            f"{folder.name} has no {FILE} yet. Make it with `lungvae disentanglement {folder}` "
            "(minutes on one core; --quick for less)."
        )
    report: dict[str, Any] = read_as(
        folder / FILE,
        Disentanglement,
        what="The report of disentanglement",
        again=f"lungvae disentanglement {folder}",
        newest=FORMAT,
    )
    return report


def _seen(run: Run, split: np.ndarray) -> str:
    """One sentence on which of the assessed slices the training had seen."""
    share = float((split == "train").mean()) if len(split) else 0.0
    if run.config.labels_shape_codes:
        what = "the joint phase trained on malignancy labels"
        if not run.config.joint.rounds:
            what = f"dimensions were guided by {', '.join(run.config.objective.guided)}"
        return (
            f"LEAK: {what}, and {share:.0%} of these slices are of its training, so that the codes encode it "
            "partly because they were trained to."
        )
    if share == 0:
        return "The VAE was trained on none of these slices."
    return (
        f"The VAE was trained on {share:.0%} of these slices, without their ratings (transductive); probes "
        "are tested on patients that they were not fitted on."
    )


def _variants(
    codes: np.ndarray, factors: Factors, seed: int, effort: Effort, name: str, on_progress: Progress
) -> dict[str, Any]:
    parts = {"raw": assess_part(codes, factors, seed, effort, f"{name}, raw", on_progress)}
    if factors.size is not None and len(factors.kinds) > 2:
        rest, information = without_size(factors, seed=seed)
        part = assess_part(codes, rest, seed, effort, f"{name}, without size", on_progress)
        parts["without_size"] = part | {
            "size_alone": {key: round(value, 3) for key, value in information.items()}
        }
    return parts


@threadpool_limits.wrap(limits=1)
def assess_part(
    codes: np.ndarray,
    factors: Factors,
    seed: int,
    effort: Effort,
    what: str = "",
    on_progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Scores, probes and matrices of codes (M, K) against factors, each with its interval and its null."""
    generator = np.random.default_rng([seed, 2])
    values, patients = factors.values, factors.patients
    draws = [shuffled(patients, generator) for _ in range(max(effort.draws, effort.refits))]
    steps = effort.draws + 2 * effort.refits + effort.groups
    done = iter(range(1, steps + 1))

    def step() -> None:
        on_progress(what, next(done), steps)

    whole = _Measured.of(codes, values, seed)
    nulls, high = _nulls(whole, draws, seed, effort, step)
    left_out = []  # the scores without each group of patients
    for kept, _ in grouped_folds(factors.nodules, min(effort.groups, len(np.unique(patients))), seed=seed):
        left_out.append(_Measured.of(codes[kept], values[kept], seed).scores())
        step()
    value, jackknife, by_factor = whole.scores(), _columns(left_out), whole.by_factor()
    return {
        "factors": factors.names,
        "scores": {
            name: figure(value[name], _jackknifed(value[name], jackknife[name]), nulls[name])
            | ({"by_factor": named(factors.names, by_factor[name])} if name in by_factor else {})
            for name in scores.WORDS
        },
        "probes": _probes(codes, factors, draws, seed, effort, step),
        "entropy": rounded(whole.entropies),
        "information": rounded(whole.information),
        "information_null": {
            "what": "the largest over dimensions with patients shuffled, 95th percentile",
            "high": rounded(high),
        },
        "spearman": rounded(_ranks(codes, values), 2),
        "importance": rounded(whole.importance),
    }


@dataclass(frozen=True)
class _Measured:
    """The measures from which codes (M, K) are scored against factors (M, L)."""

    codes: np.ndarray
    values: np.ndarray
    information: np.ndarray  # (K, L) mutual information in nats
    entropies: np.ndarray  # (L,) entropy of each factor in nats
    importance: np.ndarray  # (K, L)

    @classmethod
    def of(cls, codes: np.ndarray, values: np.ndarray, seed: int) -> _Measured:
        binned = scores.Binned.of(values)
        information = scores.information(scores.Binned.of(codes), binned)
        importance = scores.importances(codes, values, seed=seed)
        return cls(codes, values, information, binned.entropies(), importance)

    def scores(self) -> dict[str, float]:
        """Every score by name."""
        return _cheap(self.codes, self.values, self.information, self.entropies) | _trees(self.importance)

    def by_factor(self) -> dict[str, np.ndarray]:
        """The scores (L,) that exist for each factor."""
        return {
            "mig": scores.mig(self.information, self.entropies),
            "sap": scores.sap(self.codes, self.values),
            "dci_completeness": scores.dci(self.importance)[1],
        }


def _nulls(
    whole: _Measured, draws: list[np.ndarray], seed: int, effort: Effort, step: Callable[[], None]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(each score with patients shuffled, the 95th percentile (L,) of the largest information)."""
    codes, values = whole.codes, whole.values
    binned, of_factors = scores.Binned.of(codes), scores.Binned.of(values)
    cheap, largest, trees = [], [], []
    for source in draws[: effort.draws]:
        information = scores.information(binned, of_factors, source)
        largest.append(information.max(0))
        cheap.append(_cheap(codes, values[source], information, whole.entropies))
        step()
    for source in draws[: effort.refits]:
        trees.append(_trees(scores.importances(codes, values[source], seed=seed)))
        step()
    return _columns(cheap) | _columns(trees), np.percentile(largest, 95, axis=0)


def _cheap(
    codes: np.ndarray, values: np.ndarray, information: np.ndarray, entropies: np.ndarray
) -> dict[str, float]:
    with np.errstate(invalid="ignore"):
        modularity = scores.modularity(information)
    return {
        "mig": float(scores.mig(information, entropies).mean()),
        "sap": float(scores.sap(codes, values).mean()),
        "modularity": float(np.nanmean(modularity)) if np.isfinite(modularity).any() else float("nan"),
    }


def _trees(importance: np.ndarray) -> dict[str, float]:
    _, completeness, disentanglement = scores.dci(importance)
    defined = completeness[~np.isnan(completeness)]
    return {
        "dci_disentanglement": disentanglement,
        "dci_completeness": float(defined.mean()) if len(defined) else float("nan"),
    }


def _columns(rows: list[dict[str, float]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _jackknifed(value: float, left_out: np.ndarray) -> tuple[float, float]:
    """95 % interval by the delete-a-group jackknife over patients.

    Not a bootstrap, in which a patient drawn twice would look like information.
    """
    count = len(left_out)
    error = np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    return value - 1.96 * error, value + 1.96 * error


def _probes(
    codes: np.ndarray,
    factors: Factors,
    draws: list[np.ndarray],
    seed: int,
    effort: Effort,
    step: Callable[[], None],
) -> dict[str, Any]:
    values, binary = factors.values, [kind.binary for kind in factors.kinds]
    probe = probes.Probe(codes, factors.nodules, seed=seed)
    summary: dict[str, Any] = {
        name: {"measure": "auc" if each else "r2", "chance": 0.5 if each else 0.0}
        for name, each in zip(factors.names, binary, strict=True)
    }
    for kind, count in (("linear", effort.draws), ("boosted", effort.refits)):
        predicted = probe.predict(kind, values)
        value = probes.score(values, predicted, binary)
        low, high = probes.intervals(
            values, predicted, binary, factors.patients, resamples=effort.resamples, seed=seed
        )
        null = []
        for source in draws[:count]:
            other = values[source]
            null.append(probes.score(other, probe.predict(kind, other), binary))
            if kind == "boosted":
                step()
        for index, name in enumerate(factors.names):
            summary[name][kind] = figure(value[index], (low[index], high[index]), np.array(null)[:, index])
    return summary


def _on_phantom(run: Run, sizes: Sizes, effort: Effort, seed: int, on_progress: Progress) -> dict[str, Any]:
    # With many generated slices and independent factors, a few null draws of trees are enough.
    effort = replace(effort, refits=min(effort.refits, 5), groups=min(effort.groups, 5))
    on_progress("rendering phantoms", 0, 1)
    slices = moved.rendered(sizes, seed)
    vae = run.load_model()
    free, held = moved.encoded(vae, slices.free), moved.encoded(vae, slices.held)
    on_progress("rendering phantoms", 1, 1)
    scores = moved.phantom_scores(held, slices, seed=seed, draws=effort.draws)
    factors = factors_of(slices.table)
    part = assess_part(free, factors, seed, effort, "phantom", on_progress)
    return {
        "what": "generated slices with nine independent factors, none of which the VAE was trained on",
        "sizes": asdict(sizes) | {"slices": sizes.slices, "seed": seed},
        "moved": {
            name: figure(entry["value"], (entry["low"], entry["high"]), np.array(entry["null"]))
            | {"by_factor": {key: round(value, 3) for key, value in entry["by_factor"].items()}}
            for name, entry in scores.items()
        },
        "kinds": [asdict(kind) for kind in factors.kinds],
        "free": part,
    }


def figure(value: float, interval: tuple[float, float], null: np.ndarray) -> dict[str, Any]:
    """A figure with its 95 % interval and null: mean, 95th percentile, and how often the null is as large.

    None means that the value cannot be computed.
    """
    value, null = float(value), null[np.isfinite(null)]
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "null": None}
    low, high = (float(end) if np.isfinite(end) else value for end in interval)
    beside = against_null(value, null) if len(null) else None
    keys = {"mean": "null", "high": "null_high", "p": "p"}
    return {
        "value": round(value, 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "null": beside and {name: round(beside[key], 4) for name, key in keys.items()},
    }


def ordered(part: dict[str, Any]) -> list[int]:
    """The dimensions of a report's part, most informative above its null first."""
    information, null = np.array(part["information"]), np.array(part["information_null"]["high"])
    return np.argsort(-(information / np.maximum(null, 1e-9)).max(1), kind="stable").tolist()


def named(names: list[str], values: np.ndarray) -> dict[str, float | None]:
    """{name: value rounded}, None for NaN."""
    return {
        name: round(float(value), 3) if np.isfinite(value) else None
        for name, value in zip(names, values, strict=True)
    }


def rounded(values: np.ndarray, digits: int = 3) -> list[Any]:
    """Nested lists of numbers rounded to `digits`; NaN, which JSON lacks, becomes 0."""
    rounded: list[Any] = np.round(np.nan_to_num(values), digits).tolist()
    return rounded


def _ranks(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(K, L) Spearman correlation of columns (M, K) and (M, L)."""
    return scores.correlations(rankdata(left, axis=0), rankdata(right, axis=0))
