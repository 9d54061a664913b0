"""How a training is doing, read from its run's folder: position, figures, samples, signs of collapse."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lungvae_core.errors import UserError
from lungvae_core.files import read_json
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.validate import signs_of_collapse
from lungvae_core.vae.config import Config


@dataclass(frozen=True)
class TrainingState:
    """A run in training, stopped or finished."""

    config: Config
    data_name: str
    rows: list[dict[str, Any]]  # a row an epoch; see metrics.jsonl
    epoch: int  # the one in hand, from 1; the last one when all are done
    fraction: float  # 0..1 of all batches
    phase: str  # training, encoding, classifying, finished
    loss: float | None  # running mean of the epoch in hand, weighted as the objective says
    images_per_second: float | None
    seconds_left: float | None  # of the training, when it was last written down
    samples: bytes | None  # PNG: held-out slices above their reconstructions
    warnings: list[str]  # signs of collapse, in words


def read_state(folder: str | Path) -> TrainingState | None:
    """The state of the run in `folder`; None before the training has written anything there.

    Raises UserError when the run is damaged.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        return None
    run = Run.open(folder)
    rows = run.metrics()
    epochs = run.config.epochs
    progress: dict[str, Any] = {}
    if run.has("progress.json"):
        with contextlib.suppress(UserError):
            progress = read_json(folder / "progress.json", what="")
    done = progress.get("epoch", 1) - 1 + progress.get("batch", 0) / progress.get("batches", 1)
    finished = len(rows) >= epochs
    samples = folder / "samples.png"
    return TrainingState(
        config=run.config,
        data_name=run.info.data.name,
        rows=rows,
        epoch=min(epochs, max(len(rows) + 1, progress.get("epoch", 1))),
        fraction=1.0 if finished else min(1.0, max(done, len(rows)) / epochs),
        phase=_phase(run) if finished else "training",
        loss=progress.get("loss"),
        images_per_second=progress.get("images_per_second"),
        seconds_left=None if finished else progress.get("seconds_left"),
        samples=samples.read_bytes() if samples.is_file() else None,
        warnings=signs_of_collapse(run.config, rows[-1]["validation"]) if rows else [],
    )


def _phase(run: Run) -> str:
    """What `lungvae train` is at after the last epoch, by what it has written."""
    if not run.has("latents.parquet"):
        return "encoding"
    return "finished" if run.has("map-nodule.parquet") else "classifying"
