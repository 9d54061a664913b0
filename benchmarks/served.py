"""An app of this checkout for as long as a benchmark looks at it, and a Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]


@contextmanager
def app(*options: str, **folders: Path | str) -> Iterator[tuple[str, subprocess.Popen]]:
    """(address, process) of a running app with these options; `folders` are its LUNGVAE_* settings."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "lungvae_core.cli", "app", "--port", str(port), *options]
    environment = os.environ | {f"LUNGVAE_{name.upper()}": str(value) for name, value in folders.items()}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/api/health", server)
        yield url, server
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _wait(url: str, server: subprocess.Popen) -> None:
    for _ in range(300):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The app did not start.")


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium (playwright.sync_api.Browser): LUNGVAE_CHROMIUM's, or the one on the PATH."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        binary = os.environ.get("LUNGVAE_CHROMIUM") or shutil.which("chromium")
        yield playwright.chromium.launch(executable_path=binary, args=ARGUMENTS)
