"""Bugs: the message for users, and the log with the traceback."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from lungvae_core.files import temporary_place

# A file that gets a copy of every trace; the tests' own, which must stay empty.
COUNTER = "LUNGVAE_FAULTS"


def record() -> str:
    """Log the traceback of the current exception; returns a sentence with its number and the log's path."""
    number, trace = secrets.token_hex(4), traceback.format_exc()
    if counter := os.environ.get(COUNTER):
        with (
            contextlib.suppress(OSError),
            Path(counter).open("a", encoding="utf-8", errors="backslashreplace") as stream,
        ):
            stream.write(f"{' '.join(sys.argv)}\n{trace}\n")
    return f"This is a fault of the program, number {number}. {_logged(number, trace)}"


def _logged(number: str, trace: str) -> str:
    for folder in _folders():
        with contextlib.suppress(OSError):
            handle, name = tempfile.mkstemp(prefix=f"error-{number}-", suffix=".log", dir=folder)
            with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(f"{' '.join(sys.argv)}\n\n{trace}")
            return f"What happened is in {name}; please send it to the maintainers."
    last = trace.rstrip().splitlines()[-1][:300]
    return f"What happened could be written nowhere; its last line is: {last}"


def _folders() -> Iterator[Path]:
    """The workspace's logs, where there is a workspace, then the system's temporary folder."""
    workspace = Path(os.environ.get("LUNGVAE_WORKSPACE") or "workspace")
    if workspace.is_dir():
        logs = workspace / "logs"
        with contextlib.suppress(OSError):
            logs.mkdir(exist_ok=True)
        yield logs.resolve()
    if (temporary := temporary_place()) is not None:
        yield temporary
