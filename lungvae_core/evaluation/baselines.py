"""What a latent space must beat: size, readers' ratings, PCA of the pixels, and a supervised network.

Every baseline is fitted on the fit rows only, with settings fixed in advance and the same for any data: a
logistic regression on a logarithm for sizes, a standardised logistic regression for ratings and components,
and boosted trees for ratings and size together (on LIDC-IDRI the harder baseline). The network scores a
nodule by its most suspicious slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lungvae_core.data.columns import NODULE
from lungvae_core.data.labels import rating_level
from lungvae_core.data.slices import RATINGS, SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.figures import auc_units, frame_auc, slices_and_nodules
from lungvae_core.evaluation.report import SIZES
from lungvae_core.evaluation.units import by_nodule
from lungvae_core.training.cnn import CnnConfig, fit_cnn

JUDGED = [rating for rating in RATINGS if rating != "malignancy"]
OUTLINED = ("diameter", "area")  # the sizes that need a reader's outline or diameter, beside a run's AUCs
COMPONENTS = 64
WINDOW = (-1000.0, 400.0)  # HU that become 0 and 1, for the components and the network
QUICK_EPOCHS = 3


# The predictors that do not use a latent space.
BASELINES = {
    "diameter": "the readers' diameter of the nodule alone, logistic",
    "area": "the root of the readers' outlined area in the slice alone, of a nodule in its largest slice, "
    "logistic",
    "slices": "the number of slices in which the readers outlined the nodule alone, logistic",
    "ratings": "the readers' eight ratings other than malignancy, means, logistic",
    "ratings_size": "the readers' eight ratings other than malignancy and their diameter, boosted trees",
    "pca": f"{COMPONENTS} principal components of the slice's pixels, logistic; the mean logit over slices",
    "cnn": "a small convolutional network on the slice's pixels, trained on the same labels; the highest "
    "logit over slices",
}
FROM_PIXELS = ("pca", "cnn")  # all others need a reader's outline, diameter or rating at prediction time


@dataclass(frozen=True)
class Scored:
    """A baseline's scores for the rows to score."""

    slice: np.ndarray  # (len(score_rows),) float logits, in the order of score_rows
    nodule: pd.DataFrame  # one row per nodule in score_rows: patient_id, nodule, logit


def available(table: pd.DataFrame) -> list[str]:
    """Names of the baselines whose columns exist and have a value in every row, in the order of BASELINES."""
    ratings = all(filled(table, f"{rating}_all") for rating in JUDGED)
    diameter = filled(table, "diameter_mm")
    has = {
        "diameter": diameter,
        "area": filled(table, "area_px") and bool((table["area_px"] > 0).any()),
        # If every nodule has one slice, the data were made that way: the count says nothing about size.
        "slices": bool(table.duplicated(NODULE).any()),
        "ratings": ratings,
        "ratings_size": ratings and diameter,
        "pca": True,
        "cnn": True,
    }
    return [name for name in BASELINES if has[name]]


def sizes(name: str, table: pd.DataFrame) -> np.ndarray:
    """(N,) the named size of each slice: diameter in mm, root of the area in mm, or number of slices.

    The root of the area is in pixels if the pixel spacing of a slice is unknown. A nodule has the largest
    over its slices. Raises UserError for another name or a missing column.
    """
    if name not in SIZES:
        raise UserError(f"{name!r} is not a size. Choose one of: {', '.join(SIZES)}.")
    if name not in available(table):
        raise UserError(f"The data lack what the baseline {name!r} needs; see docs/formats.md.")
    if name == "diameter":
        return table["diameter_mm"].to_numpy(float)
    if name == "area":
        spacing = table["pixel_spacing_mm"].to_numpy(float) if filled(table, "pixel_spacing_mm") else 1.0
        return np.sqrt(table["area_px"].to_numpy(float)) * spacing
    return table.groupby(NODULE)["slice"].transform("size").to_numpy(float)


