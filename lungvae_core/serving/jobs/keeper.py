"""A job's keeper: a small process in its own session, which outlives tab and server.

It waits for the job's turn, starts the command with its output in a log, and records how it ended.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from sqlalchemy import or_, select

from lungvae_core.serving.jobs.kinds import Map
from lungvae_core.serving.jobs.queue import Jobs
from lungvae_core.serving.jobs.table import DONE, FAILED, QUEUED, RUNNING, STOPPED, STOPPING, JobRow, change
from lungvae_core.serving.workspace.database import session

NICE = 10  # people who look at pages go first; while nobody does, jobs get all processors
POLL_SECONDS = 0.5  # how often a queued job checks whether its turn has come
_INTERRUPTED = 130  # the exit code of a command that stopped on request


def keep(jobs: Jobs, job_id: int, lock: int) -> None:
    """Wait for the job's turn, run its command, and record how it ended."""
    while not _claim(jobs, job_id):
        if jobs.get(job_id).status != QUEUED:
            return
        time.sleep(POLL_SECONDS)
    # A shutdown sends SIGTERM to every process: the command then ends and the keeper records it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    job = jobs.get(job_id)
    command = [sys.executable, "-m", "lungvae_core.cli", *job.argv]
    # Many people make maps, so each map uses one core.
    one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"} if job.kind == Map.kind else {}
    try:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(lock,), env=os.environ | one)
    except OSError as error:
        jobs.end(job_id, FAILED, f"The job could not be started: {error.strerror}.")
        return
    with session(jobs.settings) as db:
        change(db, JobRow.id == job_id, pid=running.pid)
        stop_already = db.get_one(JobRow, job_id).status == STOPPING
    if stop_already:
        running.terminate()
    code = running.wait()
    stopping = jobs.get(job_id).status == STOPPING
    if code == 0:
        jobs.end(job_id, DONE)
    elif stopping or code == _INTERRUPTED:
        jobs.end(job_id, STOPPED)
    else:
        jobs.end(job_id, FAILED, _why(jobs.output(job), code))


def _claim(jobs: Jobs, job_id: int) -> bool:
    """Turn the job from queued to running if it is first in its lane and nothing runs there."""
    job = jobs.get(job_id)
    jobs.all()  # a dead job must not block the lane
    earlier = or_(JobRow.queued < job.queued, (JobRow.queued == job.queued) & (JobRow.id < job.id))
    ahead = select(JobRow.id).where(
        JobRow.lane == job.lane,
        JobRow.status.in_((RUNNING, STOPPING)) | ((JobRow.status == QUEUED) & earlier),
        JobRow.id != job_id,
    )
    with session(jobs.settings) as db:
        first = (JobRow.id == job_id, JobRow.status == QUEUED, ~ahead.exists())
        return change(db, *first, status=RUNNING, started=time.time(), keeper=os.getpid())


def _why(output: str, code: int) -> str:
    """A sentence on why the command failed: its last error, or the signal that ended it."""
    if code < 0:
        reason = "it may have run out of memory. " if -code == signal.SIGKILL else ""
        return (
            f"The process was ended by {signal.Signals(-code).name}; {reason}"
            "Resume goes on from the last checkpoint."
        )
    for line in reversed(output.splitlines()):
        if line.startswith("Error: "):
            return line.removeprefix("Error: ")
    return f"The command ended with the exit code {code}. Its output says more."


if __name__ == "__main__":
    os.nice(NICE)
    keep(Jobs(), int(sys.argv[1]), int(sys.argv[2]))
