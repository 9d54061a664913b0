"""Few scripts at a time: what is live under a hand must not wait for pages that are being made.

Scripts hold Python's lock, and so do the live view's answers; with twenty scripts at once an answer gets a
twentieth of a core. In turns every page is made as soon, all in all, and the sliders stay live
(`benchmarks/load.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 1
PATIENCE_SECONDS = 4.0  # then a script no longer waits: another may be reading a large upload

_turn = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def turn() -> Iterator[None]:
    """Wait until few enough scripts run, for `PATIENCE_SECONDS` at most."""
    mine = _turn.acquire(timeout=PATIENCE_SECONDS)
    try:
        yield
    finally:
        if mine:
            _turn.release()
