"""Progress bars of commands, and stopping a command by signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import TaskID


@contextmanager
def progress_bar(what: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar; yields a function taking (done, total)."""
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


@contextmanager
def task_bars(
    heading: str = "", *, time_left: bool = False
) -> Iterator[Callable[[str, float, float | None], None]]:
    """Show a bar per task on standard error; yields a function taking (task, done, total).

    Each shows the `heading` and its task, what is done and the time taken; with `time_left` instead the time
    left, and all bars are gone at the end.
    """
    from rich import progress
    from rich.console import Console

    figures = (progress.MofNCompleteColumn(), progress.TimeElapsedColumn())
    columns = (progress.TimeRemainingColumn(),) if time_left else figures
    text = progress.TextColumn("{task.description:8}")
    console = Console(stderr=True)
    bar = progress.Progress(text, progress.BarColumn(), *columns, console=console, transient=time_left)
    tasks: dict[str, TaskID] = {}

    def update(what: str, done: float, total: float | None) -> None:
        if not tasks:
            bar.start()  # only now: a refusal is one line, without a bar above it
        if what not in tasks:
            tasks[what] = bar.add_task(heading + what, total=total)
        bar.update(tasks[what], completed=done, total=total)

    try:
        yield update
    finally:
        if tasks:
            bar.stop()


@contextmanager
def status_bar(
    count: str, *, disable: bool = False
) -> Iterator[tuple[Callable[..., None], Callable[..., None]]]:
    """Show a bar between a count and a text; yields functions to update it and to print a line above it.

    `count` is a template with {task.fields[count]}. To update takes `total`, `completed`, `count` and
    `description`, all by name.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn(count), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, transient=True, disable=disable) as bar:
        task = bar.add_task("starting", total=1, count="-")
        yield partial(bar.update, task), partial(bar.console.print, highlight=False, soft_wrap=True)


@contextmanager
def stop_on_signals(what: str = "this batch") -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets; a second Ctrl-C ends the process at once.

    `what` names the work that is finished before the command stops.
    """
    stop = threading.Event()

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if number == signal.SIGINT:
            print(f"Stopping after {what}; press Ctrl-C again to stop at once.")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
