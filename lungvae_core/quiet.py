"""Silences library warnings that users cannot act on, once for the whole process.

`warnings.catch_warnings` restores the filters of all threads when one of them leaves it: with simultaneous
uploads, threads change each other's filters. A filter that is added once and stays avoids this.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings

_lock = threading.Lock()


def silence(*, module: str = "", message: str = "") -> None:
    """Ignore warnings that come from a module (a package's, with all below it), or begin with `message`."""
    pattern = rf"{re.escape(module)}(\.|$)" if module else ""
    begins = re.escape(message)
    entry = (
        "ignore",
        re.compile(begins, re.IGNORECASE) if message else None,
        Warning,
        re.compile(pattern) if module else None,
        0,
    )
    with _lock:
        if entry not in warnings.filters:  # whoever resets the filters, as pytest does, gets it again
            warnings.filterwarnings("ignore", message=begins, module=pattern)
    if module:
        logging.getLogger(module).setLevel(logging.ERROR)
