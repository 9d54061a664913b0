"""A search's trials: proposed by Optuna, kept in its journal (JSON lines), and shown as a table.

The journal is authoritative: it survives a kill, and the table is written from it. Every proposal depends
only on the search's seed and the trial's number, so a resumed search proposes the same as an uninterrupted
one.
"""

from __future__ import annotations

import contextlib
import json
import logging
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lungvae_core.csv_files import write_csv
from lungvae_core.errors import UserError
from lungvae_core.files import atomic_path
from lungvae_core.training.search import spaces
from lungvae_core.training.search.setup import SearchConfig
from lungvae_core.training.search.spaces import Parameter

JOURNAL, TABLE = "journal.jsonl", "trials.csv"
RUNNING, PAUSED = "running", "paused"  # paused: waits to see if it is among a rung's best
COMPLETE, HALTED, FAILED = "complete", "halted", "failed"
ENDED = (COMPLETE, HALTED, FAILED)
STARTUP = 10  # trials that TPE draws at random before it models them


@dataclass
class Trial:
    """One trial, as recorded in the journal."""

    number: int
    drawn: dict[str, Any]
    state: str = RUNNING
    target: int = 0  # the rung that it is trained for
    rungs: list[list[float]] = field(default_factory=list)  # the folds' values after each rung
    epochs: int = 0  # of each fold, by the last value
    seconds: float = 0.0
    restarts: int = 0  # workers that died at it
    where: list[str] = field(default_factory=list)
    error: str = ""
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def value(self) -> float | None:
        """The mean over the folds after the last rung reached."""
        return self.value_at(-1) if self.rungs else None

    def value_at(self, rung: int) -> float:
        """The mean over the folds after a rung that it has reached."""
        return float(np.mean(self.rungs[rung]))


_KEPT = ("target", "rungs", "epochs", "seconds", "restarts", "where", "error", "extra")


class Book:
    """The trials of a search in its folder; one process writes it at a time."""

    def __init__(self, folder: Path, config: SearchConfig) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("optuna").setLevel(logging.ERROR)
        self._optuna, self._folder, self._config = optuna, folder, config
        path = folder / JOURNAL
        _mend(path)
        backend = JournalFileBackend(str(path), lock_obj=_NoLock())  # type: ignore[arg-type]
        storage = JournalStorage(backend)
        self._study = optuna.create_study(
            storage=storage,
            study_name="search",
            direction="maximize" if config.maximise else "minimize",
            load_if_exists=True,
        )
        self._distributions = {name: _distribution(p) for name, p in sorted(config.parameters.items())}
        states = optuna.trial.TrialState
        self._ends = {COMPLETE: states.COMPLETE, HALTED: states.PRUNED, FAILED: states.FAIL}
        self._handles: dict[int, Any] = {}
        self._written: dict[int, dict[str, str]] = {}  # by trial, what the journal has, as JSON
        self.trials = [self._read(frozen) for frozen in self._study.get_trials(deepcopy=False)]

    def propose(self) -> Trial:
        """A new trial, running, with its parameters drawn."""
        number = len(self.trials)
        seed = int(np.random.SeedSequence([self._config.seed, number]).generate_state(1)[0])
        samplers = self._optuna.samplers
        if self._config.method == "tpe":
            # Trials that run or wait count as bad: the next is then proposed elsewhere.
            self._study.sampler = samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=STARTUP)
        else:
            self._study.sampler = samplers.RandomSampler(seed=seed)
        drawn = self._study.ask(self._distributions)
        self._handles[drawn.number] = drawn
        trial = Trial(drawn.number, dict(drawn.params))
        self.trials.append(trial)
        self.write(trial)
        return trial

    def write(self, trial: Trial) -> None:
        """Record the state of a trial; call it after every change."""
        handle, written = self._handle(trial), self._written.setdefault(trial.number, {})
        for name in _KEPT:
            text = json.dumps(getattr(trial, name))
            if written.get(name) != text:
                handle.set_user_attr(name, deepcopy(getattr(trial, name)))  # Optuna keeps what it is given
                written[name] = text

    def reached(self, trial: Trial, values: list[float]) -> None:
        """Record that a trial has been evaluated at its rung."""
        trial.rungs.append(values)
        self.write(trial)
        self._handle(trial).report(float(np.mean(values)), step=trial.epochs)

    def end(self, trial: Trial, state: str, error: str = "") -> None:
        """Close a trial; it is never resumed."""
        trial.state, trial.error = state, error
        self.write(trial)
        value = trial.value if state == COMPLETE else None
        self._study.tell(trial.number, value, state=self._ends[state])

    def best(self) -> list[Trial]:
        """The trials that were trained to their end, the best first."""
        done = [trial for trial in self.trials if trial.state == COMPLETE]
        return sorted(done, key=lambda trial: self.rank(trial.value))

    def rank(self, value: float | None) -> float:
        """Lower is better."""
        if value is None:
            return float("inf")
        return -value if self._config.maximise else value

    def table(self) -> pd.DataFrame:
        """A row a trial: number, state, value, fold_1 ..., epochs, seconds, restarts, where, error, settings.

        `where` are the workers that trained it, `restarts` how many of them died at it.
        """
        rows = []
        for trial in self.trials:
            values = trial.rungs[-1] if trial.rungs else [None] * self._config.folds
            rows.append(
                {
                    "number": trial.number,
                    "state": trial.state,
                    "value": trial.value,
                    **{f"fold_{number}": value for number, value in enumerate(values, 1)},
                    "epochs": trial.epochs,
                    "seconds": round(trial.seconds, 1),
                    "restarts": trial.restarts,
                    "where": " ".join(trial.where),
                    "error": trial.error,
                    **trial.extra,
                    **trial.drawn,
                }
            )
        return pd.DataFrame(rows)

    def write_table(self) -> None:
        """Write trials.csv, atomically."""
        with atomic_path(self._folder / TABLE) as temporary:
            write_csv(self.table(), temporary)

    def settings(self, trial: Trial) -> dict[str, Any]:
        """A trial's settings by name, as for `lungvae train --set`, where they differ from the preset."""
        return spaces.settings(self._config.of, trial.drawn, self._config.fixed)

    def _handle(self, trial: Trial) -> Any:
        if trial.number not in self._handles:
            frozen = self._study.get_trials(deepcopy=False)[trial.number]
            self._handles[trial.number] = self._optuna.trial.Trial(self._study, frozen._trial_id)
        return self._handles[trial.number]

    def _read(self, frozen: Any) -> Trial:
        attributes = deepcopy(frozen.user_attrs)
        kept = {name: attributes[name] for name in _KEPT if name in attributes}
        self._written[frozen.number] = {name: json.dumps(value) for name, value in kept.items()}
        trial = Trial(frozen.number, dict(frozen.params), **kept)
        ended = {of_optuna: state for state, of_optuna in self._ends.items()}
        trial.state = ended.get(frozen.state, RUNNING if len(trial.rungs) <= trial.target else PAUSED)
        return trial


class _NoLock:
    """Optuna's own lock outlives a kill; the search's folder is locked by the operating system instead."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    if parameter.whole:
        return IntDistribution(round(parameter.low), round(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left half written; all after it would be unreadable."""
    with contextlib.suppress(FileNotFoundError):
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            try:
                with path.open("r+b") as stream:
                    stream.truncate(whole)
            except OSError as error:
                raise UserError(f"Cannot write {path}: {error.strerror}.") from error
