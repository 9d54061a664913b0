"""Directions in the latent space for malignancy, size and ratings, fitted on labelled nodules.

Codes are first taken to coordinates without borders (`Space`): standardised for a Gaussian prior,
standardised centred log-ratios for a Dirichlet (Aitchison 1982), from which every point leads back to the
simplex. There a ridge regression (logistic for two classes) gives a **filter**, weights that predict the
property from a code. Do not decode along a filter: it also cancels noise. The **pattern**, the filter
multiplied by the codes' covariance (Haufe et al. 2014, doi 10.1016/j.neuroimage.2013.10.067), is how codes
change on average where the filter's score rises; walks follow it.

Of a model without labels both stay within what draws the lesion: the coordinates along which codes draw
differently about the middle of the slice (`lungvae_core.training.lesion_space`). Hundreds of others draw the
surroundings; they blur the filter, and a walk that changes them changes more than the lesion.

Everything is at nodule level (the mean coordinates of a nodule's slices), evaluated on patients that the
filter was not fitted on. The certainty of a direction is its similarity for other patients, compared with
shuffled labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from lungvae_core.data.columns import NODULE, numbers
from lungvae_core.data.counted import Counted, chosen_rows, left_out_before, of_groups
from lungvae_core.data.labels import labels
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import RATINGS, SliceSet
from lungvae_core.data.splits import grouped_folds
from lungvae_core.errors import UserError
from lungvae_core.explore.clusters.attributes import rating_values
from lungvae_core.explore.coordinates import Space, nodules
from lungvae_core.explore.directions_schema import DirectionsReport
from lungvae_core.explore.steadiness import (
    Fit,
    Folds,
    Statistic,
    covaries,
    interval,
    same_band,
    same_size,
    stability,
    weighted_r2s,
)
from lungvae_core.files import write_json
from lungvae_core.json_text import plain
from lungvae_core.schema import read_as
from lungvae_core.statistics.roc import weighted_aucs
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import TRAINED, left_out_of, split_of, trained_rows
from lungvae_core.training.lesion_space import LesionSpace
from lungvae_core.vae.latents import FAMILIES
from lungvae_core.vae.model import VAE

FORMAT = 1
FILE = "directions.json"
FOLDS = 5
RULE = "median_high"
STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10000.0)  # of the ridge penalty, on standardised coordinates
LEAST_NODULES, LEAST_CLASS = 20, 5  # a property known of fewer has no direction

SHAPED = "whose labels shaped the codes"
FREE, BEYOND = "malignancy_without_size", "malignancy_beyond_size"
LABELS = {
    FREE: "malignancy with the size direction projected out",
    BEYOND: "what the diameter does not tell of malignancy, by coordinates that tell nothing of it",
}


@dataclass(frozen=True)
class Property:
    """What a direction predicts: values of M nodules, NaN if unknown; 0 and 1 for two classes."""

    label: str
    values: np.ndarray
    classes: bool
    unit: str


@dataclass(frozen=True)
class Direction:
    """A fitted direction in a `Space`; its score is 0 at the mean nodule and 1 a deviation above it."""

    label: str
    filter: np.ndarray  # (K,)
    offset: float
    pattern: np.ndarray  # (K,) change of the coordinates along which the score rises by 1
    span: tuple[float, float]  # the 1st and 99th percentile of the slices' scores
    figures: dict[str, Any]  # counts, held-out score, stability

    def score(self, points: np.ndarray) -> np.ndarray:
        """(N,) the scores of coordinates (N, K), in standard deviations over nodules."""
        return points @ self.filter - self.offset


@dataclass(frozen=True)
class Directions:
    """The content of directions.json: the space, the directions by name, and the whole report."""

    space: Space
    directions: dict[str, Direction]
    report: dict[str, Any]


def properties(frame: pd.DataFrame) -> dict[str, Property]:
    """Properties for directions on nodules `frame` (M rows): name -> values, if known for enough nodules."""
    malignant, diameter = labels(frame, "mvb", RULE), numbers(frame, "diameter_mm")
    logs = np.log(np.where(diameter > 0, diameter, np.nan))
    every = {
        "malignancy": Property("malignant (above 3) against benign (below 3)", malignant, True, ""),
        "diameter": Property("logarithm of the readers' diameter in mm", logs, False, "log mm"),
    }
    for rating in RATINGS:
        if rating in ("malignancy", "internalStructure") or f"{rating}_all" not in frame:
            continue  # malignancy is above; internal structure is 1 of almost every nodule
        values = rating_values(frame, rating)
        if rating == "calcification":  # 6, absent, in most; the other grades are kinds, not degrees
            label = "some calcification (mean rating below 5.5) or none"
            every[rating] = Property(label, values, True, "")
        else:
            every[rating] = Property(f"readers' mean rating of {rating}, 1 to 5", values, False, "rating")
    return {name: each for name, each in every.items() if _enough(each.values, classes=each.classes)}


def _enough(values: np.ndarray, *, classes: bool) -> bool:
    """Whether enough nodules have a value, and these differ."""
    values = values[~np.isnan(values)]
    if len(values) < LEAST_NODULES:
        return False
    if classes:
        return min((values == 1).sum(), (values == 0).sum()) >= LEAST_CLASS
    return bool(values.std() > 1e-6)


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """(K,) weights of a ridge regression of y (n,) on x (n, K), with an unpenalised intercept."""
    # Thousands of resamples are fitted; scikit-learn's checks take four times as long as the solution.
    x = x - x.mean(0)
    return np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (y - y.mean()))


def ridge_fit(points: np.ndarray, *, classes: bool, strength: float) -> Fit:
    """A ridge regression's weights, logistic for classes, of coordinates `points` (M, K)."""

    def fit(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        x, y = points[rows], values[rows]
        if classes:
            if y.min() == y.max():  # a resample without one of the classes
                return np.full(points.shape[1], np.nan)
            return LogisticRegression(C=1 / strength, solver="newton-cholesky").fit(x, y).coef_[0]
        return ridge(x, y, strength)

    return fit


def without(fit: Fit, size_fit: Fit, points: np.ndarray, size: np.ndarray) -> Fit:
    """`fit` with the size direction projected out of it.

    Its scores are uncorrelated with the size filter's on the nodules fitted on, and walking along its pattern
    leaves the size filter's score as it is: one is the other's mirror image under the covariance.
    """

    def projected(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        filter_, size_filter = fit(rows, values), size_fit(rows, size)
        size_pattern = covaries(points[rows], size_filter)
        return filter_ - size_filter * (size_pattern @ filter_) / (size_pattern @ size_filter)

    return projected


def beyond(points: np.ndarray, size: np.ndarray, *, strength: float) -> Fit:
    """Ridge weights for the class beyond the log diameter, by coordinates uncorrelated with size.

    The class minus its probability by a logistic regression on `size` (M,) is regressed on the coordinates
    without their component along their covariance with size, so the score is uncorrelated with it.
    """

    def fit(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        x, y, log = points[rows], values[rows], size[rows]
        if y.min() == y.max():
            return np.full(points.shape[1], np.nan)
        log = (log - log.mean())[:, None]
        left = y - LogisticRegression(C=1e3).fit(log, y).predict_proba(log)[:, 1]
        along = (x - x.mean(0)).T @ log[:, 0]
        along = along / np.linalg.norm(along)
        inside = x - np.outer(x @ along, along)
        weights = ridge(inside, left, strength)
        return weights - along * (along @ weights)

    return fit


def pattern_of(points: np.ndarray, filter_: np.ndarray) -> np.ndarray:
    """(K,) the change of coordinates that goes along with one standard deviation of the filter's score."""
    along = covaries(points, filter_)
    return along / np.sqrt(max(filter_ @ along, 1e-30))


def within(points: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    """(N, K) coordinates `points` (N, K) without what the lesions' points (N, D) do not depend on.

    They depend on the coordinates as a linear regression says, which is exact for Gaussian codes.
    """
    weights, *_ = np.linalg.lstsq(points - points.mean(0), lesions - lesions.mean(0), rcond=1e-6)
    basis, _ = np.linalg.qr(weights)  # (K, D)
    return points @ basis @ basis.T


def held_out(
    fits: Sequence[Fit], points: np.ndarray, values: np.ndarray, folds: Folds
) -> tuple[np.ndarray, np.ndarray]:
    """(scores (M,), predictions (M,) of the values) of each fold's test rows by its own fit; NaN elsewhere.

    Scores are in standard deviations of the fold's training nodules, so that folds can be pooled.
    """
    scores, predictions = np.full(len(points), np.nan), np.full(len(points), np.nan)
    for fit, (train, test) in zip(fits, folds, strict=True):
        filter_ = fit(train, values)
        inside, outside = points[train] @ filter_, points[test] @ filter_
        deviation = max(float(inside.std()), 1e-12)
        scores[test] = (outside - inside.mean()) / deviation
        slope = np.mean((inside - inside.mean()) * (values[train] - values[train].mean())) / deviation**2
        predictions[test] = values[train].mean() + slope * (outside - inside.mean())
    return scores, predictions


@dataclass(frozen=True)
class _Task:
    """One direction to fit, on the M nodules whose property is known."""

    name: str
    what: Property
    frame: pd.DataFrame  # M rows
    points: np.ndarray  # (M, K)
    values: np.ndarray  # (M,)
    size: np.ndarray | None  # (M,) log diameter
    counted: np.ndarray  # (M,) bool: may count in held-out scores
    rows: np.ndarray  # (all nodules,) bool: which the M are
    left_out: dict[str, int]  # why the others are not among them

    def fit(self, strength: float) -> Fit:
        if self.name == BEYOND and self.size is not None:
            return beyond(self.points, self.size, strength=strength)
        fit = ridge_fit(self.points, classes=self.what.classes, strength=strength)
        if self.name == FREE and self.size is not None:
            size_fit = ridge_fit(self.points, classes=False, strength=strength)
            return without(fit, size_fit, self.points, self.size)
        return fit

    def folds(self, rows: np.ndarray, count: int, seed: int) -> Folds:
        """Patient-grouped folds within some rows, as rows of the whole."""
        part = self.frame.iloc[rows].reset_index(drop=True)
        classes = self.values[rows].astype(int) if self.what.classes else None
        count = max(2, min(count, part["patient_id"].nunique()))
        return [(rows[a], rows[b]) for a, b in grouped_folds(part, count, seed=seed, classes=classes)]

    def figure(self, scores: np.ndarray, predictions: np.ndarray) -> Statistic:
        """The AUC or R2 as a function of weights (B, M); rows without a score do not count."""
        scored = ~np.isnan(scores)
        truth = self.values[scored]

        def statistic(weights: np.ndarray) -> np.ndarray:
            if self.what.classes:
                return weighted_aucs(truth, scores[scored], weights[:, scored])
            return weighted_r2s(truth, predictions[scored], weights[:, scored])

        return statistic

    def strength(self, rows: np.ndarray, seed: int) -> float:
        """The penalty that is best in three patient-grouped folds within `rows`.

        What has size projected out keeps that of the direction that it is projected out of.
        """
        folds = self.folds(rows, 3, seed)
        task = replace(self, name="malignancy") if self.name == FREE else self
        figures = []
        for strength in STRENGTHS:
            tested = held_out([task.fit(strength)] * len(folds), self.points, self.values, folds)
            figures.append(self.figure(*tested)(np.ones((1, len(self.values))))[0])
        return STRENGTHS[int(np.argmax(np.nan_to_num(figures, nan=-np.inf)))]


def _tasks(
    every: dict[str, Property], frame: pd.DataFrame, points: np.ndarray, counted: np.ndarray
) -> list[_Task]:
    size = every["diameter"].values if "diameter" in every else None
    fitted = dict(every)
    if size is not None and "malignancy" in every:
        fitted |= {name: replace(every["malignancy"], label=label) for name, label in LABELS.items()}
    tasks = []
    for name, what in fitted.items():
        rows = ~np.isnan(what.values)
        left_out = {"whose value is not known": int((~rows).sum())}
        if size is not None:
            left_out["without a diameter"] = int((rows & np.isnan(size)).sum())
            rows &= ~np.isnan(size)
        tasks.append(
            _Task(
                name,
                what,
                frame[rows].reset_index(drop=True),
                points[rows],
                what.values[rows],
                None if size is None else size[rows],
                counted[rows],
                rows,
                {reason: count for reason, count in left_out.items() if count},
            )
        )
    return tasks


def fit_directions(
    table: pd.DataFrame,
    codes: np.ndarray,
    prior: str,
    *,
    lesions: np.ndarray | None = None,
    seed: int = 0,
    resamples: int = 200,
    judged: np.ndarray | None = None,
    before: dict[str, int] | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Fit all directions on the slices of `table` (N rows) with codes (N, K): what directions.json holds.

    With `lesions` (N, D), the slices' points in the lesion space, directions stay within the coordinates that
    these depend on. `judged` (N,) bool says which patients may count in held-out scores (default: all);
    `before` has the rows that were left out before, by reason. Raises UserError where no property is known of
    enough nodules.
    """
    space = Space.fit(codes, simplex=FAMILIES[prior].simplex)
    slices = space.to(codes)
    if lesions is not None:
        slices = within(slices, lesions)
    frame, points = nodules(table, slices)
    every = properties(frame)
    if not every:
        raise UserError(
            "No direction can be fitted: none of malignancy, diameter and the ratings is known of "
            f"{LEAST_NODULES} nodules ({LEAST_CLASS} of each class). Give data with readers' ratings."
        )
    tasks = _tasks(every, frame, points, _judged_nodules(table, frame, judged))
    directions: dict[str, dict[str, Any]] = {}
    for done, task in enumerate(tasks):
        directions[task.name] = _fitted(task, points, slices, seed=seed, resamples=resamples)
        on_progress(done + 1, len(tasks))
    return {
        "format": FORMAT,
        "label_rule": RULE,
        "unit": "nodule (the mean coordinates of its slices)",
        "prior": prior,
        "seed": seed,
        "resamples": resamples,
        "folds": FOLDS,
        "slices": len(table),
        "counted": chosen_rows(
            of_groups(table, NODULE, frame[np.any([task.rows for task in tasks], axis=0)]),
            "of nodules without malignancy, diameter and ratings",
            before=before,
        ).model_dump(),
        "nodules": len(frame),
        "patients": int(frame["patient_id"].nunique()),
        "space": {"mean": space.mean.tolist(), "deviation": space.deviation.tolist(), "pseudo": space.pseudo},
        "directions": directions,
        "angles": _angles(directions, points),
    }


def _judged_nodules(table: pd.DataFrame, frame: pd.DataFrame, judged: np.ndarray | None) -> np.ndarray:
    """(M,) bool: the nodules of `frame` whose patients' slices may all count in held-out scores."""
    if judged is None:
        return np.ones(len(frame), bool)
    mark = pd.Series(judged).groupby(table["patient_id"].to_numpy()).all()
    return frame["patient_id"].map(mark).to_numpy(bool)


def _angles(directions: dict[str, dict[str, Any]], points: np.ndarray) -> dict[str, Any]:
    """How alike the directions are: cosines of patterns, correlations of scores of points (M, K)."""
    patterns, filters = (
        np.array([direction[each] for direction in directions.values()]) for each in ("pattern", "filter")
    )
    unit = patterns / np.linalg.norm(patterns, axis=1, keepdims=True)
    return {
        "names": list(directions),
        "cosine": (unit @ unit.T).tolist(),
        "correlation": np.atleast_2d(np.corrcoef(points @ filters.T, rowvar=False)).tolist(),
    }


def _fitted(
    task: _Task, points: np.ndarray, slices: np.ndarray, *, seed: int, resamples: int
) -> dict[str, Any]:
    """One direction with its figures, ready for JSON."""
    everyone = np.arange(len(task.values))
    strength = task.strength(everyone, seed)
    fit = task.fit(strength)
    filter_ = fit(everyone, task.values)
    pattern = pattern_of(points, filter_)
    along = points @ filter_
    filter_, offset = filter_ / along.std(), float(along.mean() / along.std())
    low, high = np.percentile(slices @ filter_ - offset, [1, 99])
    folds = task.folds(everyone, FOLDS, seed)
    fits = [task.fit(task.strength(train, seed)) for train, _ in folds]  # nothing is chosen on a test part
    scores, predictions = held_out(fits, task.points, task.values, folds)
    scores = np.where(task.counted, scores, np.nan)
    figure, judged = task.figure(scores, predictions), ~np.isnan(scores)
    patients = task.frame["patient_id"].to_numpy()
    counted = Counted(used=len(task.values), left_out=task.left_out, unit="nodules")
    return {
        "words": task.what.label,
        "unit": task.what.unit,
        "nodules": len(task.values),
        "patients": len(set(patients)),
        "counted": counted.without(int((~task.counted).sum()), SHAPED).model_dump(),
        "positive": int((task.values == 1).sum()) if task.what.classes else None,
        "judged": {"nodules": int(judged.sum()), "patients": len(set(patients[judged]))},
        "strength": strength,
        "score": {
            "name": "auc" if task.what.classes else "r2",
            **interval(figure, patients, resamples=resamples, seed=seed),
        },
        "filter": filter_.tolist(),
        "offset": offset,
        "pattern": pattern.tolist(),
        "span": [float(low), float(high)],
        "with_diameter": _with_diameter(task, scores),
        "matched": _matched(task, scores, resamples=resamples, seed=seed),
        "stability": stability(
            fit, task.points, task.values, task.frame, folds, resamples=resamples, seed=seed
        ),
    }


def _with_diameter(task: _Task, scores: np.ndarray) -> float | None:
    """Spearman's correlation of held-out scores (M,) with the diameter; None for the diameter's own."""
    judged = ~np.isnan(scores)
    if task.size is None or task.name == "diameter" or judged.sum() <= 2:
        return None
    value = float(spearmanr(scores[judged], task.size[judged]).statistic)
    return None if np.isnan(value) else value


def _matched(task: _Task, scores: np.ndarray, *, resamples: int, seed: int) -> dict[str, Any] | None:
    """AUCs among nodules of like size, of the direction and, beside it, of the diameter itself.

    None for directions of other things than malignancy, and without diameters.
    """
    if task.size is None or task.name not in ("malignancy", FREE, BEYOND):
        return None
    judged = ~np.isnan(scores)
    truth, size = task.values[judged], task.size[judged]
    patients = task.frame["patient_id"].to_numpy()[judged]

    def figures(statistic: Statistic) -> dict[str, float | None]:
        return interval(statistic, patients, resamples=resamples, seed=seed)

    alike = {"band": same_band(truth, size), "size": same_size(truth, size)}
    return {"all": {"diameter": figures(lambda weights: weighted_aucs(truth, size, weights))}} | {
        name: {
            "pairs": len(pairs),
            "auc": figures(pairs.auc(scores[judged])),
            "diameter": figures(pairs.auc(size)),
        }
        for name, pairs in alike.items()
    }


def make_directions(
    run: Run,
    data: SliceSet | None = None,
    *,
    seed: int = 0,
    quick: bool = False,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Fit a run's directions on the slices that it has encoded, or on other `data`; write directions.json.

    After a joint phase without a leak or with guided dimensions only held-out patients count in the scores,
    since labels of the others shaped the codes. `quick` takes a tenth of the resamples. Raises UserError
    without codes or labels.
    """
    vae: VAE | None = None
    if data is None:
        table, codes = run.latents()
        info, before = run.info.data, left_out_of(run, table)
        trained = trained_rows(table) if "split" in table else np.ones(len(table), bool)
    else:
        vae = run.load_model()
        table, info, before = data.table, data.info, left_out_before(data.info.details)
        codes = vae.encode_hu(at_spacing(data.slices, table, vae.config.spacing_mm))
        trained = split_of(run, data).to_numpy() == TRAINED
    leak = judged = None
    if run.config.labels_leak and trained.any():
        leak = "labels of patients on whom the directions are scored shaped the codes: the scores are no test"
    elif run.config.labels_shape_codes and not run.config.labels_leak:
        judged = ~trained
    space = LesionSpace.learned(run, codes[trained] if trained.any() else codes, vae)
    report = fit_directions(
        table,
        codes,
        run.config.model.prior,
        lesions=None if space.inputs.axes is None else space.points(codes),
        seed=seed,
        resamples=20 if quick else 200,
        judged=judged,
        before=before,
        on_progress=on_progress,
    )
    report |= {
        "data": {"name": info.name, "content_hash": info.content_hash},
        "transductive": bool(trained.any()) and judged is None,
        "leak": leak,
        "quick": quick,
    }
    write_json(run.folder / FILE, plain(report, 6))  # more digits than are certain
    return report


def load_directions(folder: Path, codes: np.ndarray) -> Directions:
    """directions.json of a run's folder, for `codes` (N, K); UserError when missing or damaged."""
    again = f"lungvae directions {folder}"
    if not (folder / FILE).is_file():
        raise UserError(f"The model {folder.name} has no directions yet. Make them with `{again}`.")
    report = read_as(
        folder / FILE, DirectionsReport, what="The model's directions", again=again, newest=FORMAT
    )
    saved = report["space"]
    space = Space(np.array(saved["mean"], float), np.array(saved["deviation"], float), float(saved["pseudo"]))
    if space.dimensions != codes.shape[1]:
        raise UserError(f"{folder / FILE} was not made from this model. Make it again with `{again}`.")
    directions = {
        name: Direction(
            label=entry["words"],
            filter=np.array(entry["filter"], float),
            offset=float(entry["offset"]),
            pattern=np.array(entry["pattern"], float),
            span=(float(entry["span"][0]), float(entry["span"][1])),
            figures=entry,
        )
        for name, entry in report["directions"].items()
    }
    return Directions(space, directions, report)


def walk(space: Space, direction: Direction, code: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores (steps,) of the direction, valid codes (steps, K)) along its pattern through `code` (K,).

    The scores span the lesions' 1st to 99th percentile, and further where the code itself lies beyond.
    """
    start = space.to(code[None])[0]
    at = float(direction.score(start[None])[0])
    values = np.linspace(min(direction.span[0], at), max(direction.span[1], at), steps)
    return values, space.back(start + (values - at)[:, None] * direction.pattern)
