"""File locks that show which jobs are alive: a job holds its lock from start to end."""

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
    """The locks of all jobs, as files in a folder."""

    folder: Path

    @contextlib.contextmanager
    def hold(self, job_id: int) -> Iterator[IO[str]]:
        """The job's lock, open and held; closing it does not free it while another process has it open."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stream = (self.folder / f"{job_id}.lock").open("a+")
        except OSError as error:
            raise UserError(
                f"Cannot write in {self.folder}: {error.strerror}. Choose another LUNGVAE_WORKSPACE."
            ) from error
        with stream:
            # `alive` holds the lock for an instant when it checks, so retry for a while.
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
        """Whether any process of the job is still running."""
        try:
            with (self.folder / f"{job_id}.lock").open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def has(self, pid: int, job_id: int) -> bool:
        """Whether a process has the job's lock file open; true if the system cannot tell."""
        handles = Path(f"/proc/{pid}/fd")
        if not handles.is_dir():
            return True
        lock = (self.folder / f"{job_id}.lock").stat()
        for handle in handles.iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(handle.stat(), lock):
                    return True
        return False
