"""Run functions on several processes of this machine, or on a Ray cluster, in bounded memory.

Both back ends do the same: a task whose worker dies (killed, out of memory, its machine gone) is started
again on another worker, up to `RETRIES` times. An exception of a task is raised here, without a retry, since
it would raise again. Ray is optional: `pip install 'lungvae[cluster]'`.

Tasks are functions that can be imported by the workers, with picklable arguments; nothing is stored as a
pickle. On a cluster, paths in arguments must be absolute and mean the same on every machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from lungvae_core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 3  # how often a task is started again after its worker died
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_POLL_SECONDS = 0.5


class WorkerLost(UserError):
    """A task whose worker died more often than it is retried; `token` names the task."""

    def __init__(self, token: Hashable, times: int) -> None:
        super().__init__(
            f"A worker process died {times} times at the same piece of work, most likely for lack of memory. "
            "Use fewer --workers, or machines with more memory."
        )
        self.token = token


class Pool(Protocol):
    """Workers that take tasks; made by `pool`."""

    @property
    def slots(self) -> int:
        """How many tasks run at once; on a cluster it follows the machines that come and go."""

    restarts: dict[Hashable, int]  # by token: how often a task was started again after its worker died

    def submit(self, token: Hashable, function: Callable[..., Any], *args: Any) -> None:
        """Queue `function(*args)`; `token` comes back with its result and names no other task in hand."""

    def wait(self, timeout: float | None = None) -> tuple[Any, Any] | None:
        """(token, result) of a task that has ended; None when none has after `timeout` seconds.

        Raises what the task raised, WorkerLost when its workers keep dying, LookupError without a task.
        """


@contextlib.contextmanager
def pool(
    workers: int | None = None, ray: str | None = None, *, threads: int = 1, gpu: bool = False
) -> Iterator[Pool]:
    """Workers: local processes, or with `ray` ("auto" or HOST:PORT) the tasks of a running Ray cluster.

    `workers` limits how many tasks run at once (default: one for every `threads` cores, of this machine or
    of the cluster); each uses `threads` CPU threads. `gpu` asks a cluster that has GPUs for one a
    task. Tasks in hand are dropped when the context is left. Raises UserError where Ray is not installed or
    does not answer.
    """
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers cannot work; choose 1 or more.")
    if threads < 1:
        raise UserError(f"{threads} threads cannot be used; choose 1 or more.")
    made: _Processes | _Cluster
    made = _Cluster(ray, workers, threads, gpu) if ray else _Processes(workers, threads)
    try:
        yield made
    finally:
        made.close()


def unordered(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    *,
    ray: str | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for every item as it is done, in no fixed order.

    `workers` is the number of processes (default: all cores; 1 without `ray`: this process alone); `ray` is
    that of `pool`. Items are taken from their iterable only as workers come free.
    """
    if workers == 1 and not ray:
        yield from map(function, items)
        return
    source = enumerate(items)
    with pool(workers, ray) as at_work:
        in_hand = 0
        while True:
            # One more than can run, so that no worker waits for its next item.
            while in_hand < at_work.slots + 1 and (following := next(source, None)) is not None:
                at_work.submit(following[0], function, following[1])
                in_hand += 1
            if in_hand == 0:
                return
            ended = at_work.wait()
            assert ended is not None
            in_hand -= 1
            yield ended[1]


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def here() -> str:
    """Which machine, and on a cluster which of its nodes, this code runs on, with the process's number."""
    node, ray = "", sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        node = f"node-{ray.get_runtime_context().get_node_id()[:8]}/"
    return f"{socket.gethostname()}/{node}{os.getpid()}"


def _guarded(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any]:
    """In a worker: (True, result), or (False, sentence) of a UserError, which crosses without a trace."""
    try:
        return True, function(*args)
    except UserError as error:
        return False, str(error)


def _opened(answer: tuple[bool, Any]) -> Any:
    fine, value = answer
    if not fine:
        raise UserError(value)
    return value


# --- processes of this machine -------------------------------------------------


class _Processes:
    """A process a slot, each behind an executor of its own, so that a death shows whose task it was."""

    def __init__(self, workers: int | None, threads: int) -> None:
        self.slots = workers or max(1, cores() // threads)
        self.restarts: dict[Hashable, int] = {}
        self._environment = dict.fromkeys(_THREADS, str(threads))
        self._waiting: deque[tuple[Hashable, Callable[..., Any], tuple[Any, ...]]] = deque()
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, tuple[Hashable, Callable[..., Any], tuple[Any, ...]]]] = {}

    def submit(self, token: Hashable, function: Callable[..., Any], *args: Any) -> None:
        self._waiting.append((token, function, args))
        self._start()

    def wait(self, timeout: float | None = None) -> tuple[Any, Any] | None:
        # loky, unlike multiprocessing's spawn, does not import the caller's __main__ in its workers, and
        # unlike fork it is safe where torch or a web server has threads running.
        from concurrent.futures import wait
        from concurrent.futures.process import BrokenProcessPool

        until = None if timeout is None else time.monotonic() + timeout
        while self._busy:
            left = _POLL_SECONDS if until is None else min(_POLL_SECONDS, until - time.monotonic())
            done, _ = wait(self._busy, timeout=max(0.0, left), return_when="FIRST_COMPLETED")
            for future in done:
                executor, task = self._busy.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    _end(executor)
                    self._again(task)
                    continue
                self._idle.append(executor)
                self._start()
                return task[0], _opened(future.result())
            if not done and until is not None and time.monotonic() >= until:
                return None
        raise LookupError("There is no task to wait for.")

    def close(self) -> None:
        for executor in [*self._idle, *(executor for executor, _ in self._busy.values())]:
            _end(executor)
        self._idle, self._busy = [], {}
        self._waiting.clear()

    def _start(self) -> None:
        while self._waiting and len(self._busy) < self.slots:
            executor = self._idle.pop() if self._idle else self._executor()
            task = self._waiting.popleft()
            with _ignoring_ctrl_c():
                future = executor.submit(_guarded, task[1], task[2])
            self._busy[future] = (executor, task)

    def _again(self, task: tuple[Hashable, Callable[..., Any], tuple[Any, ...]]) -> None:
        token = task[0]
        self.restarts[token] = self.restarts.get(token, 0) + 1
        if self.restarts[token] > RETRIES:
            self._start()  # a caller may go on without this one
            raise WorkerLost(token, self.restarts[token])
        self._waiting.appendleft(task)
        self._start()

    def _executor(self) -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        return ProcessPoolExecutor(1, initializer=_be_a_good_child, env=self._environment)


