"""Work that outlives the browser's tab and the web server: trainings, evaluations, maps, data and more.

A job is a row in the workspace's database and a `lungvae` command. The command runs under a keeper, a small
process of this module in a session of its own, which waits for the job's turn, starts the command with its
output in a log, and writes down how it ended.

Whether a job is alive is asked of the operating system: from its first moment the job holds a lock on a
file, handed on from the starter to the keeper to the command, and a lock cannot outlive the processes that
hold it. So neither a kill -9, nor a restart of the machine, nor another process with a pid used before is
ever mistaken for a running job.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, cast

from sqlalchemy import ColumnElement, CursorResult, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from lungvae_core.errors import UserError
from lungvae_core.files import open_file
from lungvae_core.serving.jobs.table import (
    DONE,
    EVALUATION,
    FAILED,
    MAP,
    PHANTOM,
    PREPARATION,
    QUEUED,
    REQUESTS,
    RUNNING,
    SEARCH,
    STOPPED,
    STOPPING,
    TRAINING,
    Job,
    JobRow,
    as_job,
    place,
)
from lungvae_core.serving.workspace import audit, places
from lungvae_core.serving.workspace.database import database_url, session
from lungvae_core.serving.workspace.settings import Settings

# What a job makes; else a run.
_WRITES = {PHANTOM: "data set", PREPARATION: "data set", EVALUATION: "evaluation", MAP: "map"}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NICE = 10  # jobs leave the processors to people who look at pages; where nobody does, they have all of them
POLL_SECONDS = 0.5  # how often a queued job looks whether its turn has come
_INTERRUPTED = 130  # the exit code of a command that was asked to stop


class Jobs:
    """The workspace's jobs: start, find again, stop, resume. Cheap to make; holds nothing open."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._folder = self.settings.workspace.resolve() / "jobs"

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

    def start_training(
        self,
        data: str | Path,
        preset: str,
        changes: dict[str, Any],
        name: str,
        *,
        device: str = "auto",
        threads: int = 0,
        title: str = "",
        finish: bool = True,
    ) -> Job:
        """Queue a training of `preset` with settings changed by name, on a data set, as the run `name`.

        It starts at once unless another training has the same device; with `finish` the slices are then
        encoded, classified and mapped, as the app needs them. UserError, with nothing written,
        for whatever `lungvae train` would refuse: a bad name, preset, setting, data set or device, a run
        that exists, joint rounds on data without labels of both classes, and a name that an active job has.
        """
        # torch comes with these two; a keeper, which imports this module as well, has no use for it.
        from lungvae_core.data.slices import SliceSet
        from lungvae_core.training.checkpoints import default_split
        from lungvae_core.training.device import pick_device
        from lungvae_core.training.guided import guides
        from lungvae_core.training.joint import labels_for
        from lungvae_core.vae.config import override
        from lungvae_core.vae.config import preset as preset_named

        self._check_new(TRAINING, name, what="run")
        if (self.settings.models / name).exists():
            raise UserError(f"A model that ships with the project is named {name!r}. Choose another name.")
        config = override(preset_named(preset), changes)
        device = str(pick_device(device))
        if threads < 0:
            raise UserError(f"{threads} threads cannot be used; choose 0 (all) or more.")
        stored = places.stored(self.settings, data)
        opened = SliceSet.open(data, verify=False)
        if opened.table["patient_id"].nunique() < 2:
            raise UserError(f"{data} has a single patient; some must be held out, so two are the least.")
        train = default_split(config, opened.table)[0]
        if config.joint.rounds:
            labels_for(config, opened.table, train)
        if config.objective.guided:
            guides(config, opened.slices, opened.masks, opened.table, train)
        request = {
            "data": stored,
            "preset": preset,
            "changes": changes,
            "device": device,
            "threads": threads,
            "title": title,
            "finish": finish,
        }
        return self._start(TRAINING, name, device, request)

    def start_phantom(self, name: str, count: int, *, seed: int = 0, workers: int = 1) -> Job:
        """Queue the making of `count` phantom slices with independent factors as the data set `name`."""
        self._check_new(PHANTOM, name, what="data set")
        if count < 1:
            raise UserError(f"{count} slices cannot be made; choose 1 or more.")
        request = {"count": count, "seed": seed, "workers": workers}
        return self._start(PHANTOM, name, "data", request)

    def start_search(
        self,
        data: str | Path,
        space: str,
        name: str,
        *,
        fixed: dict[str, Any] | None = None,
        device: str = "auto",
        workers: int = 1,
        threads: int = 1,
        **options: Any,
    ) -> Job:
        """Queue a search of `space` on a data set (or, for an MLP's space, on a run) in the folder `name`.

        `fixed` are settings by name; `options` are trials, method, halving, objective, folds,
        test_fraction and seed of `training.search.setup.SearchConfig`. UserError, with nothing written, for
        whatever `lungvae search` would refuse.
        """
        from lungvae_core.training.device import pick_device
        from lungvae_core.training.search.run import check_source
        from lungvae_core.training.search.setup import make
        from lungvae_core.training.search.spaces import space as space_named

        self._check_new(SEARCH, name, what="run")
        base = space_named(space)
        stored = places.stored(self.settings, data)
        config = make(base, data, fixed=fixed, **options)
        check_source(config)
        device = str(pick_device(device))
        if workers < 1 or threads < 1:
            raise UserError(
                f"{workers} workers of {threads} threads cannot be used; choose 1 or more of each."
            )
        request = {
            "source": f"--{'run' if base.of_codes else 'data'}={stored}",
            "space": space,
            "fixed": fixed or {},
            "options": options,
            "device": device,
            "threads": threads,
            "workers": workers,
        }
        return self._start(SEARCH, name, device, request)

    def start_evaluation(
        self,
        data: str | Path,
        preset: str,
        name: str,
        *,
        nested: str | Path | None = None,
        diagnoses: str | Path | None = None,
        device: str = "auto",
        workers: int = 1,
        **options: Any,
    ) -> Job:
        """Queue an evaluation of `preset` on a data set; its report will be `default_report(name)`.

        `options` are task, label_rule, protocol, seed, seeds and quick of `EvaluationConfig`; `nested` is the
        report that the leak table of the protocol `paper` begins with, `diagnoses` a table of confirmed
        diagnoses below the server's sources. UserError, with nothing written, for whatever
        `lungvae evaluate` would refuse: a bad name, preset, task, rule, protocol, data set or device, and
        data without both classes or with too few patients.
        """
        from lungvae_core.data.labels import labels
        from lungvae_core.data.slices import SliceSet
        from lungvae_core.evaluation.diagnosis import read_confirmed
        from lungvae_core.evaluation.protocols.config import evaluation_of
        from lungvae_core.evaluation.protocols.plan import configure, plan_folds
        from lungvae_core.serving.jobs.evaluations import read_report
        from lungvae_core.training.device import pick_device

        self._check_new(EVALUATION, name, what="evaluation")
        stored = places.stored(self.settings, data)
        asked = evaluation_of(preset=preset, **options)
        configure(asked, asked.seed)
        if workers < 1:
            raise UserError(f"{workers} trainings at once cannot be; choose 1 or more.")
        beside = None if nested is None else places.stored(self.settings, nested)
        if nested is not None:
            read_report(nested)
        if diagnoses is not None:
            diagnoses = places.source_file(self.settings, diagnoses)
        device = str(pick_device(device))
        table = SliceSet.open(data, verify=False).table
        truth = labels(table, asked.task, asked.label_rule)
        if not ((truth == 1).any() and (truth == 0).any()):
            raise UserError(
                f"{data} lacks lesions of both classes under the label rule {asked.label_rule}, so there is "
                "nothing to evaluate."
            )
        plan_folds(table, asked)
        if diagnoses is not None:
            read_confirmed(Path(diagnoses), table, asked.protocol)
        request = {
            **asked.model_dump(),  # of which the request keeps what it has a field for
            "data": stored,
            "nested": beside,
            "diagnoses": None if diagnoses is None else places.stored(self.settings, diagnoses),
            "device": device,
            "workers": workers,
        }
        return self._start(EVALUATION, name, device, request)

    def start_preparation(self, folder: str | Path, name: str, *, workers: int = 1) -> Job:
        """Queue the making of the data set `name` from a folder of LIDC-IDRI's DICOM on this machine."""
        self._check_new(PREPARATION, name, what="data set")
        if workers < 1:
            raise UserError(f"{workers} processes cannot be used; choose 1 or more.")
        request = {"folder": str(places.source(self.settings, folder)), "workers": workers}
        return self._start(PREPARATION, name, "data", request)

    def start_map(
        self, run: Path, key: str, unit: str, method: str, dims: int, parameters: dict[str, Any]
    ) -> Job:
        """Queue a map of a run's codes with parameters of one's own, under its key (see `custom_maps`).

        UserError for parameters that `method` does not have, and where the file is there or being made.
        """
        from lungvae_core.explore.maps import check_parameters

        parameters = check_parameters(method, parameters)
        request = {"unit": unit, "method": method, "dims": dims, "parameters": parameters}
        return self._start(MAP, key, "maps", request | {"run": places.stored(self.settings, run)})

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
            back = _change(db, is_job, JobRow.status == QUEUED, status=STOPPED, ended=time.time(), holds=None)
            asked = _change(db, is_job, JobRow.status == RUNNING, status=STOPPING)
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
        if job.kind == PHANTOM:
            raise UserError("Phantom data cannot go on where its making stopped. Start this job anew.")
        if job.status not in (STOPPED, FAILED):
            raise UserError(f"{job.name} is {job.status}: there is nothing to resume.")
        request = job.request | ({"on_nonfinite": on_nonfinite} if on_nonfinite is not None else {})
        with self._lock(job_id) as lock:
            try:
                with session(self.settings) as db:
                    again = _change(
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

    def _check_new(self, kind: str, name: str, *, what: str) -> None:
        """UserError for a bad name, and where there is something of that name."""
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a {what}. Use up to 64 letters, digits, '-' and '_', "
                "beginning with a letter or a digit."
            )
        self._refuse_existing(place(self.settings, kind, name), what)

    @staticmethod
    def _refuse_existing(folder: Path, what: str) -> None:
        if folder.exists() or folder.is_symlink():
            raise UserError(
                f"There is already a {what} {folder.name!r} in {folder.parent}. Choose another name."
            )

    def _start(self, kind: str, name: str, lane: str, request: dict[str, Any]) -> Job:
        now, folder = time.time(), place(self.settings, kind, name)
        stored = places.stored(self.settings, folder)
        row = JobRow(
            kind=kind,
            name=name,
            folder=stored,
            holds=stored,
            lane=lane,
            request=REQUESTS[kind].model_validate(request).model_dump(),
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
                    self._refuse_existing(folder, _WRITES.get(kind, "run"))
                    lock = locks.enter_context(self._lock(row.id))
                    (self._folder / f"{row.id}.log").unlink(missing_ok=True)
            except IntegrityError as error:
                raise _taken(name) from error
            self._launch(row.id, lock)
        return self.get(row.id)

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
        command = [sys.executable, "-m", "lungvae_core.serving.jobs.queue", str(job_id), str(lock.fileno())]
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
            self._end(job_id, FAILED, f"The job could not be started: {error.strerror}.")
            return
        # Somebody has to reap it when it ends, or it stays as a zombie until the server ends.
        threading.Thread(target=keeper.wait, daemon=True).start()

    @contextlib.contextmanager
    def _lock(self, job_id: int) -> Iterator[IO[str]]:
        """The job's lock, open and held; closing it does not free it while another process has it too."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stream = (self._folder / f"{job_id}.lock").open("a+")
        except OSError as error:
            raise UserError(
                f"Cannot write in {self._folder}: {error.strerror}. Choose another LUNGVAE_WORKSPACE."
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

    def _alive(self, job_id: int) -> bool:
        """Whether any process of the job is left."""
        try:
            with (self._folder / f"{job_id}.lock").open("r") as stream:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def _checked(self, job: Job) -> Job:
        """The job as it is; one that counts as active but has no process left is marked as ended."""
        if not job.active or self._alive(job.id):
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
            _change(db, *_as_read(job), status=status, message=message, **_ended())
            return as_job(self.settings, db.get_one(JobRow, job.id))

    def _terminate(self, job: Job) -> None:
        """SIGTERM to a job's command; to no other process, whatever numbers the database has."""
        if job.pid is None or job.keeper is None or not self._alive(job.id):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # The command is in its keeper's session, where no stranger can be, and holds the job's lock.
            if os.getsid(job.pid) == job.keeper and self._has_lock(job.pid, job.id):
                os.kill(job.pid, signal.SIGTERM)

    def _has_lock(self, pid: int, job_id: int) -> bool:
        """Whether a process has the job's lock file open; as good as true where the system does not tell."""
        handles = Path(f"/proc/{pid}/fd")
        if not handles.is_dir():
            return True
        lock = (self._folder / f"{job_id}.lock").stat()
        for handle in handles.iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(handle.stat(), lock):
                    return True
        return False

    # What follows runs in the keeper.

    def _keep(self, job_id: int, lock: int) -> None:
        """Wait for the job's turn, run its command, and write down how it ended."""
        while not self._claim(job_id):
            if self.get(job_id).status != QUEUED:
                return
            time.sleep(POLL_SECONDS)
        # A machine that shuts down tells every process: the command then ends and the keeper notes it.
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        job = self.get(job_id)
        command = [sys.executable, "-m", "lungvae_core.cli", *job.argv]
        # Maps are many people's, and each is to take one core.
        one = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"} if job.kind == MAP else {}
        try:
            running = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=(lock,), env=os.environ | one
            )
        except OSError as error:
            self._end(job_id, FAILED, f"The job could not be started: {error.strerror}.")
            return
        with session(self.settings) as db:
            _change(db, JobRow.id == job_id, pid=running.pid)
            stop_already = db.get_one(JobRow, job_id).status == STOPPING
        if stop_already:
            running.terminate()
        code = running.wait()
        stopping = self.get(job_id).status == STOPPING
        if code == 0:
            self._end(job_id, DONE)
        elif stopping or code == _INTERRUPTED:
            self._end(job_id, STOPPED)
        else:
            self._end(job_id, FAILED, self._why(job, code))

    def _claim(self, job_id: int) -> bool:
        """Turn the job from queued to running if it is first in its lane and nothing runs there."""
        job = self.get(job_id)
        self.all()  # one that died must not keep the lane
        earlier = or_(JobRow.queued < job.queued, (JobRow.queued == job.queued) & (JobRow.id < job.id))
        ahead = select(JobRow.id).where(
            JobRow.lane == job.lane,
            JobRow.status.in_((RUNNING, STOPPING)) | ((JobRow.status == QUEUED) & earlier),
            JobRow.id != job_id,
        )
        with session(self.settings) as db:
            first = (JobRow.id == job_id, JobRow.status == QUEUED, ~ahead.exists())
            return _change(db, *first, status=RUNNING, started=time.time(), keeper=os.getpid())

    def _end(self, job_id: int, status: str, message: str = "") -> None:
        with session(self.settings) as db:
            _change(db, JobRow.id == job_id, status=status, message=message, **_ended())

    def _why(self, job: Job, code: int) -> str:
        """A sentence on why the command failed: its own last error, or the signal that ended it."""
        if code < 0:
            reason = "it may have run out of memory. " if -code == signal.SIGKILL else ""
            return (
                f"The process was ended by {signal.Signals(-code).name}; {reason}"
                "Resume goes on from the last checkpoint."
            )
        for line in reversed(self.output(job).splitlines()):
            if line.startswith("Error: "):
                return line.removeprefix("Error: ")
        return f"The command ended with the exit code {code}. Its output says more."


def _change(db: Session, *where: ColumnElement[bool], **values: Any) -> bool:
    """Change the jobs for which all of `where` hold at this moment; whether there was one."""
    statement = update(JobRow).where(*where).values(values)
    result = db.execute(statement.execution_options(synchronize_session=False))
    db.expire_all()
    return bool(cast("CursorResult[Any]", result).rowcount)


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


if __name__ == "__main__":
    os.nice(NICE)
    Jobs()._keep(int(sys.argv[1]), int(sys.argv[2]))
