"""Work that outlives the browser's tab and the web server: trainings, evaluations, maps, data and more.

A job is a row in the workspace's database and a `lungvae` command, which runs under a keeper (`keeper`).

Whether a job is alive is asked of the operating system: from its first moment the job holds a lock on a
file, handed on from the starter to the keeper to the command, and a lock cannot outlive the processes that
hold it. So neither a kill -9, nor a restart of the machine, nor another process with a pid used before is
ever mistaken for a running job.
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
Asked = ParamSpec("Asked")


class Jobs:
    """The workspace's jobs: start, find again, stop, resume. Cheap to make; holds nothing open."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._folder = self.settings.workspace.resolve() / "jobs"
        self._locks = Locks(self._folder)

    def all(self) -> list[Job]:
        """All jobs that can be used, the newest first, after finding those whose process has died."""
        return [self._checked(job) for job in self._read()[0]]

    def refused(self) -> list[str]:
        """Why jobs of the database cannot be used, in a sentence each."""
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
        """The job of that number, or UserError."""
        if not 0 <= job_id < 2**63:  # what a database counts to
            raise UserError("There is no job of that number. List them with `lungvae jobs list`.")
        with session(self.settings) as db:
            row = db.get(JobRow, job_id)
        if row is None:
            raise UserError(f"There is no job {job_id}. List them with `lungvae jobs list`.")
        return self._checked(as_job(self.settings, row))

    def start(
        self,
        make: Callable[Concatenate[Settings, Asked], Request],
        name: str,
        *arguments: Asked.args,
        **options: Asked.kwargs,
    ) -> Job:
        """Queue what `make` (`Training.of`, `Search.of` ...) makes of the arguments, under a name.

        It starts at once unless another job has its lane. UserError, with nothing written, for what `make`
        refuses, a bad name, one that is there, and one that an active job has.
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
        """The newest job of that kind and name; None if there was none."""
        with session(self.settings) as db:
            query = select(JobRow).where(JobRow.kind == kind, JobRow.name == name)
            row = db.scalars(query.order_by(JobRow.id.desc()).limit(1)).first()
        return None if row is None else self._checked(as_job(self.settings, row))

    def stop(self, job_id: int) -> Job:
        """Ask a job to stop: a queued one is taken back; a training ends after its batch, with a checkpoint.

        Asking again, or stopping a job that has ended, changes nothing.
        """
        self.get(job_id)  # a dead one is found first
        with session(self.settings) as db:
            is_job = JobRow.id == job_id
            back = change(db, is_job, JobRow.status == QUEUED, status=STOPPED, ended=time.time(), holds=None)
            asked = change(db, is_job, JobRow.status == RUNNING, status=STOPPING)
            job = as_job(self.settings, db.get_one(JobRow, job_id))
            if back or asked:
                db.add(audit.line(audit.JOB_STOP, _named(job)))
        # Exactly one signal is sent, by whoever turned running into stopping (here) or, when the command
        # has no pid yet, by the keeper: a second would make `lungvae train` drop the batch in hand.
        if asked and job.pid is not None:
            self._terminate(job)
        return job

    def resume(self, job_id: int, *, on_nonfinite: Literal["stop", "halve"] | None = None) -> Job:
        """Queue a stopped or failed training, search or evaluation again; it goes on from where it was.

        `on_nonfinite` takes the place of that setting, the only one that a resumed training may change.
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
        """The last lines of what the job has printed."""
        try:
            with open_file(Path(job.log), follow=False) as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - 400 * lines))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def suggest(self, stem: str, *, among: Path | None = None) -> str:
        """A name that is free: stem-1, stem-2, ...; of a run, or of what lies in the folder `among`."""
        folders = [self.settings.runs, self.settings.models] if among is None else [among]
        with session(self.settings) as db:
            held = {Path(str(folder)).name for folder in db.scalars(select(JobRow.holds)) if folder}
        number = 1
        while f"{stem}-{number}" in held or any((base / f"{stem}-{number}").exists() for base in folders):
            number += 1
        return f"{stem}-{number}"

    def _check_new(self, request: Request, name: str) -> None:
        """UserError for a bad name, and where there is something of that name."""
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
        # The keeper must find the same folders and database wherever its own defaults would be.
        environment = os.environ | {
            "LUNGVAE_MODELS": str(self.settings.models.resolve()),
            "LUNGVAE_RUNS": str(self.settings.runs.resolve()),
            "LUNGVAE_DATA": str(self.settings.data.resolve()),
            "LUNGVAE_WORKSPACE": str(self.settings.workspace.resolve()),
            "LUNGVAE_DATABASE": database_url(self.settings),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "160",  # rich would fold the lines of a log at 80
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
        # Somebody has to reap it when it ends, or it stays as a zombie until the server ends.
        threading.Thread(target=keeper.wait, daemon=True).start()

    def _checked(self, job: Job) -> Job:
        """The job as it is; one that counts as active but has no process left is marked as ended."""
        if not job.active or self._locks.alive(job.id):
            return job
        if job.status == STOPPING:
            status, message = STOPPED, ""
        elif job.status == QUEUED:
            status, message = (
                FAILED,
                "Its process ended while it waited for its turn. Resume queues it again.",
            )
        else:
            status, message = (
                FAILED,
                (
                    "Its process ended without a word: it was killed, ran out of memory, or the machine was "
                    "restarted. Resume goes on from the last checkpoint."
                ),
            )
        # Only if nobody was faster: a keeper that has just written the true ending, or a resume.
        with session(self.settings) as db:
            change(db, *_as_read(job), status=status, message=message, **_ended())
            return as_job(self.settings, db.get_one(JobRow, job.id))

    def _terminate(self, job: Job) -> None:
        """SIGTERM to a job's command; to no other process, whatever numbers the database has."""
        if job.pid is None or job.keeper is None or not self._locks.alive(job.id):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The command is in its keeper's session, where no stranger can be, and holds the job's lock.
            if os.getsid(job.pid) == job.keeper and self._locks.has(job.pid, job.id):
                os.kill(job.pid, signal.SIGTERM)

    def end(self, job_id: int, status: str, message: str = "") -> None:
        """Write down how a job ended."""
        with session(self.settings) as db:
            change(db, JobRow.id == job_id, status=status, message=message, **_ended())


def _named(job: Job | JobRow) -> str:
    """A job as the audit log names it."""
    return f"{job.kind} {job.name}, job {job.id}"


def _as_read(job: Job) -> tuple[ColumnElement[bool], ...]:
    """That nobody has changed the job since it was read."""
    return JobRow.id == job.id, JobRow.status == job.status, JobRow.attempt == job.attempt


def _ended() -> dict[str, Any]:
    return {"ended": time.time(), "holds": None, "pid": None, "keeper": None}


def _taken(name: str) -> UserError:
    return UserError(f"A job named {name!r} is waiting or running already. Choose another name, or stop it.")