def _end(executor: Any) -> None:
    with contextlib.suppress(Exception):  # of a broken one nothing is left to end
        executor.shutdown(wait=True, kill_workers=True)


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


# --- a Ray cluster ------------------------------------------------------------


class _Cluster:
    """Ray's tasks; Ray places them, this counts how often each was lost."""

    def __init__(self, address: str, workers: int | None, threads: int, gpu: bool) -> None:
        self._ray = _ray()
        self._connected = _connect(self._ray, address)
        self._workers, self._threads = workers, threads
        gpus = 1 if gpu and self._ray.cluster_resources().get("GPU", 0) >= 1 else 0
        # Ray's own retries are off: those after a lack of memory would have no end.
        options = {"num_cpus": threads, "num_gpus": gpus, "max_retries": 0}
        self._gpus = gpus
        self._remote = self._ray.remote(**options)(_guarded)
        self.restarts: dict[Hashable, int] = {}
        self._busy: dict[Any, tuple[Hashable, Callable[..., Any], tuple[Any, ...]]] = {}
        if self._fitting() < 1:
            self.close()
            raise UserError(
                f"No machine of the Ray cluster {address} has the {threads} CPU(s) that a task needs. "
                "Use fewer --threads, or add machines with `ray start --address=HOST:PORT`."
            )

    @property
    def slots(self) -> int:
        """How many tasks the cluster's machines can run at once, now."""
        return max(1, min(self._fitting(), self._workers or self._fitting()))

    def submit(self, token: Hashable, function: Callable[..., Any], *args: Any) -> None:
        self._busy[self._remote.remote(function, args)] = (token, function, args)

    def wait(self, timeout: float | None = None) -> tuple[Any, Any] | None:
        lost = self._ray.exceptions
        until = None if timeout is None else time.monotonic() + timeout
        while self._busy:
            left = _POLL_SECONDS if until is None else min(_POLL_SECONDS, until - time.monotonic())
            done, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=max(0.0, left))
            for reference in done:
                task = self._busy.pop(reference)
                try:
                    answer = self._ray.get(reference)
                except (
                    lost.WorkerCrashedError,
                    lost.OutOfMemoryError,
                    lost.NodeDiedError,
                    lost.LocalRayletDiedError,
                    lost.ObjectLostError,
                ):
                    self._again(task)
                    continue
                return task[0], _opened(answer)
            if not done and until is not None and time.monotonic() >= until:
                return None
        raise LookupError("There is no task to wait for.")

    def close(self) -> None:
        for reference in self._busy:
            with contextlib.suppress(Exception):  # it may have ended, or the cluster may be gone
                self._ray.cancel(reference, force=True)
        self._busy = {}
        if self._connected:
            self._ray.shutdown()

    def _again(self, task: tuple[Hashable, Callable[..., Any], tuple[Any, ...]]) -> None:
        token, function, args = task
        self.restarts[token] = self.restarts.get(token, 0) + 1
        if self.restarts[token] > RETRIES:
            raise WorkerLost(token, self.restarts[token])
        self.submit(token, function, *args)

    def _fitting(self) -> int:
        """Tasks that fit the machines that are there, whatever runs on them."""
        count = 0
        for node in self._ray.nodes():
            if node["Alive"]:
                fits = int(node["Resources"].get("CPU", 0) // self._threads)
                count += min(fits, int(node["Resources"].get("GPU", 0))) if self._gpus else fits
        return count


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning about GPUs
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(
            "Ray is not installed. Install it with `pip install 'lungvae[cluster]'`, or leave out --ray to "
            "use this machine's processes."
        ) from error
    return ray


def _connect(ray: Any, address: str) -> bool:
    """Join the cluster at `address` unless this process has done so; whether it was joined here."""
    import logging

    if ray.is_initialized():
        return False
    try:
        _knock(os.environ.get("RAY_ADDRESS", "") if address == "auto" else address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        where = "here" if address == "auto" else f"at {address}"
        raise UserError(
            f"No Ray cluster answers {where}. Start one with `ray start --head` and add machines with "
            "`ray start --address=HOST:PORT`; or leave out --ray to use this machine's processes."
        ) from error
    return True


def _knock(address: str) -> None:
    """OSError or ValueError for an address where nothing listens: Ray itself would try for minutes."""
    if not address or "://" in address:
        return
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10):
        pass
