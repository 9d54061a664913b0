"""The codes of a SliceSet under a trained model, saved beside its weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.training.checkpoints import Run
from lungvae_core.vae.model import VAE
from lungvae_core.vae.networks import normalise
from lungvae_core.vae.objective import image_metrics

TRAINED, HELD_OUT, UNSEEN = "train", "validation", "unseen"


def encode(run: Run, data: SliceSet, *, on_progress: Callable[[int, int], None] = lambda *_: None) -> None:
    """Write latents.parquet: the table's columns, split, reconstruction error and the code of every slice.

    split is `train` or `validation` for the run's own data, `unseen` for any other. Raises UserError for a
    slice of unknown pixel spacing where the model has a fixed one.
    """
    vae = run.load_model()
    slices = at_spacing(data.slices, data.table, vae.config.spacing_mm)
    codes = np.empty((len(data), run.config.model.dimensions), np.float32)
    figures: dict[str, list[np.ndarray]] = {"ssim": [], "mse": []}
    for start in range(0, len(data), 256):
        part = slice(start, start + 256)
        codes[part], quality = encode_with_quality(vae, slices[part])
        for name, values in figures.items():
            values.append(quality[name])
        on_progress(min(start + 256, len(data)), len(data))
    table = data.table.drop(columns=["split", *figures], errors="ignore").assign(
        split=split_of(run, data), **{name: np.concatenate(values) for name, values in figures.items()}
    )
    run.write_latents(table, codes)


@torch.inference_mode()
def encode_with_quality(vae: VAE, hu: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(codes (N, K), {ssim, mse: (N,) of the reconstruction in 0..1}) of slices hu (N, 64, 64).

    The slices are already at the model's `spacing_mm`.
    """
    x = normalise(torch.tensor(np.asarray(hu)), vae.config)[:, None]
    z = vae.latent.code(vae.posterior(x))
    quality = image_metrics(x, vae.reconstruct(z))
    return z.numpy(), {name: values.numpy() for name, values in quality.items()}


def split_of(run: Run, data: SliceSet) -> pd.Series:
    """(N,) train, validation or unseen for every slice of `data`, as the run saw it."""
    split = pd.Series(UNSEEN, index=range(len(data)))
    if data.info.content_hash == run.info.data.content_hash:
        train, held_out = run.split(data.table)
        split.iloc[train], split.iloc[held_out] = TRAINED, HELD_OUT
    return split
