"""The lock on a file that a job holds from its first moment to its last, by which it is known to be alive."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lungvae_core.errors import UserError


@dataclass(frozen=True)
class Locks:
    """The locks of all jobs, as files of a folder."""

    folder: Path

    @contextlib.contextmanager
    def hold(self, job_id: int) -> Iterator[IO[str]]:
        """The job's lock, open and held; closing it does not free it while another process has it too."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stream = (self.folder / f"{job_id}.lock").open("a+")
        except OSError as error:
            raise UserError(
                f"Cannot write in {self.folder}: {error.strerror}. Choose another LUNGVAE_WORKSPACE."
            ) from error
        with stream:
            # Somebody who asks whether the job is alive holds it for an instant: try for a while.
            until = time.monotonic() + 5
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if time.monotonic() > until:
                        raise UserError(
                            f"Job {job_id} still has a process. Wait until it has ended, then try again."
                        ) from error
                time.sleep(0.02)
            yield stream

    def alive(self, job_id: int) -> bool:
        """Whether any process of the job is left."""
        try:
            with (self.folder / f"{job_id}.lock").open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def has(self, pid: int, job_id: int) -> bool:
        """Whether a process has the job's lock file open; as good as true where the system does not tell."""
        handles = Path(f"/proc/{pid}/fd")
        if not handles.is_dir():
            return True
        lock = (self.folder / f"{job_id}.lock").stat()
        for handle in handles.iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(handle.stat(), lock):
                    return True
        return False
