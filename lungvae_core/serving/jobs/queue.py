"""Jobs that outlive the browser's tab and the web server: trainings, evaluations, maps, data and more.

A job is a row in the workspace's database and a `lungvae` command that runs under a keeper (`keeper`).

The operating system tells whether a job is alive. From its start the job holds a lock on a file, passed from
the starter to the keeper to the command, and a lock cannot outlive the processes that hold it. So a job ended
by kill -9 or by a restart is never mistaken for a running one, nor is another process with a reused pid.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Concatenate, Literal, ParamSpec

from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError

from lungvae_core.errors import UserError
from lungvae_core.files import open_file
from lungvae_core.serving.jobs.kinds import Phantom, Request, Training
from lungvae_core.serving.jobs.locks import Locks
from lungvae_core.serving.jobs.table import (
    FAILED,
    QUEUED,
    RUNNING,
    STOPPED,
    STOPPING,
    Job,
    JobRow,
    as_job,
    change,
    place,
)
from lungvae_core.serving.workspace import audit, places
from lungvae_core.serving.workspace.database import database_url, session
from lungvae_core.serving.workspace.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
Arguments = ParamSpec("Arguments")


class Jobs:
    """The workspace's jobs: start, find, stop, resume. Cheap to create; keeps nothing open."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._folder = self.settings.workspace.resolve() / "jobs"
        self._locks = Locks(self._folder)

    def all(self) -> list[Job]:
        """All usable jobs, newest first, after marking those whose process has died."""
        return [self._checked(job) for job in self._read()[0]]

    def refused(self) -> list[str]:
        """Why some jobs in the database cannot be used, one sentence each."""
        return self._read()[1]

    def _read(self) -> tuple[list[Job], list[str]]:
        with session(self.settings) as db:
            rows = list(db.scalars(select(JobRow).order_by(JobRow.queued.desc(), JobRow.id.desc())))
        jobs, refused = [], []
        for row in rows:
            try:
                jobs.append(as_job(self.settings, row))
            except UserError as error:
                refused.append(str(error))
        return jobs, refused

    def get(self, job_id: int) -> Job:
        """The job with that id, or UserError."""
        if not 0 <= job_id < 2**63:  # the database's range of integers
            raise UserError("There is no job of that number. List them with `lungvae jobs list`.")
        with session(self.settings) as db:
            row = db.get(JobRow, job_id)
        if row is None:
            raise UserError(f"There is no job {job_id}. List them with `lungvae jobs list`.")
        return self._checked(as_job(self.settings, row))

    def start(
        self,
        make: Callable[Concatenate[Settings, Arguments], Request],
        name: str,
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Job:
        """Queue the request that `make` (`Training.of`, `Search.of` ...) builds from the arguments.

        The job starts at once unless another job has its lane. Raises UserError and writes nothing if `make`
        refuses the arguments, or if the name is invalid, taken, or used by an active job.
        """
        request = make(self.settings, *arguments, **options)
        self._check_new(request, name)
        now, folder = time.time(), place(self.settings, request.kind, name)
        stored = places.stored(self.settings, folder)
        row = JobRow(
            kind=request.kind,
            name=name,
            folder=stored,
            holds=stored,
            lane=request.lane,
            request=request.model_dump(),
            status=QUEUED,
            who=audit.actor(),
            created=now,
            queued=now,
        )
        with contextlib.ExitStack() as locks:
            try:
                with session(self.settings) as db:
                    db.add(row)
                    db.flush()  # from here on no other job can hold the folder
                    db.add(audit.line(audit.JOB_START, _named(row)))
                    self._refuse_existing(folder, request.makes)
                    lock = locks.enter_context(self._locks.hold(row.id))
                    (self._folder / f"{row.id}.log").unlink(missing_ok=True)
            except IntegrityError as error:
                raise _taken(name) from error
            self._launch(row.id, lock)
        return self.get(row.id)

    def newest(self, kind: str, name: str) -> Job | None:
        """The newest job of that kind and name, or None."""
        with session(self.settings) as db:
            query = select(JobRow).where(JobRow.kind == kind, JobRow.name == name)
            row = db.scalars(query.order_by(JobRow.id.desc()).limit(1)).first()
        return None if row is None else self._checked(as_job(self.settings, row))

    def stop(self, job_id: int) -> Job:
        """Stop a job: a queued one is withdrawn; a training ends after its batch, with a checkpoint.

        Stopping a job again, or after it has ended, changes nothing.
        """
        self.get(job_id)  # marks it as ended if it is dead
        with session(self.settings) as db:
            is_job = JobRow.id == job_id
            back = change(db, is_job, JobRow.status == QUEUED, status=STOPPED, ended=time.time(), holds=None)
            stopping = change(db, is_job, JobRow.status == RUNNING, status=STOPPING)
            job = as_job(self.settings, db.get_one(JobRow, job_id))
            if back or stopping:
                db.add(audit.line(audit.JOB_STOP, _named(job)))
        # Exactly one signal is sent: by the call that changed running to stopping (here) or, if the command
        # has no pid yet, by the keeper. A second one would make `lungvae train` drop the current batch.
        if stopping and job.pid is not None:
            self._terminate(job)
        return job

    def resume(self, job_id: int, *, on_nonfinite: Literal["stop", "halve"] | None = None) -> Job:
        """Queue a stopped or failed training, search or evaluation again; it continues where it stopped.

        `on_nonfinite` replaces that setting, the only one that a resumed training may change.
        """
        job = self.get(job_id)
        if job.kind == Phantom.kind:
            raise UserError("Phantom data cannot go on where its making stopped. Start this job anew.")
        if job.status not in (STOPPED, FAILED):
            raise UserError(f"{job.name} is {job.status}: there is nothing to resume.")
        request = job.request | ({"on_nonfinite": on_nonfinite} if on_nonfinite is not None else {})
        with self._locks.hold(job_id) as lock:
            try:
                with session(self.settings) as db:
                    again = change(
                        db,
                        *_as_read(job),
                        status=QUEUED,
                        attempt=job.attempt + 1,
                        request=request,
                        holds=places.stored(self.settings, job.folder),
                        queued=time.time(),
                        pid=None,
                        keeper=None,
                        message="",
                        started=None,
                        ended=None,
                    )
                    if again:
                        db.add(audit.line(audit.JOB_RESUME, _named(job)))
            except IntegrityError as error:
                raise _taken(job.name) from error
            if again:
                self._launch(job_id, lock)
        return self.get(job_id)

    def output(self, job: Job, lines: int = 20) -> str:
        """The last lines of the job's output."""
        try:
            with open_file(Path(job.log), follow=False) as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - 400 * lines))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def suggest(self, stem: str, *, among: Path | None = None) -> str:
        """A free name, stem-1, stem-2, ...: for a run, or for an entry of the folder `among`."""
        folders = [self.settings.runs, self.settings.models] if among is None else [among]
        with session(self.settings) as db:
            held = {Path(str(folder)).name for folder in db.scalars(select(JobRow.holds)) if folder}
        number = 1
        while f"{stem}-{number}" in held or any((base / f"{stem}-{number}").exists() for base in folders):
            number += 1
        return f"{stem}-{number}"

    def _check_new(self, request: Request, name: str) -> None:
        """Raise UserError if the name is invalid or already taken."""
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a {request.makes}. Use up to 64 letters, digits, '-' and "
                "'_', beginning with a letter or a digit."
            )
        self._refuse_existing(place(self.settings, request.kind, name), request.makes)
        if request.kind == Training.kind and (self.settings.models / name).exists():
            raise UserError(f"A model that ships with the project is named {name!r}. Choose another name.")

    @staticmethod
    def _refuse_existing(folder: Path, what: str) -> None:
        if folder.exists() or folder.is_symlink():
            raise UserError(
                f"There is already a {what} {folder.name!r} in {folder.parent}. Choose another name."
            )

    def _launch(self, job_id: int, lock: IO[str]) -> None:
        """Start the job's keeper, which takes over `lock`."""
        # The keeper must use the same folders and database, whatever its defaults are.
        folders = places.roots(self.settings).items()
        environment = {
            **os.environ,
            **{f"LUNGVAE_{kind.upper()}": str(folder) for kind, folder in folders},
            "LUNGVAE_DATABASE": database_url(self.settings),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "160",  # rich would wrap the lines of a log at 80
        }
        command = [sys.executable, "-m", "lungvae_core.serving.jobs.keeper", str(job_id), str(lock.fileno())]
        try:
            with (self._folder / f"{job_id}.log").open("ab") as log:
                keeper = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=(lock.fileno(),),
                    start_new_session=True,  # Ctrl-C in the server's terminal is not meant for it
                )
        except OSError as error:
            self.end(job_id, FAILED, f"The job could not be started: {error.strerror}.")
            return
        # The process must be reaped when it ends, or it stays a zombie until the server ends.
        threading.Thread(target=keeper.wait, daemon=True).start()

    def _checked(self, job: Job) -> Job:
        """The job's current state; an active job without a process is marked as ended."""
        if not job.active or self._locks.alive(job.id):
            return job
        status = STOPPED if job.status == STOPPING else FAILED
        message = {
            STOPPING: "",
            QUEUED: "Its process ended while it waited for its turn. Resume queues it again.",
            RUNNING: "Its process ended without a word: it was killed, ran out of memory, or the machine was "
            "restarted. Resume goes on from the last checkpoint.",
        }[job.status]
        # Unless the row has changed: a keeper may just have recorded the real end, or a resume.
        with session(self.settings) as db:
            change(db, *_as_read(job), status=status, message=message, **_ended())
            return as_job(self.settings, db.get_one(JobRow, job.id))

    def _terminate(self, job: Job) -> None:
        """Send SIGTERM to a job's command, and to no other process, whatever pids the database has."""
        if job.pid is None or job.keeper is None or not self._locks.alive(job.id):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The command is in its keeper's session, which no other program can join, and holds the lock.
            if os.getsid(job.pid) == job.keeper and self._locks.has(job.pid, job.id):
                os.kill(job.pid, signal.SIGTERM)

    def end(self, job_id: int, status: str, message: str = "") -> None:
        """Record how a job ended."""
        with session(self.settings) as db:
            change(db, JobRow.id == job_id, status=status, message=message, **_ended())


def _named(job: Job | JobRow) -> str:
    """The job's name in the audit log."""
    return f"{job.kind} {job.name}, job {job.id}"


def _as_read(job: Job) -> tuple[ColumnElement[bool], ...]:
    """Conditions that hold if the job has not changed since it was read."""
    return JobRow.id == job.id, JobRow.status == job.status, JobRow.attempt == job.attempt


def _ended() -> dict[str, Any]:
    return {"ended": time.time(), "holds": None, "pid": None, "keeper": None}


def _taken(name: str) -> UserError:
    return UserError(f"A job named {name!r} is waiting or running already. Choose another name, or stop it.")
