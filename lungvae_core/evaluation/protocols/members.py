"""The trainings of an evaluation: one per fold and seed, each in a folder, resumable, with its codes saved.

A member is trained on its fold's fit patients, with the calibration patients held out. When its first phase
ends, and again when its joint phase does, every slice is encoded in four views (mirrored either way). Logits
are later averaged over these views, since a mirrored lesion is just as malignant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lungvae_core.array_file import write_array
from lungvae_core.data.resample import at_spacing
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.training.checkpoints import Run
from lungvae_core.training.encode import encode_views
from lungvae_core.training.epochs import read_position
from lungvae_core.training.fit import fit
from lungvae_core.training.inputs import Inputs
from lungvae_core.training.lesion_space import LesionSpace, drawn_axes
from lungvae_core.vae.config import Config
from lungvae_core.workers import pool

STOP = "stop"  # a file in the work folder that tells its workers to stop
VAE_STAGE, JOINT_STAGE = "vae", "joint"
VIEWS = 4


@dataclass(frozen=True)
class Member:
    """One training: everything a worker needs to run or find it."""

    fold: int
    seed: int
    config: Config
    data: str
    fit: np.ndarray | None  # rows; None for the split that the configuration itself makes
    calibration: np.ndarray | None
    folder: str
    work: str
    device: str
    threads: int

    @property
    def stages(self) -> tuple[str, ...]:
        return (VAE_STAGE, JOINT_STAGE) if self.config.joint.rounds else (VAE_STAGE,)

    @property
    def done(self) -> bool:
        """Whether its codes exist."""
        return all(codes_file(Path(self.folder), stage).is_file() for stage in self.stages)

    def epochs_done(self) -> float:
        """Epochs done so far, with fractions; for progress."""
        if self.done:
            return float(self.config.epochs)
        at = read_position(Path(self.folder))
        return 0.0 if at is None else at["epoch"] - 1 + at["batch"] / at["batches"]


def codes_file(folder: Path, stage: str) -> Path:
    """(N, 4, K) float32 codes of every slice of the data after a stage."""
    return folder / f"codes-{stage}.npy"


def load_codes(member: Member, stage: str) -> np.ndarray:
    """(N, 4, K) float32, memory-mapped."""
    return np.load(codes_file(Path(member.folder), stage), mmap_mode="r", allow_pickle=False)


def axes_file(folder: Path, stage: str) -> Path:
    """(1 + D, K) float32: the lesion space's axes, where classifiers of the stage's codes read these."""
    return folder / f"axes-{stage}.npy"


def inputs_at(member: Member, stage: str) -> Inputs:
    """How classifiers read the codes after a stage."""
    path = axes_file(Path(member.folder), stage)
    axes = np.load(path, allow_pickle=False) if path.is_file() else None
    return LesionSpace(member.config, axes).inputs


def train_all(
    members: list[Member],
    *,
    workers: int | None,
    ray: str | None,
    on_progress: Callable[[float, float], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Train the members not trained yet, several at once; False if stopped before the end.

    `on_progress(epochs done, epochs in all)` is called twice a second. Raises UserError if one fails.
    """
    total = float(sum(member.config.epochs for member in members))
    waiting = [member for member in members if not member.done]
    if not waiting:
        on_progress(total, total)
        return True
    stop = Path(waiting[0].work) / STOP
    stop.unlink(missing_ok=True)
    threads = waiting[0].threads
    gpu = waiting[0].device in ("auto", "cuda")
    with pool(workers, ray, threads=threads, gpu=gpu) as at_work:
        for member in waiting:
            at_work.submit((member.fold, member.seed), train_member, member)
        left = len(waiting)
        stopped = False
        while left:
            ended = at_work.wait(0.5)
            if ended is not None:
                left -= 1
                stopped = stopped or not ended[1]
            on_progress(sum(member.epochs_done() for member in members), total)
            if should_stop() and not stop.exists():
                stop.touch()
    stop.unlink(missing_ok=True)
    return not stopped


def train_member(member: Member) -> bool:
    """In a worker: train a member, or resume it, and save its codes; False if stopped."""
    torch.set_num_threads(member.threads)
    stop, folder = Path(member.work) / STOP, Path(member.folder)
    if stop.exists():
        return False
    data = SliceSet.open(member.data, verify=False)
    split = None if member.fit is None or member.calibration is None else (member.fit, member.calibration)
    for stage in member.stages:
        if codes_file(folder, stage).is_file():
            continue
        last = member.config.training.epochs if stage == VAE_STAGE else member.config.epochs
        resume = (folder / "config.json").exists()
        if resume:
            _check_same(Run.open(folder), member.config)
        fit(
            member.config,
            data,
            folder,
            device=member.device,
            resume=resume,
            split=None if resume else split,
            until=last,
            should_stop=stop.exists,
        )
        run = Run.open(folder)
        if len(run.metrics()) < last:
            return False
        slices = at_spacing(data.slices, data.table, run.config.model.spacing_mm)
        vae = run.load_model()
        codes = encode_views(vae, slices, VIEWS)
        if stage == VAE_STAGE and not member.config.labels_shape_first_phase:
            axes = drawn_axes(vae, codes[run.split(data.table)[0], 0])
            if axes is not None:
                write_array(axes_file(folder, stage), axes)
        write_array(codes_file(folder, stage), codes)
    (folder / "last.safetensors").unlink(missing_ok=True)  # three times the weights' size, no longer needed
    return True


def _check_same(run: Run, config: Config) -> None:
    ours = config.model_dump(exclude={"training": {"precision", "compile"}})
    if run.config.model_dump(exclude={"training": {"precision", "compile"}}) != ours:
        raise UserError(
            f"{run.folder} holds a training with other settings. Choose another --work folder, or delete it."
        )
