"""Limit the scripts that run at once: live views must not wait for pages that are being drawn.

Scripts and the live view's answers share Python's lock; with twenty scripts at once, an answer gets a
twentieth of a core. When scripts take turns, pages are ready just as soon overall, and sliders stay
responsive (`benchmarks/load.py`).
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

AT_ONCE = 1
NICER = 5  # how much a script's thread raises its niceness
PATIENCE_SECONDS = 4.0  # then a script stops waiting: another may be reading a large upload

_own = threading.local()
_turn = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def turn() -> Iterator[None]:
    """Wait until few enough scripts are running, for `PATIENCE_SECONDS` at most."""
    _step_back()
    mine = _turn.acquire(timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        if mine:
            _turn.release()


def _step_back() -> None:
    """Lower the priority of this script's thread, on systems where each thread has its own priority."""
    if sys.platform == "linux" and not getattr(_own, "stepped_back", False):
        _own.stepped_back = True
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICER)