def nodule_sizes(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """One row per nodule: patient_id, nodule and its largest size as `logit`; sizes rank without a fit."""
    return by_nodule(table, logit=(sizes(name, table), "max"))


def size_figures(
    table: pd.DataFrame,
    labels: np.ndarray,
    names: Sequence[str] = SIZES,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """The AUC of each size alone, without a fit: {name: {words, uses_readers, slice|nodule: {auc}}}.

    `labels` (N,) are 0 and 1. Sizes that the table lacks are left out.
    """
    return {
        name: {
            "words": BASELINES[name].removesuffix(", logistic"),
            "uses_readers": name not in FROM_PIXELS,
            **{
                unit: {"auc": frame_auc(frame, resamples=resamples, seed=seed)}
                for unit, frame in slices_and_nodules(table, labels, sizes(name, table), "max").items()
            },
        }
        for name in available(table)
        if name in names
    }


def beside_sizes(table: pd.DataFrame, labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
    """{units, baselines}: AUCs of slices with labels and logits (N,), and of the sizes OUTLINED alone."""
    return {"units": auc_units(table, labels, logits), "baselines": size_figures(table, labels, OUTLINED)}


def score(
    name: str,
    data: SliceSet,
    labels: np.ndarray,
    fit_rows: np.ndarray,
    score_rows: np.ndarray,
    *,
    seed: int,
    quick: bool = False,
) -> Scored:
    """Fit a baseline on `fit_rows` of `data` and score `score_rows`; labels (N,) are 0, 1 or NaN.

    Labels of `score_rows` are ignored, and so are fit rows without a label. Properties of a nodule (diameter,
    slices, ratings) are fitted with one row per nodule, and all its slices get its logit. `quick` shortens
    the network's training. Raises UserError for an unknown name, missing columns, a single class among the
    fit rows, or a patient on both sides.
    """
    if name not in BASELINES:
        raise UserError(f"There is no baseline {name!r}. Choose one of: {', '.join(BASELINES)}.")
    if name not in available(data.table):
        raise UserError(f"The data lack the columns that the baseline {name!r} needs; see docs/formats.md.")
    patients = data.table["patient_id"].astype(str).to_numpy()
    both = set(patients[fit_rows]) & set(patients[score_rows])
    if both:
        raise UserError(
            f"{len(both)} patient(s), as {min(both)}, are among those to fit on and those to be scored."
        )
    labels = np.asarray(labels, float)
    fit_rows = np.asarray(fit_rows)[~np.isnan(labels[fit_rows])]
    score_rows = np.asarray(score_rows)
    if len(np.unique(labels[fit_rows])) < 2:
        raise UserError(f"The baseline {name!r} needs malignant and benign lesions to learn from.")
    if name in FROM_PIXELS:
        learned, scored = (data.slices[fit_rows], labels[fit_rows]), data.slices[score_rows]
        logits = _cnn(*learned, scored, seed, quick) if name == "cnn" else _pca(*learned, scored, seed)
        how = "max" if name == "cnn" else "mean"
        return Scored(logits, by_nodule(data.table.iloc[score_rows], logit=(logits, how)))
    if name == "area":
        return _area(data.table, labels, fit_rows, score_rows)
    return _of_nodules(name, data.table, labels, fit_rows, score_rows, seed)


def _of_nodules(
    name: str,
    table: pd.DataFrame,
    labels: np.ndarray,
    fit_rows: np.ndarray,
    score_rows: np.ndarray,
    seed: int,
) -> Scored:
    """A baseline of properties that all slices of a nodule share, fitted with one row per nodule."""
    fit = fit_rows[~table.iloc[fit_rows].duplicated(NODULE).to_numpy()]
    if name in SIZES:
        features, model = np.log(np.maximum(sizes(name, table), 1e-3))[:, None], _logistic()
    elif name == "ratings":
        features, model = _ratings(table), _logistic()
    else:
        features = np.column_stack([_ratings(table), np.log(sizes("diameter", table))])
        model = HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=150,
            max_leaf_nodes=8,
            min_samples_leaf=int(np.clip(len(fit) // 20, 2, 20)),  # else a few lesions could not be split
            early_stopping=False,
            random_state=seed,
        )
    model.fit(features[fit], labels[fit])
    logits = model.decision_function(features[score_rows])
    return Scored(logits, by_nodule(table.iloc[score_rows], logit=(logits, "first")))


def _area(table: pd.DataFrame, labels: np.ndarray, fit_rows: np.ndarray, score_rows: np.ndarray) -> Scored:
    """The area of each slice and the largest area of each nodule, with a separate fit for each unit."""
    size = np.log(np.maximum(sizes("area", table), 0.1))  # a slice without an outline counts as a dot
    slices = _logistic().fit(size[fit_rows, None], labels[fit_rows])
    fit = by_nodule(table.iloc[fit_rows], size=(size[fit_rows], "max"), label=(labels[fit_rows], "first"))
    tested = by_nodule(table.iloc[score_rows], size=(size[score_rows], "max"))
    nodules = _logistic().fit(fit[["size"]].to_numpy(), fit["label"])
    tested["logit"] = nodules.decision_function(tested[["size"]].to_numpy())
    return Scored(slices.decision_function(size[score_rows, None]), tested[[*NODULE, "logit"]])


def _pca(slices: np.ndarray, labels: np.ndarray, scored: np.ndarray, seed: int) -> np.ndarray:
    """(M,) logits of the slices `scored`, from the principal components of the pixels of `slices`."""
    size = min(COMPONENTS, len(slices) - 1)
    model = make_pipeline(PCA(size, svd_solver="randomized", random_state=seed), _logistic())
    return model.fit(_pixels(slices), labels).decision_function(_pixels(scored))


def _cnn(slices: np.ndarray, labels: np.ndarray, scored: np.ndarray, seed: int, quick: bool) -> np.ndarray:
    """(M,) logits of the slices `scored`, from the supervised network fitted on `slices`."""
    epochs = QUICK_EPOCHS if quick else CnnConfig.epochs
    config = CnnConfig(epochs=epochs, hu_low=WINDOW[0], hu_high=WINDOW[1])
    return fit_cnn(slices, labels, seed=seed, config=config).logits(scored)


def _logistic() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _pixels(hu: np.ndarray) -> np.ndarray:
    """(N, 4096) float32 pixels, scaled to 0..1 in the window."""
    low, high = WINDOW
    return np.clip((hu.reshape(len(hu), -1).astype(np.float32) - low) / (high - low), 0, 1)


def _ratings(table: pd.DataFrame) -> np.ndarray:
    """(N, 8) means over readers; for calcification, a category, the share of readers who saw any."""
    return np.column_stack([rating_level(table, rating) for rating in JUDGED])


def filled(table: pd.DataFrame, column: str) -> bool:
    """Whether the table has the column, with a value in every row."""
    if column not in table or table[column].isna().any():
        return False
    return all(str(value).strip("| ") for value in table[column].unique())
