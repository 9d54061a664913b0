"""The command line's outermost layer: every error ends in a sentence, never in a traceback.

Exit codes: 2 for errors that the user can fix; 1 if the reader of the output closed it; 130 after Ctrl-C; 70
for a fault of the program, whose traceback goes to a log that the sentence names. SIGTERM and SIGHUP end the
process by that signal, after half-written files are removed.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from lungvae_core import faults
from lungvae_core.errors import UserError
from lungvae_core.files import NO_TEMPORARY_PLACE, temporary_place

BAD_INPUT, FAULT, CLOSED_PIPE = 2, 70, 1
# Errors of the disk, of permissions or of the machine's limits; anything else is a fault of the program.
_ENVIRONMENT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
}


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command of the command line and end the process with its exit code."""
    ended_by: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        ended_by.append(number)
        raise SystemExit(128 + number)  # so that half-written files are removed on exit

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)
    for stream in (sys.stdout, sys.stderr):  # print file names even if they are not valid text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _guarded(command)
    if ended_by:
        signal.signal(ended_by[0], signal.SIG_DFL)
        os.kill(os.getpid(), ended_by[0])  # the waiting process sees which signal ended it
    sys.exit(code)


def _guarded(command: Callable[[], object]) -> int:
    try:
        try:
            command()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return CLOSED_PIPE
    except UserError as error:
        return _say(str(error))
    except MemoryError:
        return _say("The memory is full. Close other programs, or give the command less at once.")
    except OSError as error:
        # Python itself or a library needs a temporary folder.
        if error.errno == errno.ENOENT and temporary_place() is None:
            return _say(NO_TEMPORARY_PLACE)
        if error.errno not in _ENVIRONMENT:
            return _fault()
        _drop_output()
        where = error.filename if isinstance(error.filename, str | bytes) else "The output"
        return _say(f"{os.fsdecode(where)[:300]} cannot be used: {error.strerror}.")
    except Exception:
        return _fault()


def _say(sentence: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        text = sentence.encode("utf-8", "backslashreplace").decode()  # a path may not be valid text
        print(f"Error: {text}", file=sys.stderr, flush=True)
    return BAD_INPUT


def _drop_output() -> None:
    """Redirect Python's final flush to nowhere: it would fail again, with a traceback."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fault() -> int:
    _say(faults.record())
    return FAULT
