"""The state of a training, read from its run's folder: position, figures, samples, signs of collapse.

Runs made before a figure was added lack it: it is then None here, or missing from `history`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lungvae_core.errors import UserError
from lungvae_core.files import read_bytes
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.epochs import DimensionFigures, NotFinite, read_not_finite, read_position
from lungvae_core.training.validate import signs_of_collapse
from lungvae_core.vae.config import Config


@dataclass(frozen=True)
class TrainingState:
    """A run in training, stopped or finished."""

    config: Config  # with `auto` resolved for the run's device
    data_name: str
    device: str
    processes: int
    rows: list[dict[str, Any]]  # one row per epoch; see metrics.jsonl
    epoch: int  # the current one, from 1; the last one when all are done
    fraction: float  # 0..1 of all batches
    phase: str  # training, encoding, classifying, finished
    joint_round: int  # the current round, from 1; 0 in the first phase, without a classifier
    preparing: str | None  # the network that is fitted before the first epoch
    prepared: float | None  # 0..1, the share of its fit that is done
    loss: float | None  # running mean of the current epoch, weighted as in the objective
    images_per_second: float | None
    seconds_per_epoch: float | None  # of the current epoch, without its validation
    seconds_left: float | None  # of the training, when it was last recorded
    samples: bytes | None  # PNG: held-out slices above their reconstructions
    units: DimensionFigures | None  # of the last epoch
    alpha0: float | None  # Dirichlet: mean total concentration on the held-out slices, last epoch
    halvings: int  # of the learning rate, up to the last epoch
    not_finite: NotFinite | None  # where the loss or its gradient last was not finite
    warnings: list[str]  # signs of collapse, in words

    @property
    def leaks_from(self) -> int | None:
        """The first epoch, from 1, whose held-out figures leak; None where they never do."""
        return self.config.training.epochs + 1 if self.config.labels_leak else None

    def rounds_begun(self) -> list[tuple[int, int]]:
        """(number, first epoch) of every joint round that has begun, both from 1."""
        first, each = self.config.training.epochs + 1, self.config.joint.round_epochs
        return [(number, first + (number - 1) * each) for number in range(1, self.joint_round + 1)]

    def history(self, part: str, name: str = "") -> tuple[list[int], list[float]]:
        """(epochs from 1, values) of a figure, for the epochs that have it.

        `part` is train or validation, with a `name` such as loss or alpha0, or beta or learning_rate alone.
        """
        values = {
            row["epoch"]: value
            for row in self.rows
            if (value := row.get(part, {}).get(name) if name else row.get(part)) is not None
        }
        return list(values), list(values.values())


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
    at = read_not_finite(folder)
    progress = read_position(folder) or {"epoch": 1, "batch": 0, "batches": 1}
    batches, rate = progress["batches"], progress.get("images_per_second")
    done = progress["epoch"] - 1 + progress["batch"] / batches
    finished = len(rows) >= epochs
    epoch = min(epochs, max(len(rows) + 1, progress["epoch"]))
    last = rows[-1] if rows else {}
    return TrainingState(
        config=run.config,
        data_name=run.info.data.name,
        device=run.info.device,
        processes=run.info.processes,
        rows=rows,
        epoch=epoch,
        fraction=1.0 if finished else min(1.0, max(done, len(rows)) / epochs),
        phase=_phase(run) if finished else "training",
        joint_round=_joint_round(run.config, epoch),
        preparing=progress.get("preparing"),
        prepared=progress.get("prepared"),
        loss=progress.get("loss"),
        images_per_second=rate,
        seconds_per_epoch=batches * run.config.training.batch_size / rate if rate else None,
        seconds_left=None if finished else progress.get("seconds_left"),
        samples=_picture(folder / "samples.png"),
        units=DimensionFigures(**last["units"]) if last.get("units") else None,
        alpha0=last["validation"].get("alpha0") if last else None,
        halvings=last.get("halvings", 0),
        not_finite=None if at is None else NotFinite(**at),
        warnings=signs_of_collapse(run.config, last["validation"]) if last else [],
    )


def _picture(path: Path) -> bytes | None:
    """A PNG of at most 4096 pixels per side; None if there is no valid one."""
    try:
        content = read_bytes(path, what="The samples")
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            sound = max(picture.size) <= 4096
            picture.verify()
    except (UserError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's own
        return None
    return content if sound else None


def _joint_round(config: Config, epoch: int) -> int:
    """The joint round, from 1, of an epoch, from 1; 0 before the joint phase."""
    into = epoch - 1 - config.training.epochs
    return 0 if into < 0 else into // config.joint.round_epochs + 1


def _phase(run: Run) -> str:
    """The step of `lungvae train` after the last epoch, judged by the files it has written."""
    if not run.has("latents.parquet"):
        return "encoding"
    return "finished" if run.has("map-nodule.parquet") else "classifying"
