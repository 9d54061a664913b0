"""`lungvae app` and Chromium, each in a process of its own, for tests and benchmarks of the whole server."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder_variables(folders: Mapping[str, Path | str]) -> dict[str, str]:
    """The environment variables that set an app's folders, by name, such as "models"."""
    return {f"LUNGVAE_{name.upper()}": str(path) for name, path in folders.items()}


def environment_of(base: Mapping[str, str], folders: Mapping[str, Path]) -> dict[str, str]:
    """Environment variables of an app with these folders."""
    return {**base, **folder_variables(folders), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


@contextlib.contextmanager
def running(
    command: Sequence[str | Path], url: str, environment: Mapping[str, str], *, cwd: Path, log: Path | None
) -> Iterator[subprocess.Popen]:
    """The process of a command that serves an app at `url`, once it answers.

    Its output goes to `log`; without one, only its errors are printed.
    """
    with contextlib.nullcontext(subprocess.DEVNULL) if log is None else log.open("w") as output:
        errors = None if log is None else subprocess.STDOUT
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=errors)
    try:
        until = time.monotonic() + 90
        while not _answers(url):
            started = process.poll() is None and time.monotonic() < until
            assert started, f"The app did not start:\n{log.read_text()[-4000:] if log else ''}"
            time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/health", timeout=2):
            return True
    except OSError:
        return False


def launched_chromium(playwright: Any) -> Any:
    """A headless Chromium: the one that LUNGVAE_CHROMIUM names, else one on the PATH, else Playwright's."""
    binary = os.environ.get("LUNGVAE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return playwright.chromium.launch(executable_path=binary, args=CHROMIUM_ARGUMENTS)
