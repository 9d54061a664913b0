"""Every dimension moved over its range from many lesions, decoded, outlined, measured and summed up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

import lungvae_core
from lungvae_core.data.columns import NODULE, numbers
from lungvae_core.data.counted import chosen_rows, left_out_before
from lungvae_core.data.outlines import DISTANCE, segment
from lungvae_core.data.properties import PROPERTIES, measure
from lungvae_core.data.properties import deviations as deviations_of
from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import strata
from lungvae_core.errors import UserError
from lungvae_core.explore.colours import BANDS, BANDS_MM
from lungvae_core.explore.measured.detail import fine_share, growth
from lungvae_core.explore.measured.judge import EPOCHS, Judge, judge_for
from lungvae_core.explore.measured.name import RULE, Moved, name_of
from lungvae_core.explore.measured.record import FORMAT, load, save
from lungvae_core.explore.measured.schema import JUDGED, MOVED
from lungvae_core.statistics.intervals import percentiles
from lungvae_core.statistics.patients import draw_counts
from lungvae_core.statistics.rates import share
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import left_out_of, trained_rows
from lungvae_core.vae.latents import Latent

STEPS, RESAMPLES, REFERENCE = 9, 1000, 600
CHECKED = 400  # slices whose outlines are compared with the readers' masks
RISE = 0.01  # of a rating, over the whole range, below which it is not taken to rise
FEWEST_HELD_OUT = 16  # patients, without which lesions are taken from all
_KEYS = tuple(PROPERTIES)
Decode = Callable[[np.ndarray], np.ndarray]  # codes (M, K) -> slices (M, 64, 64) in HU


def pick_starts(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """Rows of at most `count` lesions, one a patient, spread evenly over size bands and malignancy.

    Each nodule is represented by the slice with the largest mask, if the table has mask sizes.
    """
    generator = np.random.default_rng(seed)
    rows = generator.permutation(_largest(table))
    rows = rows[~table["patient_id"].iloc[rows].duplicated().to_numpy()]
    cell = (np.digitize(numbers(table, "diameter_mm"), BANDS_MM) * 4 + strata(table))[rows]
    # Lesions of a cell one after another, then dealt: the first of each cell, the second of each, and so on.
    turn = pd.Series(cell).groupby(cell).cumcount().to_numpy()
    return np.sort(rows[np.argsort(turn, kind="stable")[:count]])


def pick_from(table: pd.DataFrame) -> tuple[np.ndarray, str]:
    """(rows to take the starting lesions from, whose they are): held-out patients' where there are enough.

    A model draws lesions that it was trained on better than others.
    """
    held_out = ~trained_rows(table) if "split" in table else np.zeros(len(table), bool)
    if table.loc[held_out, "patient_id"].nunique() >= FEWEST_HELD_OUT:
        return np.flatnonzero(held_out), "patients that the model was not trained on"
    return np.arange(len(table)), "all patients"


def pick_reference(table: pd.DataFrame, count: int, seed: int) -> np.ndarray:
    """Rows of at most `count` nodules drawn at random, each by its largest slice."""
    rows = _largest(table)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:count])


def _largest(table: pd.DataFrame) -> np.ndarray:
    size = table["area_px"] if "area_px" in table else pd.Series(0, index=table.index)
    ordered = table.assign(at=np.arange(len(table)), size=size.to_numpy()).sort_values("size", kind="stable")
    return np.sort(ordered.groupby(NODULE)["at"].last().to_numpy())


def grids(codes: np.ndarray, latent: Latent, steps: int) -> np.ndarray:
    """(K, steps) float32: each dimension's values from the 1st to the 99th percentile of codes (N, K)."""
    ends = np.percentile(codes, [1, 99], axis=0).T
    return np.stack([latent.spaced(at, low, high, steps) for at, (low, high) in enumerate(ends)])


