"""How well a model reconstructs slices of patients that it did not train on, in its window and in HU.

A slice is decoded from its code, the posterior mean. Both images are compared in the model's window only and
clipped to it. So HU errors say nothing about values outside the window (such as bone above 400 HU), and
another window gives other figures. `whole` is the 64x64 crop as the model sees it: a model with a fixed pixel
spacing sees it at that spacing, with a mirrored border if the crop is too small. `inside_mask` is the mean
over the pixels of the readers' mask in a slice. Every slice counts once, however large its lesion.

Figures of sharpness are in `evaluation.sharpness`. SSIM, MS-SSIM: `vae.objective`. PSNR: -10 log10 MSE of a
slice in dB, at most 100. RMSE: the root of the mean MSE. Intervals are percentiles of means over resampled
patients.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lungvae_core.data.columns import numbers, spelled_as
from lungvae_core.data.resample import at_spacing, masks_at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.data.splits import share_of_patients
from lungvae_core.errors import UserError
from lungvae_core.evaluation.sharpness import BANDS, DRAWN, REAL, sharpness
from lungvae_core.evaluation.subgroups import size_bands
from lungvae_core.statistics.intervals import nan_as_none, percentile_interval
from lungvae_core.statistics.patients import draw_counts
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import trained_rows
from lungvae_core.training.joint import RELEASED_SHARE
from lungvae_core.vae.objective import image_metrics, ms_ssim

WHOLE = ("ssim", "ms_ssim", "mse", "mae", "psnr", "mae_hu", "rmse_hu", "fine_power", "fine_invented")
INSIDE = ("mse", "mae", "psnr", "mae_hu", "rmse_hu", "histogram_hu", "margin")
_INSIDE = "inside_"
_MOST_DB = 100.0
_BATCH = 256


def reconstruction(
    run: Run,
    data: SliceSet,
    rows: np.ndarray,
    *,
    window_hu: tuple[float, float] | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> dict[str, Any]:
    """Reconstruction figures for `rows` (ints) of the data, none of a patient that `run` trained on.

    They are computed within `window_hu`, which must lie in the model's window (the default). Returns
    window_hu [low, high], slices, patients, masked (slices with a mask), whole {the figures of WHOLE},
    inside_mask {those of INSIDE} (None if no slice has a mask), by_size, a list of {band, slices, patients}
    with the figures of whole and, under `inside_mse` and so on, of inside_mask, and spectrum, a list of
    {from_cycles, to_cycles} per pixel with the power of the reconstructions over that of the slices. A figure
    is {value, low, high}; a single patient gives no interval (None).

    Raises UserError for no rows, rows of patients that the run trained on, a slice of unknown pixel spacing
    if the model has a fixed one, and a window that exceeds the model's.
    """
    window = window_hu or window_of(run)
    frame = slice_figures(run, data, rows, window_hu=window)
    return summarise(frame, window, resamples=resamples, seed=seed)


def window_of(run: Run) -> tuple[float, float]:
    """(low, high) in HU that 0 and 1 mean to the run's model."""
    return run.config.model.hu_low, run.config.model.hu_high


def slice_figures(
    run: Run,
    data: SliceSet,
    rows: np.ndarray,
    *,
    window_hu: tuple[float, float] | None = None,
) -> pd.DataFrame:
    """One row per slice of `rows`: row, patient_id, diameter_mm, and its figures in 0..1 of the window.

    These are ssim, ms_ssim, mse, mae, psnr (dB), and inside_mse, inside_mae, inside_psnr, which are NaN if
    the slice has no mask; and the columns of `sharpness`. `summarise` also takes such frames of several runs
    joined together, as from the folds of a cross-validation, if each row occurs once. Raises UserError as
    `reconstruction` does.
    """
    rows = np.asarray(rows)
    if len(rows) == 0:
        raise UserError("There is no held-out slice to reconstruct. Name rows of patients set aside.")
    check_unseen(run, data, rows)
    window = window_hu or window_of(run)
    place = _place(window, window_of(run))
    vae = run.load_model()
    spacing = vae.config.spacing_mm
    parts = []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        table = data.table.iloc[part]
        hu = at_spacing(data.slices[part], table, spacing)
        masks = masks_at_spacing(data.masks[part], table, spacing)
        with torch.inference_mode():
            x = vae.images(hu)
            y = vae.reconstruct(vae.latent.code(vae.posterior(x)))
            x, y = (((images - place[0]) / (place[1] - place[0])).clamp(0, 1) for images in (x, y))
            parts.append(compare(x, y, masks, window))
    table = data.table.iloc[rows]
    figures = pd.concat(parts, ignore_index=True)
    figures.insert(0, "row", rows)
    figures.insert(1, "patient_id", table["patient_id"].astype(str).to_numpy())
    figures.insert(2, "diameter_mm", numbers(table, "diameter_mm"))
    return figures


