"""`lungvae app` in a process of its own, for tests of the whole server."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment_of(base: Mapping[str, str], folders: Mapping[str, Path]) -> dict[str, str]:
    """Environment variables of an app with these folders."""
    own = {f"LUNGVAE_{name.upper()}": str(path) for name, path in folders.items()}
    return {**base, **own, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@contextmanager
def running(
    command: Sequence[str | Path], url: str, environment: Mapping[str, str], *, cwd: Path, log: Path
) -> Iterator[subprocess.Popen]:
    """The process of a command that serves an app at `url`, once it answers; its output goes to `log`."""
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 90
        while not _answers(url):
            started = process.poll() is None and time.monotonic() < until
            assert started, f"The app did not start:\n{log.read_text()[-4000:]}"
            time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=2):
            return True
    except OSError:
        return False
