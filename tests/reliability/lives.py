"""Lives of a training: `lungvae train` in processes of their own, each killed at a moment that a test chose.

A server that has PyTorch loaded already forks them, so that a life costs no start of an interpreter.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

STARTED = 120.0  # seconds that a life may take at most


@dataclass(frozen=True)
class Moment:
    """The `number`-th time in a life, from 1, that `what` happens to `name`.

    `what` is `step` (a batch has been trained on), or, of the file `name`: `half` (half of it is written,
    under its temporary name), `flushed` (all of it is, still under that name) or `renamed` (it has its own).
    """

    what: str
    name: str
    number: int


def live(words: list[object], said: Path, *, kill: Moment | None = None, most_bytes: int = 0) -> int:
    """Run `lungvae train WORDS` on one thread in a process of its own; its exit code, -9 when it was killed.

    What it prints goes into the file `said`; no file that it writes may be larger than `most_bytes`, if any.
    """
    process = start(words, said, kill=kill, most_bytes=most_bytes)
    return ended(process, said)


def start(words: list[object], said: Path, *, kill: Moment | None = None, most_bytes: int = 0) -> BaseProcess:
    """As `live`, but without waiting for its end."""
    server = multiprocessing.get_context("forkserver")
    # torch._dynamo: every optimiser imports it at its first step, which takes longer than all else here.
    server.set_forkserver_preload(["lungvae_core.cli", "lungvae_core.training.fit", "torch._dynamo"])
    train = ["train", *map(str, words), "--threads", "1", "--device", "cpu", "--no-finish"]
    process = server.Process(target=_live, args=(train, str(said), kill, most_bytes))
    process.start()
    return process


def ended(process: BaseProcess, said: Path) -> int:
    """The exit code of a life that has been started, once it has ended."""
    process.join(STARTED)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"the training did not end: {said.read_text()}")
    return process.exitcode


def _live(words: list[str], said: str, kill: Moment | None, most_bytes: int) -> None:
    into = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(into, 1)
    os.dup2(into, 2)
    from lungvae_core.cli import main

    if kill is not None:
        _arrange(kill)
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    sys.argv = ["lungvae", *words]
    main()


def _arrange(moment: Moment) -> None:
    """Make this process kill itself at that moment, as nothing in it could prevent or notice."""
    from lungvae_core.training.fit import _Fit

    happened = 0

    def maybe(what: str, name: str) -> bool:
        nonlocal happened
        happened += (what, name) == (moment.what, moment.name)
        return happened == moment.number

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    step, fsync, replace = _Fit._step, os.fsync, Path.replace

    def step_then_die(self: _Fit, *rest: object) -> None:
        step(self, *rest)  # type: ignore[arg-type]
        if maybe("step", ""):
            die()

    def half_then_die(handle: int) -> None:
        temporary = Path(f"/proc/self/fd/{handle}").readlink()
        if maybe("half", temporary.name[1:].rsplit(".", 2)[0]):
            os.truncate(temporary, temporary.stat().st_size // 2)
            die()
        fsync(handle)

    def replace_or_die(self: Path, target: Path) -> Path:
        if maybe("flushed", target.name):
            die()
        done = replace(self, target)
        if maybe("renamed", target.name):
            die()
        return done

    # The three are of this process alone, which is about to die.
    _Fit._step, os.fsync, Path.replace = step_then_die, half_then_die, replace_or_die  # type: ignore