def _place(window: tuple[float, float], own: tuple[float, float]) -> tuple[float, float]:
    """The window's ends on the 0..1 scale of the model's window; UserError if they lie outside it."""
    if not own[0] <= window[0] < window[1] <= own[1]:
        raise UserError(
            f"The window {window[0]:g} to {window[1]:g} HU is not within the model's, {own[0]:g} to "
            f"{own[1]:g} HU: beyond that it draws nothing."
        )
    low, high = ((end - own[0]) / (own[1] - own[0]) for end in window)
    return low, high


def compare(x: Tensor, y: Tensor, masks: np.ndarray, window_hu: tuple[float, float]) -> pd.DataFrame:
    """The figures (columns of `slice_figures`) of images y against x, both (N, 1, 64, 64) in 0..1.

    `masks` (N, 64, 64) are 1 inside the lesion; 0 and 1 are the ends of `window_hu`.
    """
    figures = {name: values.double() for name, values in image_metrics(x, y).items()}
    figures["ms_ssim"] = ms_ssim(x, y, reduce=False).double()
    figures["psnr"] = _psnr(figures["mse"])
    mask = torch.tensor(masks > 0)
    size = mask.flatten(1).sum(1)
    difference = (x - y)[:, 0].double() * mask
    # A division by 0 pixels is NaN: no mask, no figure.
    figures[f"{_INSIDE}mse"] = difference.square().flatten(1).sum(1) / size
    figures[f"{_INSIDE}mae"] = difference.abs().flatten(1).sum(1) / size
    figures[f"{_INSIDE}psnr"] = _psnr(figures[f"{_INSIDE}mse"])
    columns = {name: values.numpy() for name, values in figures.items()}
    return pd.DataFrame(columns | sharpness(x[:, 0].numpy(), y[:, 0].numpy(), masks, window_hu))


def summarise(
    frame: pd.DataFrame, window_hu: tuple[float, float], *, resamples: int = 500, seed: int = 0
) -> dict[str, Any]:
    """What `reconstruction` returns, from the frame of `slice_figures`."""
    low, high = window_hu
    inside = frame[f"{_INSIDE}mse"].notna().any()
    whole = _figures(frame, high - low, resamples, seed)
    bands = []
    for band, part in frame.groupby(size_bands(frame["diameter_mm"].to_numpy(float)).array, observed=True):
        figures = _figures(part, high - low, resamples, seed)
        kept = {name: figure for name, figure in figures.items() if not name.startswith("power_")}
        bands.append({"band": band, **_counts(part), **kept})
    return {
        "window_hu": [float(low), float(high)],
        **_counts(frame),
        "masked": int(frame[f"{_INSIDE}mse"].notna().sum()),
        "whole": {name: whole[name] for name in WHOLE if name in whole},
        "inside_mask": {name: whole[_INSIDE + name] for name in INSIDE if _INSIDE + name in whole}
        if inside
        else None,
        "by_size": bands,
        "spectrum": [
            {"from_cycles": band[0], "to_cycles": band[1], **whole[f"power_{number}"]}
            for number, band in enumerate(BANDS)
            if f"power_{number}" in whole
        ],
    }