def traverse(
    decode: Decode,
    latent: Latent,
    starts: np.ndarray,
    grids: np.ndarray,
    *,
    on_decoded: Callable[[np.ndarray], None] = lambda _: None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> tuple[np.ndarray, np.ndarray]:
    """(values (K, S, T, P), changes (K, S, 2)) of dimensions moved over `grids` (K, T) from `starts` (S, K).

    Values are `properties.measure` at each step, NaN where no lesion could be outlined; changes are the root
    mean square changes in HU, from the first step to the last, of the pixels in and around the lesion.
    `on_decoded` is given the slices (S * T, 64, 64) in HU of one dimension after the other.
    """
    values = np.empty((len(grids), len(starts), grids.shape[1], len(_KEYS)), np.float32)
    changes = np.empty((len(grids), len(starts), 2))
    for dimension, grid in enumerate(grids):
        slices = decode(np.concatenate([latent.path(start, dimension, grid) for start in starts]))
        on_decoded(slices)
        values[dimension], changes[dimension] = measure_walks(slices, len(grid))
        on_progress(dimension + 1, len(grids))
    return values, changes


def measure_walks(hu: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(values (S, T, P), changes (S, 2)) of S walks of T `steps` each, decoded: hu (S * T, 64, 64)."""
    outlines = segment(hu)
    values = measure(hu, outlines).reshape(-1, steps, len(_KEYS))
    shape = (-1, steps, *hu.shape[1:])
    # In the lesion: inside the outline at any step of the walk.
    inside = (outlines.reach() >= DISTANCE).reshape(shape).any(1)
    walks = hu.reshape(shape)
    square = (walks[:, -1].astype(np.float64) - walks[:, 0]) ** 2
    means = [(square * part).sum((1, 2)) / np.maximum(part.sum((1, 2)), 1) for part in (inside, ~inside)]
    return values, np.sqrt(np.stack(means, axis=1))


def summarise(
    values: np.ndarray, deviations: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[list[dict[str, Moved]], np.ndarray]:
    """What each dimension does to each property, from values (K, S, T, P) and deviations (P,).

    Returns a dict of `Moved` a dimension, without properties that fewer than 5 starts show, and the mean
    walks (K, T, P, 3): mean and 95 % interval, each start taken from its own mean over the steps. A start
    counts for a property if two steps in three could be measured. The change is that of the least-squares
    line, which is robust to single steps.
    """
    steps = values.shape[2]
    measured = np.isfinite(values)
    shows = measured.sum(2) >= max(3, np.ceil(2 * steps / 3))  # (K, S, P)
    measured &= shows[:, :, None]
    change = np.where(shows, _slope(values, measured), np.nan)
    rank = np.where(shows, _spearman(values, measured), np.nan)
    draws = draw_counts(values.shape[1], resamples, seed=seed)
    low, high = _interval(change, draws)
    walks = _walks(values, measured, draws)
    rows = []
    for dimension in range(len(values)):
        row: dict[str, Moved] = {}
        for at, key in enumerate(_KEYS):
            own = change[dimension, :, at]
            if np.isfinite(own).sum() < 5 or not np.isfinite(deviations[at]) or deviations[at] <= 0:
                continue
            mean = float(np.nanmean(own))
            row[key] = Moved(
                change=mean,
                low=float(low[dimension, at]),
                high=float(high[dimension, at]),
                effect=mean / float(deviations[at]),
                spearman=float(np.nanmean(rank[dimension, :, at])),
                agree=float((np.sign(own[np.isfinite(own)]) == np.sign(mean)).mean()),
                start=float(walks[dimension, 0, at, 0]),
                end=float(walks[dimension, -1, at, 0]),
                median_spearman=float(np.nanmedian(rank[dimension, :, at])),
            )
        rows.append(row)
    return rows, walks


def judged_moves(
    readings: np.ndarray, ratings: Sequence[str], *, seed: int, resamples: int
) -> list[dict[str, list[float]]]:
    """A judge's predictions as each dimension rises, from (K, S, T, R): a dict a dimension by rating.

    The figures are those of `schema.JUDGED`: the change over the range and its 95 % interval, the median over
    the starts of Spearman's correlation with the dimension, and the share of the starts in which it rises.
    The change is that of the least-squares line.
    """
    everywhere = np.ones(readings.shape, bool)
    change, rank = _slope(readings, everywhere), _spearman(readings, everywhere)  # (K, S, R)
    draws = draw_counts(readings.shape[1], resamples, seed=seed)
    figures = np.stack(
        [change.mean(1), *_interval(change, draws), np.median(rank, axis=1), (change > RISE).mean(1)], axis=-1
    )
    return [dict(zip(ratings, one.tolist(), strict=True)) for one in figures]


def _centred(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Values (K, S, T, P) less their mean over the measured steps; 0 at the others."""
    mean = np.where(measured, values, 0).sum(2, keepdims=True) / np.maximum(measured.sum(2, keepdims=True), 1)
    return np.where(measured, values - mean, 0)


def _slope(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(K, S, P) change over the whole range of the least-squares line through the measured steps."""
    away = _centred(np.linspace(-0.5, 0.5, values.shape[2])[None, None, :, None], measured)
    square = (away**2).sum(2)
    return (away * np.where(measured, values, 0)).sum(2) / np.where(square > 0, square, 1)


def _spearman(values: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(K, S, P) Spearman's correlation of each start's measured steps with the dimension; 0: none moves."""
    steps = np.arange(values.shape[2], dtype=np.float32)[:, None]
    ranks = []
    for row in (np.where(measured, values, np.nan), np.where(measured, steps, np.nan)):
        below = (row[:, :, None] < row[:, :, :, None]).sum(3)
        equal = (row[:, :, None] == row[:, :, :, None]).sum(3)
        ranks.append(_centred(below + (equal - 1) / 2, measured))
    own, order = ranks
    scale = np.sqrt((own**2).sum(2) * (order**2).sum(2))
    return (own * order).sum(2) / np.where(scale > 0, scale, 1)


def _interval(figures: np.ndarray, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of the means of figures (K, S, ...) over the starts, by `draws` (B, S) of these."""
    ends = np.full((2, len(figures), *figures.shape[2:]), np.nan)
    for at, own in enumerate(figures):
        there = np.isfinite(own)
        total = np.tensordot(draws, np.where(there, own, 0), 1)
        ends[:, at] = percentiles(share(total, np.tensordot(draws, there.astype(float), 1)))
    return ends[0], ends[1]


def _walks(values: np.ndarray, measured: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(K, T, P, 3) mean, low and high of the walks, each start taken from its own mean over the steps."""
    values = np.where(measured, values.astype(np.float64), 0)
    level = share(values.sum(2, keepdims=True), measured.sum(2, keepdims=True))  # (K, S, 1, P)
    of_all = share(np.nansum(level, axis=1, keepdims=True), np.isfinite(level).sum(1, keepdims=True))
    moved = np.where(measured, values - level + of_all, np.nan)
    mean = share(np.nan_to_num(moved).sum(1), measured.sum(1))
    return np.stack([mean, *_interval(moved, draws[:200])], axis=-1)


def names(moved: list[dict[str, Moved]], changes: np.ndarray) -> list[dict[str, Any]]:
    """A dict a dimension: text, properties, others, family, selectivity; see `name.name_of`."""
    mean = changes.mean(1)
    return [
        asdict(name_of(row, inside_hu=float(mean[at, 0]), outside_hu=float(mean[at, 1])))
        for at, row in enumerate(moved)
    ]


def controls(values: np.ndarray, deviations: np.ndarray, *, seed: int, resamples: int) -> dict[str, Any]:
    """How often the rule names dimensions that should have no name, made of these measurements at random.

    `shuffled`: each start's steps in a random order. `mixed`: each start moved along a dimension, and a way
    of it, drawn for it alone, so that nothing but chance makes the starts agree.
    """
    generator = np.random.default_rng([seed, 1])
    count, starts, steps = values.shape[:3]
    if count < 2:
        return {}
    repeats = max(1, round(200 / count))
    order = np.argsort(generator.random((count * repeats, starts, steps)), axis=2)
    shuffled = np.take_along_axis(np.tile(values, (repeats, 1, 1, 1)), order[..., None], axis=2)
    which = generator.integers(count, size=(count * repeats, starts))
    mixed = values[which, np.arange(starts)]
    back = generator.random((count * repeats, starts)) < 0.5
    mixed = np.where(back[:, :, None, None], mixed[:, :, ::-1], mixed)
    counts = {}
    for key, made in (("shuffled", shuffled), ("mixed", mixed)):
        moved, _ = summarise(made, deviations, seed=seed, resamples=min(resamples, 300))
        named = sum(bool(each["properties"]) for each in names(moved, np.full((len(made), 1, 2), np.inf)))
        counts[key] = {"dimensions": len(made), "named": named}
    return counts


def measure_run(
    run: Run,
    data: SliceSet | None = None,
    *,
    starts: int = 64,
    steps: int = STEPS,
    seed: int = 0,
    resamples: int = RESAMPLES,
    judge_epochs: int = EPOCHS,
    command: str = "",
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Any]:
    """Measure every dimension of a run and write measured.json into it; returns what was written.

    `data` (optional) are slices with masks, to compare the outlines with the readers', and with readers'
    ratings, from which a judge learns them (`measured.judge`) for `judge_epochs`; 0: no judge. Raises
    UserError when the run has no codes, or too few patients.
    """
    began = time.monotonic()
    table, codes = run.latents()
    rows, whose = _starting_rows(run, table, starts, seed)
    vae, model = run.load_model(), run.config.model
    trained = trained_rows(table)
    over = grids(codes[trained] if trained.any() else codes, vae.latent, steps)
    reference = pick_reference(table, REFERENCE, seed)
    real = vae.decode_hu(codes[reference])
    deviations = deviations_of(measure(real, segment(real)))
    judge, about_judge = _judge(run, data, table, rows, judge_epochs, seed=seed, resamples=resamples)
    readings: list[np.ndarray] = []  # (S, T, R) of one dimension after the other
    detail: list[list[float]] = []
    shares = fine_share(vae.decode_hu(codes[rows]))

    def read(slices: np.ndarray) -> None:
        detail.append(growth(slices, shares, steps))
        if judge is not None:
            readings.append(judge.read(slices).reshape(len(rows), steps, -1))

    values, changes = traverse(
        vae.decode_hu, vae.latent, codes[rows], over, on_decoded=read, on_progress=on_progress
    )
    judged: list[dict[str, list[float]]] = [{}] * len(over)
    if judge is not None:
        judged = judged_moves(np.stack(readings), judge.ratings, seed=seed, resamples=resamples)
    spacing = numbers(table, "pixel_spacing_mm")[rows]  # NaN where it is unknown
    if model.spacing_mm:
        spacing = np.full(len(rows), model.spacing_mm)
    measured = {
        **_head(run, table, rows),
        "steps": steps,
        "seed": seed,
        "resamples": resamples,
        "starts": {
            "of": whose,
            "rows": rows.tolist(),
            "patients": len(rows),
            "with_spacing": int(np.isfinite(spacing).sum()),
        },
        "reference_lesions": len(reference),
        "outlined": np.isfinite(values[..., 0]).mean(),
        "properties": property_entries(deviations),
        "dimensions": _dimensions(
            values, changes, over, deviations, spacing, judged, detail, seed=seed, resamples=resamples
        ),
        "controls": controls(values, deviations, seed=seed, resamples=resamples),
        "judge": about_judge,
        "outlines": None if data is None else check_outlines(run, data, seed=seed),
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": time.monotonic() - began,
    }
    save(run, measured)
    return load(run) or {}


def _head(run: Run, table: pd.DataFrame, rows: np.ndarray) -> dict[str, Any]:
    """The part of the record that says what is measured, on the rows of the table that walks start from."""
    model = run.config.model
    return {
        "format": FORMAT,
        "what": "Each dimension moved from the 1st to the 99th percentile of the training codes, from many "
        "lesions; every decoded image outlined and measured. Names are for rising values.",
        "rule": RULE,
        "moved": list(MOVED),
        "judged": JUDGED,
        "dimensions_count": model.dimensions,
        "interval": "95 %, percentiles of the mean over starts, which are one a patient and are resampled",
        "window_hu": [model.hu_low, model.hu_high],
        "counted": chosen_rows(
            np.isin(np.arange(len(table)), rows),
            f"not among the {len(rows):,} starting lesions, of each patient one slice",
            before=left_out_of(run, table),
        ).model_dump(),
        "data": run.info.data.name,
        "versions": {"lungvae": lungvae_core.__version__, "numpy": np.__version__},
    }


def _starting_rows(run: Run, table: pd.DataFrame, count: int, seed: int) -> tuple[np.ndarray, str]:
    """(rows of the table to start from, whose they are); UserError for too few patients."""
    candidates, whose = pick_from(table)
    rows = candidates[pick_starts(table.iloc[candidates].reset_index(drop=True), count, seed)]
    if len(rows) < 5:
        raise UserError(
            f"{run.folder} has codes of {len(rows)} patients, but at least 5 are needed to measure from. "
            "Encode more with `lungvae encode`."
        )
    return rows, whose


def _judge(
    run: Run,
    data: SliceSet | None,
    table: pd.DataFrame,
    starts: np.ndarray,
    epochs: int,
    *,
    seed: int,
    resamples: int,
) -> tuple[Judge | None, dict[str, Any] | None]:
    """A judge, if `data` suffice to train one, and its entry in the record, or why there is none."""
    if data is None or not epochs:
        return None, None
    try:
        return judge_for(run, data, table, starts, seed=seed, resamples=resamples, epochs=epochs)
    except UserError as error:  # everything else is measured without it
        return None, {"why_not": str(error)}


def _dimensions(
    values: np.ndarray,
    changes: np.ndarray,
    grids: np.ndarray,
    deviations: np.ndarray,
    spacing: np.ndarray,
    judged: list[dict[str, list[float]]],
    detail: list[list[float]],
    *,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """The record of each dimension, walked over grids (K, T), of what `traverse` gave.

    That is values (K, S, T, P) and changes (K, S, 2).
    """
    moved, walks = summarise(values, deviations, seed=seed, resamples=resamples)
    in_mm = _millimetres(values, spacing, seed, resamples)
    outlined = np.isfinite(values[..., 0])
    return [
        {
            "dimension": at,
            "low": grids[at, 0],
            "high": grids[at, -1],
            "values": grids[at],
            "name": name.pop("text"),
            **name,
            "inside_hu": changes[at, :, 0].mean(),
            "outside_hu": changes[at, :, 1].mean(),
            "outlined": outlined[at].mean(),
            "moved": {key: [getattr(one, figure) for figure in MOVED] for key, one in row.items()},
            "median_spearman": {key: one.median_spearman for key, one in row.items()},
            "walk": {key: walks[at, :, _KEYS.index(key)].T for key in row},
            "mm": {key: each[at] for key, each in in_mm.items()},
            "judged": judged[at],
            "fine_share": detail[at],
        }
        for at, (row, name) in enumerate(zip(moved, names(moved, changes), strict=True))
    ]


def property_entries(deviations: np.ndarray) -> dict[str, dict[str, Any]]:
    """The record's entry of each measured property, with its standard deviation (P,) over lesions."""
    return {
        key: {
            "words": one.label,
            "unit": one.unit,
            "family": one.family,
            "names": one.names,
            "meaning": one.meaning,
            "deviation": deviations[at],
        }
        for at, (key, one) in enumerate(PROPERTIES.items())
    }


def check_outlines(run: Run, data: SliceSet, *, seed: int = 0) -> dict[str, Any]:
    """The outlines of real slices, and of the model's reconstructions of them, against the readers' masks.

    Each is a dict a size band and `all`: n, Dice (mean and median), correlation of the logarithms of the
    areas, and bias, the median of outlined over readers' area. One slice a patient; `counted` says how many
    were left out, and why. Raises UserError for data without a mask.
    """
    outlined = np.flatnonzero([mask.any() for mask in data.masks])
    if not len(outlined):
        raise UserError(
            f"The data set {data.folder} has no masks to hold outlines against. Leave out --data."
        )
    rows = outlined[pick_starts(data.table.iloc[outlined].reset_index(drop=True), CHECKED, seed)]
    table, model = data.table.iloc[rows], run.config.model
    # Masks are in native pixels, so only native pixels can be compared with them.
    hu, masks = np.asarray(data.slices[rows]), np.asarray(data.masks[rows]).astype(bool)
    seen = np.clip(hu, model.hu_low, model.hu_high).astype(np.float32)
    before = left_out_before(data.info.details)
    if unmasked := len(data) - len(outlined):
        before["without a mask"] = unmasked
    why_not = f"not among the {len(rows):,} drawn, of each patient one"
    report: dict[str, Any] = {
        "slices": len(rows),
        "counted": chosen_rows(np.isin(outlined, rows), why_not, before=before).model_dump(),
        "seed": seed,
        "real": agreement(seen, masks, table),
    }
    if not model.spacing_mm:
        vae = run.load_model()
        report["reconstructed"] = agreement(vae.decode_hu(vae.encode_hu(hu)), masks, table)
    return report


def agreement(hu: np.ndarray, masks: np.ndarray, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Outlines of hu (N, 64, 64) against masks (N, 64, 64), over all and by size band of `table` (N rows)."""
    outlines = segment(hu)
    made = outlines.masks()
    dice = 2 * (made & masks).sum((1, 2)) / np.maximum(made.sum((1, 2)) + masks.sum((1, 2)), 1)
    area, true = outlines.area(), masks.sum((1, 2))
    groups = {"all": np.ones(len(hu), bool)}
    if "diameter_mm" in table:
        band = np.digitize(numbers(table, "diameter_mm"), BANDS_MM)
        groups |= {name: band == at for at, name in enumerate(BANDS)}
    return [
        {
            "band": name,
            "n": int(part.sum()),
            "dice": dice[part].mean(),
            "dice_median": np.median(dice[part]),
            "area_correlation": _correlation(np.log(area[part]), np.log(np.maximum(true[part], 1))),
            "area_ratio": np.median(area[part] / np.maximum(true[part], 1)),
            "outlined": outlines.trusted[part].mean(),
        }
        for name, part in groups.items()
        if part.any()
    ]


def _correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Pearson's; None where either does not vary."""
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _millimetres(
    values: np.ndarray, spacing: np.ndarray, seed: int, resamples: int
) -> dict[str, list[list[float] | None]]:
    """Change, low, high a dimension of diameter (mm) and area (mm²), over the starts of known spacing."""
    stated = np.isfinite(spacing)
    if stated.sum() < 5:
        return {}
    in_mm = {}
    for key, name, power in (("diameter_px", "diameter_mm", 1), ("area_px", "area_mm2", 2)):
        scaled = values[:, stated]
        scaled[..., _KEYS.index(key)] *= (spacing[stated] ** power)[None, :, None]
        rows, _ = summarise(scaled, np.ones(len(_KEYS)), seed=seed, resamples=resamples)
        moved = [row.get(key) for row in rows]
        in_mm[name] = [None if each is None else [each.change, each.low, each.high] for each in moved]
    return in_mm
