"""An app of this checkout and a Chromium for as long as a benchmark runs; the app's sockets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.running import folder_variables, free_port, launched_chromium, running

ROOT = Path(__file__).resolve().parents[1]
SETTLED = "[data-testid='stApp'][data-test-script-state='notRunning']"  # a page whose script has ended


@contextlib.contextmanager
def app(*options: str, **folders: Path | str) -> Iterator[tuple[str, subprocess.Popen]]:
    """(address, process) of a running app with these options; `folders` are its LUNGVAE_* settings."""
    port = free_port()
    command = [sys.executable, "-m", "lungvae_core.cli", "app", "--port", str(port), *options]
    url, environment = f"http://127.0.0.1:{port}", os.environ | folder_variables(folders)
    with running(command, url, environment, cwd=ROOT, log=None) as process:
        yield url, process


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium (playwright.sync_api.Browser)."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield launched_chromium(playwright)


def page_request(name: str, query: str) -> bytes:
    """The message with which a browser opens a page."""
    from streamlit.proto.BackMsg_pb2 import BackMsg

    request = BackMsg()
    request.rerun_script.query_string = query
    request.rerun_script.page_name = name
    return request.SerializeToString()


def connection(url: str, path: str, *protocols: str) -> Any:
    """A WebSocket of the app, as a browser opens it."""
    from websockets.asyncio.client import connect
    from websockets.typing import Origin, Subprotocol

    names = [Subprotocol(name) for name in protocols] or None
    address = f"{url.replace('http', 'ws', 1)}/{path}"
    return connect(address, subprotocols=names, max_size=None, origin=Origin(url))


def spread(milliseconds: Sequence[float] | np.ndarray) -> str:
    """The median, 95th percentile and largest of some times."""
    median, high, largest = np.percentile(milliseconds, [50, 95, 100])
    return f"median {median:.1f} ms, 95th percentile {high:.1f} ms, largest {largest:.1f} ms"