def check_unseen(run: Run, data: SliceSet, rows: np.ndarray) -> None:
    """Raise UserError if `rows` of the data belong to patients whose slices the run trained on."""
    patients = data.table["patient_id"].astype(str).to_numpy()[rows]
    trained = trained_patients(run, data) & set(patients)
    if trained:
        count = int(np.isin(patients, sorted(trained)).sum())
        raise UserError(
            f"{count:,} of the {len(rows):,} slices are of {len(trained):,} patients that the model "
            f"{run.folder} trained on, as {min(trained)}: how well it redraws them says nothing of new "
            "patients. Leave them out; Run.split tells which are held out."
        )


def trained_patients(run: Run, data: SliceSet) -> set[str]:
    """A set of patient_ids with at least all those of `data` whose slices the run trained on.

    Raises UserError if the run is too old to list its training patients and has no codes that show them.
    """
    if data.info.generated != run.info.data.generated:
        return set()  # a phantom is not a patient, even if drawn from a patient's ratings
    trained = set(run.info.trained or [])
    # The released joint phase continues with 70 % of all patients, including held-out ones.
    all_patients = run.config.labels_leak
    if run.info.trained is None or all_patients:
        table = _own_table(run, data)
        owners = table["patient_id"].astype(str).to_numpy()
        trained |= set(owners[run.split(table)[0]])
        if all_patients:
            shared = share_of_patients(table, share=RELEASED_SHARE, seed=run.config.training.seed)
            trained |= set(owners[shared])
    ids = data.table["patient_id"].astype(str).unique().tolist()
    return trained | {
        own for own, other in zip(ids, spelled_as(ids, trained), strict=True) if other in trained
    }


def _own_table(run: Run, data: SliceSet) -> pd.DataFrame:
    """The table of the data that the run was trained on; UserError if there is none."""
    own = run.info.data
    if data.info.content_hash == own.content_hash and len(data.table) == own.count:
        return data.table
    if run.has("latents.parquet"):
        table, _ = run.latents()
        if trained_rows(table).any():
            return table
    raise UserError(
        f"The model {run.folder} does not say on which patients it trained, so none can be told to be held "
        "out. Reconstruct slices of the data that it was trained on, or encode those first."
    )


def _psnr(mse: Tensor) -> Tensor:
    """dB of mean squared errors in 0..1, capped: a perfect image would be infinite and dominate the mean."""
    return -10 * mse.clamp(min=10 ** (-_MOST_DB / 10)).log10()


def _counts(frame: pd.DataFrame) -> dict[str, int]:
    return {"slices": len(frame), "patients": int(frame["patient_id"].nunique())}


def _figures(frame: pd.DataFrame, width_hu: float, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """{figure: {value, low, high}} of whole crops and, as `inside_...`, of masks if there are any.

    `width_hu` is the width of the window: an error of 1 on 0..1 equals that many HU.
    """
    names = [str(name) for name in frame if name not in ("row", "patient_id", "diameter_mm")]
    values = frame[names].to_numpy(float)  # (N, F)
    patient, owners = pd.factorize(frame["patient_id"], sort=True)
    sums, counts = np.zeros((2, len(owners), len(names)))
    np.add.at(sums, patient, np.nan_to_num(values))
    np.add.at(counts, patient, ~np.isnan(values))
    drawn = draw_counts(len(owners), resamples, seed=seed)
    drawn = np.concatenate([np.ones((1, len(owners))), drawn])  # the first is the sample itself
    with np.errstate(invalid="ignore"):
        means = dict(zip(names, ((drawn @ sums) / (drawn @ counts)).T, strict=True))
    for before in ("", _INSIDE):
        means[f"{before}mae_hu"] = means[f"{before}mae"] * width_hu
        means[f"{before}rmse_hu"] = np.sqrt(means[f"{before}mse"]) * width_hu
    means[f"{_INSIDE}histogram_hu"] = means.pop(f"{_INSIDE}histogram") * width_hu
    for name in [each.removesuffix(REAL) for each in names if each.endswith(REAL)]:
        with np.errstate(invalid="ignore", divide="ignore"):
            means[name] = means.pop(name + DRAWN) / means.pop(name + REAL)
    first = 1 if len(owners) > 1 else len(drawn)  # with one patient, resamples say nothing
    return {
        name: nan_as_none(percentile_interval(mean[0], mean[first:]))
        for name, mean in means.items()
        if not np.isnan(mean[0])
    }
