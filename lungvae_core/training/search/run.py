"""The search itself: propose, train on workers, evaluate on validation patients, keep the best.

Successive halving is asynchronous (ASHA: Li et al., arXiv 1810.05934, in its promoting form): whenever a
worker is free, a trial of the best third of a rung is promoted, or else a new trial begins at the lowest
rung. A trial that is not promoted waits with its checkpoint, and is halted at the end.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lungvae_core.data.slices import SliceSet, malignant
from lungvae_core.errors import UserError
from lungvae_core.files import folder_lock, write_json
from lungvae_core.training.checkpoints import Run, check_out
from lungvae_core.training.search import spaces
from lungvae_core.training.search.book import (
    COMPLETE,
    ENDED,
    FAILED,
    HALTED,
    PAUSED,
    RUNNING,
    Book,
    Trial,
)
from lungvae_core.training.search.setup import ETA, OF_CODES, Patients, SearchConfig, open_search, split
from lungvae_core.training.search.trial import STOP, FoldTask, MlpTask, Outcome, train_fold, train_mlp
from lungvae_core.workers import Pool, WorkerLost, pool

TRIALS = "trials"  # the folder of the trials' runs
POLL_SECONDS = 0.5
REPORT_SECONDS = 2.0


@dataclass(frozen=True)
class Progress:
    """The progress of a search, as in progress.json."""

    done: int  # trials that have ended
    trials: int
    running: int
    epochs_done: int  # of all folds, in this session or before
    epochs_expected: int  # of all folds to the end, about
    seconds_left: float | None
    best_number: int | None
    best_value: float | None
    slots: int  # tasks at once


@dataclass(frozen=True)
class Event:
    """An event: a trial has ended, paused or lost its worker."""

    trial: Trial
    what: str  # complete, halted, failed, paused or restarted


def search(
    config: SearchConfig,
    folder: Path,
    *,
    resume: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "auto",
    threads: int = 1,
    keep_runs: bool = False,
    on_event: Callable[[Event], None] = lambda event: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Book, bool]:
    """Run the search into `folder`; return (its trials, whether all have ended).

    Each trial is trained on the training patients of every fold and judged on the fold's validation patients;
    `test_fraction` of the patients are in no fold. When `should_stop` returns true, running trainings stop
    after their batch with a checkpoint. With `resume` a search continues: finished trials count, others
    continue from their checkpoints; `config` may then have more trials and must otherwise be the same.
    `workers`, `ray` and `threads` are those of `workers.pool`.

    Raises UserError for a folder that holds another search or something else, data that have changed, missing
    labels that the objective needs, and if all trials failed.
    """
    folder = folder.resolve()
    check_out(folder, "search.json", "search", resume=resume, may_be_there=lambda name: name == ".lock")
    patients, content = check_source(config)
    config = config.model_copy(update={"data_name": content[0], "data_hash": content[1]})
    needs_gpu = device in ("auto", "cuda") and not config.of.of_codes
    # The workers first: without any, nothing is left behind that would have to be resumed.
    with (
        pool(workers, ray, threads=threads, gpu=needs_gpu) as at_work,
        folder_lock(folder, what="the search"),
    ):
        if resume:
            _check_same(open_search(folder), config)
        write_json(folder / "search.json", config.model_dump(mode="json"))
        (folder / STOP).unlink(missing_ok=True)
        book = Book(folder, config)
        running = _Search(
            config, folder, book, patients, at_work, device, threads, keep_runs, on_event, on_progress
        )
        finished = running.run(should_stop)
    if finished and not book.best():
        first = next((trial.error for trial in book.trials if trial.error), "")
        raise UserError(f"All {len(book.trials)} trials failed, so there is no best. The first said: {first}")
    return book, finished


def check_source(config: SearchConfig) -> tuple[Patients, tuple[str, str]]:
    """(the split of the patients, (name, hash) of the data or of the run's codes).

    Raises UserError for data that are missing or damaged, have too few patients, or lack the labels that the
    objective needs.
    """
    if config.of.of_codes:
        run = Run.open(config.data)
        table, codes = run.latents()
        content = run.info.title, hashlib.sha256(codes.tobytes()).hexdigest()
    else:
        data = SliceSet.open(config.data)
        table, content = data.table, (data.info.name, data.info.content_hash)
    _check_objective(config, table)
    return split(table, config), content


def _check_same(stored: SearchConfig, given: SearchConfig) -> None:
    """Raise UserError unless a search continues with the settings and data that it began with."""
    if stored.data_hash != given.data_hash:
        raise UserError(
            f"The data in {given.data} have changed since the search began. Put them back, or begin anew."
        )
    differing = [
        name
        for name in SearchConfig.model_fields
        if name not in ("trials", "data", "data_name") and getattr(stored, name) != getattr(given, name)
    ]
    if differing:
        raise UserError(
            f"The search began with another {differing[0]}. A resumed search keeps its settings, "
            "but for more --trials; leave the others out."
        )
    if given.trials < stored.trials:
        raise UserError(f"The search began with {stored.trials} trials; --trials can only be raised.")


def _check_objective(config: SearchConfig, table: pd.DataFrame) -> None:
    """Raise UserError where the space has no such objective, or the table lacks the labels that it needs."""
    of_codes = config.of.of_codes
    allowed = OF_CODES if of_codes else ("auc", "ssim", "mse", "elbo")
    if config.objective not in allowed:
        raise UserError(
            f"The space {config.space} has no objective {config.objective!r}. "
            f"Choose one of: {', '.join(allowed)}."
        )
    if of_codes and config.halving:
        raise UserError("Successive halving is for VAEs: an MLP is trained in seconds. Leave out --halving.")
    labels = malignant(table)
    if config.objective in OF_CODES and not ((labels == 1).any() and (labels == 0).any()):
        raise UserError(
            f"{config.data} lacks labels of both classes (malignancy above 3 and below 3), which the "
            f"objective {config.objective} needs. Choose --objective ssim, mse or elbo."
        )


@dataclass
class _Search:
    """One search in progress."""

    config: SearchConfig
    folder: Path
    book: Book
    patients: Patients
    at_work: Pool
    device: str
    threads: int
    keep_runs: bool
    on_event: Callable[[Event], None]
    on_progress: Callable[[Progress], None]
    # By trial, its folds' outcomes as they come.
    in_hand: dict[int, dict[int, Outcome | None]] = field(default_factory=dict)
    restarts: dict[Any, int] = field(default_factory=dict)  # by (trial, fold), in this session
    began: float = field(default_factory=time.monotonic)
    reported: float = 0.0

    def __post_init__(self) -> None:
        self.rungs = self.config.rungs
        self.parts = 1 if self.config.of.of_codes else len(self.patients.folds)  # tasks a rung of a trial
        self.broken_off = [trial for trial in self.book.trials if trial.state == RUNNING]
        self.epochs_before = self._epochs_done()

    def run(self, should_stop: Callable[[], bool]) -> bool:
        """Train and judge until `should_stop`; return whether all trials have ended."""
        stopping = False
        self._report(now=True)
        while True:
            if not stopping and should_stop():
                stopping = True
                (self.folder / STOP).touch()
            while not stopping and self._tasks() < self.at_work.slots and (trial := self._next()) is not None:
                self._send(trial)
            if not self.in_hand:
                if stopping or not self._wake_one():
                    break
                continue
            self._report()
            if (ended := self._wait()) is not None:
                self._take(*ended)
                self.book.write_table()
                self._report(now=True)
        if not stopping:
            for trial in self.book.trials:
                if trial.state == PAUSED:
                    self._end(trial, HALTED)
        (self.folder / STOP).unlink(missing_ok=True)
        self.book.write_table()
        self._report(now=True)
        return not stopping

    # --- what is next

    def _next(self) -> Trial | None:
        """The trial to train next, with its target set: one broken off, one promoted, or a new one."""
        if self.broken_off:
            return self.broken_off.pop(0)
        for rung in reversed(range(len(self.rungs) - 1)):
            judged = [trial for trial in self.book.trials if len(trial.rungs) > rung]
            judged.sort(key=lambda trial: self.book.rank(trial.value_at(rung)))
            for trial in judged[: len(judged) // ETA]:
                if trial.state == PAUSED and len(trial.rungs) == rung + 1:
                    return self._promoted(trial)
        if len(self.book.trials) < self.config.trials:
            return self.book.propose()
        return None

    def _wake_one(self) -> bool:
        """When nothing runs and nothing is left to begin: promote the best of a rung that promoted no one.

        With fewer trials than ETA in a rung no third of them is a whole trial, but one has to reach the end.
        """
        for rung in range(len(self.rungs) - 1):
            judged = [trial for trial in self.book.trials if len(trial.rungs) > rung]
            waiting = [trial for trial in judged if trial.state == PAUSED]
            if waiting and not any(len(trial.rungs) > rung + 1 or trial.target > rung for trial in judged):
                self._send(self._promoted(min(waiting, key=lambda trial: self.book.rank(trial.value))))
                return True
        return False

    def _promoted(self, trial: Trial) -> Trial:
        trial.target, trial.state = len(trial.rungs), RUNNING
        self.book.write(trial)
        return trial

    # --- to the workers and back

    def _tasks(self) -> int:
        return sum(outcome is None for parts in self.in_hand.values() for outcome in parts.values())

    def _send(self, trial: Trial) -> None:
        """Queue the tasks of a trial's rung: one a fold, or one in all for an MLP."""
        self.in_hand[trial.number] = dict.fromkeys(range(self.parts))
        changes = {"seed": self.config.seed, **self.book.settings(trial)}
        data = str(Path(self.config.data).resolve())
        if self.config.of.of_codes:
            mlp = MlpTask(
                config=spaces.configure_mlp(self.config.of, changes),
                run=data,
                folds=self.patients.folds,
                objective=self.config.objective,
                search=str(self.folder),
            )
            self.at_work.submit((trial.number, 0), train_mlp, mlp)
            return
        config = spaces.configure(self.config.of, changes)
        for part, (train, validation) in enumerate(self.patients.folds):
            task = FoldTask(
                config=config,
                data=data,
                data_hash=self.config.data_hash,
                search=str(self.folder),
                folder=str(self._folder(trial) / f"fold-{part + 1}"),
                train=train,
                validation=validation,
                until=self.rungs[trial.target],
                objective=self.config.objective,
                device=self.device,
                threads=self.threads,
            )
            self.at_work.submit((trial.number, part), train_fold, task)

    def _wait(self) -> tuple[Trial, int, Outcome] | None:
        """(trial, part, outcome) of a task that has ended; None when none has for a while."""
        token: Any
        try:
            if (ended := self.at_work.wait(POLL_SECONDS)) is None:
                return None
            token, outcome = ended
        except WorkerLost as error:
            token, outcome = error.token, Outcome(error=str(error))
        finally:
            self._count_restarts()
        number, part = token
        return self.book.trials[number], part, outcome

    def _count_restarts(self) -> None:
        token: Any
        for token, times in self.at_work.restarts.items():
            if more := times - self.restarts.get(token, 0):
                self.restarts[token] = times
                trial = self.book.trials[token[0]]
                trial.restarts += more
                self.book.write(trial)
                self.on_event(Event(trial, "restarted"))

    def _take(self, trial: Trial, part: int, outcome: Outcome) -> None:
        """Note a task's outcome; when it was the last of its rung, judge the trial."""
        parts = self.in_hand[trial.number]
        parts[part] = outcome
        if outcome.where and outcome.where not in trial.where:
            trial.where.append(outcome.where)
        outcomes = [each for each in parts.values() if each is not None]
        if len(outcomes) < len(parts):
            return
        del self.in_hand[trial.number]
        if error := next((each.error for each in outcomes if each.error), ""):
            self._end(trial, FAILED, error)
        elif any(each.stopped for each in outcomes):
            self.book.write(trial)
            return
        else:
            first = outcomes[0]
            trial.seconds = sum(each.seconds for each in outcomes)
            trial.epochs, trial.extra = first.epochs, first.extra
            of_codes = self.config.of.of_codes
            self.book.reached(trial, first.values if of_codes else [each.values[0] for each in outcomes])
            if len(trial.rungs) == len(self.rungs):
                self._end(trial, COMPLETE)
            else:
                trial.state = PAUSED
        self.on_event(Event(trial, trial.state))

    def _end(self, trial: Trial, state: str, error: str = "") -> None:
        self.book.end(trial, state, error)
        if self.keep_runs or self.config.of.of_codes:
            return
        best = self.book.best()[:1]
        for ended in self.book.trials:
            if ended.state in ENDED and ended not in best:
                _drop_weights(self._folder(ended))

    def _folder(self, trial: Trial) -> Path:
        return self.folder / TRIALS / f"{trial.number:04d}"

    # --- how far it is

    def _report(self, *, now: bool = False) -> None:
        if not now and time.monotonic() - self.reported < REPORT_SECONDS:
            return
        self.reported = time.monotonic()
        done = self._epochs_done()
        expected = max(self._epochs_expected(), done)
        here, elapsed = done - self.epochs_before, time.monotonic() - self.began
        best = next(iter(self.book.best()), None)
        progress = Progress(
            done=sum(trial.state in ENDED for trial in self.book.trials),
            trials=self.config.trials,
            running=len(self.in_hand),
            epochs_done=done,
            epochs_expected=expected,
            seconds_left=elapsed * (expected - done) / here if here else None,
            best_number=best.number if best else None,
            best_value=best.value if best else None,
            slots=self.at_work.slots,
        )
        write_json(self.folder / "progress.json", asdict(progress))
        self.on_progress(progress)

    def _epochs_done(self) -> int:
        done = 0
        for trial in self.book.trials:
            epochs = trial.epochs * self.parts
            if trial.number in self.in_hand and not self.config.of.of_codes:
                logs = self._folder(trial).glob("fold-*/metrics.jsonl")
                epochs = max(epochs, sum(path.read_bytes().count(b"\n") for path in logs))
            done += epochs
        return done

    def _epochs_expected(self) -> int:
        """Epochs of the whole search: with halving, a third of a rung's trials reach the next."""
        if not self.config.halving:
            failed = sum(trial.state == FAILED for trial in self.book.trials)
            return (self.config.trials - failed) * self.rungs[-1] * self.parts
        reach, epochs, before = self.config.trials, 0, 0
        for rung in self.rungs:
            epochs += reach * (rung - before)
            reach, before = max(1, reach // ETA), rung
        return epochs * self.parts


def _drop_weights(folder: Path) -> None:
    """What takes room in a trial's runs; their settings and curves stay."""
    for path in [*folder.glob("fold-*/*.safetensors"), *folder.glob("fold-*/samples.png")]:
        path.unlink(missing_ok=True)
