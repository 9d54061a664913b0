"""Run a function over many items on several processes, in bounded memory."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from lungvae_core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")


def unordered(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for every item as it is done, in no fixed order.

    `function` must be importable. `workers` is the number of processes (default: all cores; 1: this one).
    Items are taken from their iterable only as workers come free. Raises UserError when the operating system
    kills a worker, and whatever `function` raises.
    """
    # loky, unlike multiprocessing's spawn, does not import the caller's __main__ in its workers, and unlike
    # fork it is safe where torch or a web server has threads running.
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with parallel_config("loky", initializer=_be_a_good_child):
        parallel = Parallel(
            n_jobs=workers or -1, batch_size=1, return_as="generator_unordered", max_nbytes=None
        )
        with _ignoring_ctrl_c():
            results = parallel(delayed(function)(item) for item in items)
    try:
        yield from results
    except TerminatedWorkerError as error:
        raise UserError(
            "A worker process was killed, most likely for lack of memory. Run it again with fewer --workers."
        ) from error


@contextlib.contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """Start workers deaf to Ctrl-C: they inherit it, and until `_be_a_good_child` ran would print traces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _be_a_good_child() -> None:
    """In a worker: leave Ctrl-C to the parent, and end with it even when it is killed outright."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
