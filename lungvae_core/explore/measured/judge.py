"""A judge of properties that outlines cannot measure: a small network that predicts ratings from a slice.

It learns the readers' mean ratings from real slices of patients that the model was trained on, without those
of the starting lesions, and then predicts them for every decoded image. Its agreement with the readers is
measured on unseen patients and given with every prediction: on their real slices, and on the model's
reconstructions of them, which are smoother than its training slices. It does not use the model's loss, so
that a guided dimension is not judged by its own guide.

It sees all images smoothed. A decoder trained against one network draws faint patterns of single pixels that
other networks respond to and no eye sees; on real slices a judge loses nothing by smoothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from lungvae_core.data.columns import patient_key
from lungvae_core.data.counted import Counted, left_out_before
from lungvae_core.data.labels import rating_level
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.statistics.intervals import percentile_interval
from lungvae_core.statistics.patients import patient_rows
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.cnn import Cnn, CnnConfig, fit_network, squared_error
from lungvae_core.training.encode import trained_rows
from lungvae_core.training.seen import shared_with
from lungvae_core.vae.config import Rated

SMOOTHING_PX = 1.0  # standard deviation of a Gaussian
# Narrower than the network that stands beside the VAEs: it reads a hundred thousand images a model.
WIDTH, EPOCHS, QUICK_EPOCHS = 8, 10, 2
LEAST_PATIENTS = 3  # to learn from, and to test on
_RATINGS: tuple[str, ...] = get_args(Rated)


@dataclass(frozen=True)
class Judge:
    """A network that predicts ratings."""

    ratings: tuple[str, ...]  # R of them
    network: Cnn
    mean: np.ndarray  # (R,) of the slices that it learned from
    deviation: np.ndarray  # (R,)

    def read(self, hu: np.ndarray) -> np.ndarray:
        """(N, R) ratings, each in its own unit, of slices hu (N, 64, 64) in HU at the model's spacing."""
        return self.mean + self.deviation * self.network.outputs(_smoothed(hu), mirrored=False)


@dataclass(frozen=True)
class Sample:
    """The rated slices of a data set that a judge learns from, or is tested on."""

    rows: np.ndarray  # of the data set
    counted: Counted


def judge_for(
    run: Run,
    data: SliceSet,
    table: pd.DataFrame,
    starts: np.ndarray,
    *,
    seed: int,
    resamples: int,
    epochs: int = EPOCHS,
) -> tuple[Judge, dict[str, Any]]:
    """A judge for walks from the rows `starts` of the run's encoded `table`, and its entry in the record.

    Raises UserError if the data do not suffice to fit or test one.
    """
    began = time.monotonic()
    levels = _levels(data.table)
    fitted, tested = samples(data, levels, table, starts)
    patients = data.table["patient_id"].map(patient_key).to_numpy()
    for part, purpose in ((fitted, "learn from"), (tested, "be tested on")):
        if len(set(patients[part.rows])) < LEAST_PATIENTS:
            raise UserError(
                f"A judge needs slices of at least {LEAST_PATIENTS} patients to {purpose}. "
                f"{part.counted.in_words()}"
            )
    levels = levels.loc[:, levels.iloc[fitted.rows].nunique() > 1]
    if levels.empty:
        raise UserError("No rating differs between the slices that a judge could learn from.")
    model = run.config.model
    learn, test = (
        at_spacing(data.slices[part.rows], data.table.iloc[part.rows], model.spacing_mm)
        for part in (fitted, tested)
    )
    config = CnnConfig(width=WIDTH, epochs=epochs, hu_low=model.hu_low, hu_high=model.hu_high)
    judge = fit_judge(learn, levels.iloc[fitted.rows], config, seed=seed)
    vae, truth = run.load_model(), levels.iloc[tested.rows]
    drawn = vae.decode_hu(vae.encode_hu(test))
    return judge, {
        "ratings": {
            kind: agreement_with_readers(judge.read(hu), truth, patients[tested.rows], seed, resamples)
            for kind, hu in (("real", test), ("reconstructed", drawn))
        },
        "fitted": fitted.counted.model_dump(),
        "tested": tested.counted.model_dump(),
        "smoothing_px": SMOOTHING_PX,
        "epochs": epochs,
        "seed": seed,
        "seconds": time.monotonic() - began,
    }


