"""Few scripts at a time: what is live under a hand must not wait for pages that are being made.

Scripts hold Python's lock, and so do the live view's answers; with twenty scripts at once an answer gets a
twentieth of a core. In turns every page is made as soon, all in all, and the sliders stay live
(`benchmarks/load.py`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

AT_ONCE = 1
NICER = 5  # than other threads a script's is
PATIENCE_SECONDS = 4.0  # then a script no longer waits: another may be reading a large upload

_own = threading.local()
_turn = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def turn() -> Iterator[None]:
    """Wait until few enough scripts run, for `PATIENCE_SECONDS` at most."""
    _step_back()
    mine = _turn.acquire(timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        if mine:
            _turn.release()


def _step_back() -> None:
    """Let the system prefer other threads to this script's, where threads have priorities of their own."""
    if sys.platform == "linux" and not getattr(_own, "stepped_back", False):
        _own.stepped_back = True
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICER)
