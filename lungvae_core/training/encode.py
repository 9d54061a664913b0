"""The codes of a SliceSet under a trained model, saved beside its weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from lungvae_core.data.counted import Counted, left_out_before
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.seen import remember
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import normalise
from lungvae_core.vae.objective import image_metrics

VIEWS = (1, 4, 8)
TRAINED, HELD_OUT, UNSEEN = "train", "validation", "unseen"


def encode(
    run: Run,
    data: SliceSet,
    *,
    half: bool = False,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Write latents.parquet: the table's columns, split, reconstruction error and the code of every slice.

    The slices' fingerprints are kept beside them (`training.seen`). With `half` codes are rounded to float16.

    split is `train` or `validation` for the run's own data, `unseen` for any other. Raises UserError for a
    slice of unknown pixel spacing where the model has a fixed one.
    """
    vae = run.load_model()
    slices = at_spacing(data.slices, data.table, vae.config.spacing_mm)
    parts = []
    for start in range(0, len(data), 256):
        parts.append(encode_with_quality(vae, slices[start : start + 256]))
        on_progress(min(start + 256, len(data)), len(data))
    codes = np.concatenate([codes for codes, _ in parts])
    figures = {name: np.concatenate([quality[name] for _, quality in parts]) for name in ("ssim", "mse")}
    table = data.table.assign(split=split_of(run, data), **figures)
    run.write_latents(table, codes.astype(np.float16) if half else codes)
    remember(run, data)


@torch.inference_mode()
def encode_with_quality(vae: VAE, hu: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(codes (N, K), {ssim, mse: (N,) of the reconstruction in 0..1}) of slices hu (N, 64, 64).

    The slices are already at the model's `spacing_mm`.
    """
    x = normalise(torch.tensor(np.asarray(hu)), vae.config)[:, None]
    z = vae.latent.code(vae.posterior(x))
    quality = image_metrics(x, vae.reconstruct(z))
    return z.numpy(), {name: values.numpy() for name, values in quality.items()}


def encode_views(vae: VAE, hu: np.ndarray, views: int) -> np.ndarray:
    """(N, views, K) float32 codes of slices hu (N, 64, 64), plain, mirrored and turned.

    The slices are at the model's spacing. 1: plain; 4: plain and three mirrored; 8: also each of these turned
    by 90 degrees. UserError for other numbers.
    """
    if views not in VIEWS:
        raise UserError(f"There are no {views} views of a slice; choose 1, 4 or 8.")
    codes = np.empty((len(hu), views, vae.config.dimensions), np.float32)
    for start in range(0, len(hu), 256):
        part = np.asarray(hu[start : start + 256])
        mirrored = [part, part[:, ::-1], part[:, :, ::-1], part[:, ::-1, ::-1]]
        turned = [each.transpose(0, 2, 1) for each in mirrored]
        for view, shown in enumerate([*mirrored, *turned][:views]):
            codes[start : start + len(part), view] = vae.encode_hu(np.ascontiguousarray(shown))
    return codes


def left_out_of(run: Run, table: pd.DataFrame) -> dict[str, int]:
    """Rows that were left out before the run encoded `table` (its latents), by reason.

    Rows left out of other data are reported when these are encoded.
    """
    own = "split" in table and not (table["split"] == UNSEEN).any()
    return left_out_before(run.info.data.details) if own else {}


def encoded_rows(run: Run, table: pd.DataFrame) -> Counted:
    """The slices that the run has encoded, `table` (its latents), all used for a figure."""
    return Counted(used=len(table), left_out=left_out_of(run, table))


def trained_rows(table: pd.DataFrame) -> np.ndarray:
    """(N,) bool: the slices of a run's table that it was trained on; none where the table does not say."""
    return (table["split"] == TRAINED).to_numpy() if "split" in table else np.zeros(len(table), bool)


def split_of(run: Run, data: SliceSet) -> pd.Series:
    """(N,) train, validation or unseen for every slice of `data`, as the run saw it."""
    split = pd.Series(UNSEEN, index=range(len(data)))
    if data.info.content_hash == run.info.data.content_hash:
        train, held_out = run.split(data.table)
        split.iloc[train], split.iloc[held_out] = TRAINED, HELD_OUT
    return split