def fit_judge(hu: np.ndarray, levels: pd.DataFrame, config: CnnConfig, *, seed: int) -> Judge:
    """A judge of slices hu (N, 64, 64) in HU and their ratings (N, R), NaN where there is none.

    The same seed gives the same judge.
    """
    values = levels.to_numpy(float)
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    answers = (values - mean) / deviation
    network = fit_network(_smoothed(hu), answers, squared_error, seed=seed, config=config)
    return Judge(tuple(map(str, levels)), network, mean, deviation)


def _smoothed(hu: np.ndarray) -> np.ndarray:
    return gaussian_filter(np.asarray(hu, np.float32), (0, SMOOTHING_PX, SMOOTHING_PX))


def samples(
    data: SliceSet, levels: pd.DataFrame, table: pd.DataFrame, starts: np.ndarray
) -> tuple[Sample, Sample]:
    """A judge's training and test samples: rated slices of disjoint patients, without shared images.

    It learns from patients that the model was trained on, without those of the rows `starts` of the encoded
    `table`, and is tested on patients that the model was not trained on.
    """
    patients = data.table["patient_id"].map(patient_key)
    trained = patients.isin(_keys(table[trained_rows(table)])).to_numpy()
    start = patients.isin(_keys(table.iloc[starts])).to_numpy()
    before = left_out_before(data.info.details)
    unfit = {
        "without a reader's rating": levels.isna().all(axis=1).to_numpy(),
        "of the same picture as another patient's": shared_with(data).notna().to_numpy(),
    }
    untrained = {
        "of patients that the model was not trained on": ~trained,
        "of patients of the starting lesions": start,
    }
    seen = {"of patients that the model was trained on": trained}
    return _sample(unfit | untrained, before), _sample(unfit | seen, before)


def agreement_with_readers(
    read: np.ndarray, truth: pd.DataFrame, patients: np.ndarray, seed: int, resamples: int
) -> dict[str, dict[str, Any]]:
    """Spearman's correlation of ratings read (N, R) with the readers' (N, R): a dict a rating.

    `value`, with the 95 % interval `low` and `high` of `patients` (N,) drawn again; `n` slices of `patients`.
    These three are NaN where the readers' ratings do not vary.
    """
    agreement = {}
    for at, rating in enumerate(truth):
        rated = truth[rating].notna().to_numpy()
        one, other, patient = read[rated, at], truth[rating].to_numpy(float)[rated], patients[rated]
        drawn = []
        if np.isfinite(value := _spearman(one, other)):
            resampled = patient_rows(patient, resamples, seed=seed)
            drawn = [_spearman(one[rows], other[rows]) for rows in resampled]
        interval = percentile_interval(value, np.array(drawn))
        if not np.isfinite(list(interval.values())).all():
            interval = dict.fromkeys(interval, float("nan"))
        counts = {"n": int(rated.sum()), "patients": len(np.unique(patient))}
        agreement[str(rating)] = {**interval, **counts}
    return agreement


def _levels(table: pd.DataFrame) -> pd.DataFrame:
    """(N, R) the readers' mean of every rating that the table has of any slice; UserError without any."""
    names = [name for name in _RATINGS if f"{name}_all" in table]
    levels = pd.DataFrame({name: rating_level(table, name) for name in names}, index=table.index)
    levels = levels.dropna(axis=1, how="all")
    if levels.empty:
        raise UserError(f"The data set has no readers' ratings (columns such as {_RATINGS[0]}_all).")
    return levels


def _keys(table: pd.DataFrame) -> Collection[str]:
    return set(table["patient_id"].map(patient_key))


def _sample(reasons: dict[str, np.ndarray], before: dict[str, int]) -> Sample:
    """The rows that none of the reasons (N,) bool leaves out; each other row counts for its first reason."""
    kept = np.ones(len(next(iter(reasons.values()))), bool)
    left_out = dict(before)
    for reason, rows in reasons.items():
        if count := int((kept & rows).sum()):
            left_out[reason] = count
        kept &= ~rows
    return Sample(np.flatnonzero(kept), Counted(used=int(kept.sum()), left_out=left_out))


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """NaN where either does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
