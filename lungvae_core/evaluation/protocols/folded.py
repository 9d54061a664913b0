"""What the protocols of `lungvae evaluate` share: a preset is trained on the folds, in a work folder."""

from __future__ import annotations

import hashlib
import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lungvae_core.data.diagnoses import Diagnoses
from lungvae_core.data.slices import SliceSet
from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.base import Protocol
from lungvae_core.evaluation.protocols.members import Member, train_all
from lungvae_core.evaluation.protocols.plan import EvaluationConfig, Fold, configure, presets
from lungvae_core.files import write_json
from lungvae_core.vae.config import Config

PROGRESS = "progress.json"


class Progress:
    """Reports the progress to the caller and in progress.json."""

    def __init__(self, work: Path, on_progress: Callable[[float, float, str], None]) -> None:
        self._path, self._on_progress, self._what = work / PROGRESS, on_progress, ""
        self._began, self._first = time.monotonic(), 0.0

    def __call__(self, what: str, done: float, total: float) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._first = what, now, done
        rate = (done - self._first) / max(now - self._began, 1e-6)
        left = (total - done) / rate if rate > 0 else None
        write_json(
            self._path,
            {
                "what": what,
                "done": round(done, 2),
                "total": total,
                "seconds_left": None if left is None else round(left),
            },
        )
        self._on_progress(done, total, what)


@dataclass(frozen=True)
class Machine:
    """Where an evaluation runs, with the settings of `lungvae_core.workers.pool`, and how to stop it."""

    workers: int | None
    ray: str | None
    device: str
    threads: int
    should_stop: Callable[[], bool]


@dataclass(kw_only=True)
class Folded(Protocol):
    """An evaluation that trains: its members, and the results from their codes."""

    one_vae: ClassVar[bool] = False  # whether one VAE, with its own split, serves all folds

    evaluation: EvaluationConfig
    folds: list[Fold]
    work: Path
    machine: Machine
    progress: Progress
    confirmed: Diagnoses | None = None  # patients' scores are also judged against these
    beside: dict[str, Any] | None = None  # the honest report with which the leak table begins
    members: list[Member] = field(init=False)

    def __post_init__(self) -> None:
        self.members = self._members()

    @property
    def transductive(self) -> bool:
        return self.one_vae

    @classmethod
    def report_beside(
        cls, nested: Path | None, evaluation: EvaluationConfig, data: SliceSet
    ) -> dict[str, Any] | None:
        """The honest report for the leak table; UserError if one is given but there is no leak table."""
        if nested is not None:
            raise UserError("--nested belongs to the protocol paper, whose leak table it begins.")
        return None

    @abstractmethod
    def judged(self) -> dict[str, Any] | None:
        """The sections with figures, from trained members; None if stopped."""

    def sections(self) -> dict[str, Any] | None:
        if not train_all(
            self.members,
            workers=self.machine.workers,
            ray=self.machine.ray,
            on_progress=lambda done, total: self.progress("training", done, total),
            should_stop=self.machine.should_stop,
        ):
            return None
        return self.judged()

    def model(self) -> dict[str, Any]:
        return {
            "preset": "+".join(dict.fromkeys(member.config.preset for member in self.members)),
            "config": self.members[0].config.model_dump(
                mode="json", exclude={"preset": True, "training": {"seed"}}
            ),
            "name": None,
        }

    def _members(self) -> list[Member]:
        """The trainings that the protocol needs, each in a folder named by its settings."""
        split: list[tuple[int, Any, Any]] = [(fold.number, fold.fit, fold.calibration) for fold in self.folds]
        if self.one_vae:
            split = [(0, None, None)]
        members = []
        for seed, name in product(self.seeds, presets(self.evaluation)):
            config = configure(self.evaluation, seed, name)
            folder = self.work / f"{config.preset}-{self._settings_name(config)}"
            members += [
                Member(
                    fold=fold,
                    seed=seed,
                    config=config,
                    data=str(self.data.folder.resolve()),
                    fit=fit,
                    calibration=calibration,
                    folder=str(folder / f"fold{fold}-seed{seed}"),
                    work=str(self.work),
                    device=self.machine.device,
                    threads=self.machine.threads,
                )
                for fold, fit, calibration in split
            ]
        return members

    def _settings_name(self, config: Config) -> str:
        """Twelve hex digits that identify the settings, the folds and the data."""
        settings, evaluation = config.model_dump_json(exclude={"training": {"seed"}}), self.evaluation
        split = f"{evaluation.folds} {evaluation.seed} {evaluation.calibration_share}"
        text = f"{settings} {split} {self.one_vae}{self.left_out()} {self.data.info.content_hash}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def left_out(self) -> str:
        """A text that changes if some slices are in no fold; empty if all are in one."""
        tested = np.sort(np.concatenate([fold.test for fold in self.folds]))
        whole = len(tested) == len(self.data)
        return "" if whole else f" {hashlib.sha256(tested.tobytes()).hexdigest()}"
