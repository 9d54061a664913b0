"""Inputs tried one by one in a process of their own, with little memory and time, watched for what it writes.

Each input must end in a result or in a UserError. Anything else is a finding: another exception, more than
5 seconds, more than 1 GiB, the process's death, or a file written outside the given folder.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow

from lungvae_core.errors import UserError

SECONDS = 5
BYTES = 2**30
AT_ONCE = 50  # inputs a process
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class TooLong(BaseException):
    """Not an Exception, so that no parser swallows it."""


@dataclass
class Outcome:
    """What became of the inputs: how many ended in a result and in a sentence, and the findings."""

    results: int = 0
    sentences: int = 0
    findings: list[tuple[int, str]] = field(default_factory=list)  # (seed, what happened)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.results + other.results,
            self.sentences + other.sentences,
            self.findings + other.findings,
        )

    def report(self) -> str:
        """In a line or a few."""
        text = f"{self.results} results, {self.sentences} sentences, {len(self.findings)} findings"
        kinds = Counter(what.splitlines()[-1] for _, what in self.findings)
        return "\n".join([text, *(f"  {count} x {what}" for what, count in kinds.most_common(12))])


def attempt(
    run: Callable[[bytes, Path], Any], make: Callable[[int], bytes], seeds: Sequence[int], folder: Path
) -> Outcome:
    """Run `run(make(seed), folder)` for every seed in processes forked from this one."""
    context = multiprocessing.get_context("fork")
    total = Outcome()
    for begin in range(0, len(seeds), AT_ONCE):
        part = list(seeds[begin : begin + AT_ONCE])
        while part:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(run, make, part, folder, sender))
            process.start()
            sender.close()
            done = 0
            try:
                while True:
                    kind, what = receiver.recv()
                    if kind == "result":
                        total.results += 1
                    elif kind == "sentence":
                        total.sentences += 1
                    else:
                        total.findings.append((part[done], what))
                    done += 1
            except EOFError:
                process.join()
            if done < len(part):  # it died at this one
                total.findings.append((part[done], f"the process died ({process.exitcode})"))
                done += 1
            part = part[done:]
    return total


def _child(
    run: Callable[[bytes, Path], Any],
    make: Callable[[int], bytes],
    seeds: list[int],
    folder: Path,
    sender: Any,
) -> None:
    warnings.simplefilter("ignore")
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    signal.signal(signal.SIGALRM, _too_long)
    outside: list[str] = []
    allowed = (str(folder.resolve()), os.devnull, "/proc/self", "/dev/shm", "/tmp/torchinductor")

    def watch(event: str, arguments: tuple) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            path, mode, flags = os.path.realpath(os.fsdecode(arguments[0])), arguments[1], arguments[2]
            writes = (flags or 0) & _WRITES if mode is None else set(mode) & set("wax+")
            if writes and not path.startswith(allowed):
                outside.append(path)

    sys.addaudithook(watch)
    inputs = [make(seed) for seed in seeds]
    pyarrow.array(["its allocator reserves a gibibyte of addresses when it is first used"])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    for content in inputs:
        outside.clear()
        signal.alarm(SECONDS)
        try:
            run(content, folder)
            found = ("result", "")
        except UserError as error:
            sentence = str(error)
            traced = "Traceback" in sentence or not sentence.strip()
            found = ("finding", f"no sentence: {sentence[:200]}") if traced else ("sentence", "")
        except TooLong:
            found = ("finding", f"more than {SECONDS} s")
        except MemoryError:
            found = ("finding", f"{traceback.format_exc(limit=-3)}\nmore than 1 GiB")
        except Exception as error:
            found = (
                "finding",
                f"{traceback.format_exc(limit=-6)}\n{type(error).__name__}: {str(error)[:160]}",
            )
        finally:
            signal.alarm(0)
        if outside:
            found = ("finding", f"wrote outside: {outside[0]}")
        sender.send(found)
    sender.close()
    os._exit(0)


def _too_long(_number: int, _frame: object) -> None:
    raise TooLong
