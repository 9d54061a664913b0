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
import json
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

from sqlalchemy import (
    JSON,
    ColumnElement,
    CursorResult,
    Float,
    Integer,
    String,
    Text,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from lungvae_core.errors import UserError
from lungvae_core.serving import audit
from lungvae_core.serving.database import Base, database_url, session
from lungvae_core.serving.settings import Settings

QUEUED, RUNNING, STOPPING = "queued", "running", "stopping"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
ACTIVE = (QUEUED, RUNNING, STOPPING)
TRAINING, PHANTOM, SEARCH, EVALUATION = "training", "phantom", "search", "evaluation"
PREPARATION, MAP = "preparation", "map"
KINDS = (TRAINING, SEARCH, EVALUATION, PREPARATION, MAP, PHANTOM)
# What a job makes; else a run.
_WRITES = {PHANTOM: "data set", PREPARATION: "data set", EVALUATION: "evaluation", MAP: "map"}
_SAME_AGAIN = (EVALUATION, PREPARATION, MAP)  # resumed by the same command, which finds what is done
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NICE = 10  # jobs leave the processors to people who look at pages; where nobody does, they have all of them
POLL_SECONDS = 0.5  # how often a queued job looks whether its turn has come
_INTERRUPTED = 130  # the exit code of a command that was asked to stop


class Job(Base):
    """A piece of background work, as the database knows it."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # one of KINDS
    name: Mapped[str] = mapped_column(String(64))  # of the run or the data set; of a map its key
    folder: Mapped[str] = mapped_column(Text)  # that it writes; of a map the file
    who: Mapped[str] = mapped_column(String(254), default="", server_default="")  # asked for it
    # Folder while the job is active, else empty: the database itself refuses two jobs that write one folder.
    holds: Mapped[str | None] = mapped_column(String(1024), unique=True)
    lane: Mapped[str] = mapped_column(String(16))  # jobs of one lane run one at a time: the device's name
    argv: Mapped[list[str]] = mapped_column(JSON)  # what follows `lungvae`
    request: Mapped[dict[str, Any]] = mapped_column(JSON)  # what was asked for; resuming needs it
    status: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=1)  # grows each time the job is resumed
    pid: Mapped[int | None] = mapped_column(Integer)  # of the command, while it runs
    keeper: Mapped[int | None] = mapped_column(Integer)  # pid of its keeper, and so the id of their session
    message: Mapped[str] = mapped_column(Text, default="")  # why it failed, for people
    log: Mapped[str] = mapped_column(Text, default="")  # path of its output
    created: Mapped[float] = mapped_column(Float)  # seconds since 1970, as the next three
    queued: Mapped[float] = mapped_column(Float)  # its place in the lane
    started: Mapped[float | None] = mapped_column(Float)
    ended: Mapped[float | None] = mapped_column(Float)

    @property
    def active(self) -> bool:
        """Whether it waits, runs or is about to stop."""
        return self.status in ACTIVE


class Jobs:
    """The workspace's jobs: start, find again, stop, resume. Cheap to make; holds nothing open."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._folder = self.settings.workspace.resolve() / "jobs"

    def all(self) -> list[Job]:
        """All jobs, the newest first, after finding those whose process has died."""
        with session(self.settings) as db:
            found = list(db.scalars(select(Job).order_by(Job.queued.desc(), Job.id.desc())))
        return [self._checked(job) for job in found]

    def get(self, job_id: int) -> Job:
        """The job of that number, or UserError."""
        with session(self.settings) as db:
            job = db.get(Job, job_id)
        if job is None:
            raise UserError(f"There is no job {job_id}. List them with `lungvae jobs list`.")
        return self._checked(job)

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
        from lungvae_core.training.joint import labels_for
        from lungvae_core.vae.config import override
        from lungvae_core.vae.config import preset as preset_named

        folder = self._new_folder(self.settings.runs, name, what="run")
        if (self.settings.models / name).exists():
            raise UserError(f"A model that ships with the project is named {name!r}. Choose another name.")
        config = override(preset_named(preset), changes)
        device = str(pick_device(device))
        if threads < 0:
            raise UserError(f"{threads} threads cannot be used; choose 0 (all) or more.")
        opened = SliceSet.open(data, verify=False)
        if opened.table["patient_id"].nunique() < 2:
            raise UserError(f"{data} has a single patient; some must be held out, so two are the least.")
        if config.joint.rounds:
            labels_for(config, opened.table, default_split(config, opened.table)[0])
        request = {
            "data": str(Path(data).resolve()),
            "preset": preset,
            "changes": changes,
            "device": device,
            "threads": threads,
            "title": title,
            "finish": finish,
        }
        argv = _train_argv(folder, request, resume=False)
        return self._start(TRAINING, name, folder, device, argv, request)

    def start_phantom(self, name: str, count: int, *, seed: int = 0, workers: int = 1) -> Job:
        """Queue the making of `count` phantom slices with independent factors as the data set `name`."""
        folder = self._new_folder(self.settings.data, name, what="data set")
        if count < 1:
            raise UserError(f"{count} slices cannot be made; choose 1 or more.")
        request = {"count": count, "seed": seed, "workers": workers}
        argv = ["phantom", f"--out={folder}", "--factors=independent"]
        argv += [f"--{key}={value}" for key, value in request.items()]
        return self._start(PHANTOM, name, folder, "data", argv, request)

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

        folder = self._new_folder(self.settings.runs, name, what="run")
        base = space_named(space)
        config = make(base, data, fixed=fixed, **options)
        check_source(config)
        device = str(pick_device(device))
        if workers < 1 or threads < 1:
            raise UserError(
                f"{workers} workers of {threads} threads cannot be used; choose 1 or more of each."
            )
        request = {
            "source": f"--{'run' if base.of_codes else 'data'}={Path(data).resolve()}",
            "space": space,
            "fixed": fixed or {},
            "options": options,
            "device": device,
            "threads": threads,
            "workers": workers,
        }
        argv = _search_argv(folder, request, resume=False)
        return self._start(SEARCH, name, folder, device, argv, request)

    def start_evaluation(
        self,
        data: str | Path,
        preset: str,
        name: str,
        *,
        task: str = "mvb",
        label_rule: str = "median_high",
        protocol: str = "nested",
        seed: int = 0,
        seeds: int = 1,
        quick: bool = False,
        nested: str | Path | None = None,
        device: str = "auto",
        workers: int = 1,
    ) -> Job:
        """Queue an evaluation of `preset` on a data set; its report will be `default_report(name)`.

        `nested` is the report that the leak table of the protocol `paper` begins with. UserError, with
        nothing written, for whatever `lungvae evaluate` would refuse: a bad name, preset, task, rule,
        protocol, data set or device, and data without both classes or with too few patients.
        """
        from pydantic import ValidationError

        from lungvae_core.data.labels import labels
        from lungvae_core.data.slices import SliceSet
        from lungvae_core.evaluation.protocols.plan import EvaluationConfig, configure, plan_folds
        from lungvae_core.serving.evaluations import evaluations_folder, read_report
        from lungvae_core.training.device import pick_device

        folder = self._new_folder(evaluations_folder(self.settings), name, what="evaluation")
        options = {"task": task, "label_rule": label_rule, "protocol": protocol, "seed": seed, "seeds": seeds}
        try:
            asked = EvaluationConfig.model_validate({"preset": preset, "quick": quick, **options})
        except ValidationError as error:
            problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
            raise UserError(f"This evaluation cannot be made: {problems}.") from error
        configure(asked, seed)
        if workers < 1:
            raise UserError(f"{workers} trainings at once cannot be; choose 1 or more.")
        if nested is not None:
            read_report(nested)
        device = str(pick_device(device))
        table = SliceSet.open(data, verify=False).table
        truth = labels(table, task, label_rule)
        if not ((truth == 1).any() and (truth == 0).any()):
            raise UserError(
                f"{data} lacks lesions of both classes under the label rule {label_rule}, so there is "
                "nothing to evaluate."
            )
        plan_folds(table, asked)
        request = {
            "data": str(Path(data).resolve()),
            "preset": preset,
            "task": task,
            "label_rule": label_rule,
            "protocol": protocol,
            "seed": seed,
            "seeds": seeds,
            "quick": quick,
            "nested": None if nested is None else str(Path(nested).resolve()),
            "device": device,
            "workers": workers,
        }
        return self._start(EVALUATION, name, folder, device, _evaluate_argv(folder, request), request)

    def start_preparation(self, folder: str | Path, name: str, *, workers: int = 1) -> Job:
        """Queue the making of the data set `name` from a folder of LIDC-IDRI's DICOM on this machine."""
        target = self._new_folder(self.settings.data, name, what="data set")
        source = Path(folder).expanduser()
        if not source.is_absolute() or not source.is_dir():
            raise UserError(
                f"There is no folder {str(folder)!r} on this server. Give the whole path, from / on, of the "
                "folder that LIDC-IDRI's DICOM files lie below."
            )
        if workers < 1:
            raise UserError(f"{workers} processes cannot be used; choose 1 or more.")
        request = {"folder": str(source), "workers": workers}
        argv = ["prepare", f"--out={target}", f"--workers={workers}", "--", str(source)]
        return self._start(PREPARATION, name, target, "data", argv, request)

    def start_map(
        self, run: Path, out: Path, unit: str, method: str, dims: int, parameters: dict[str, Any]
    ) -> Job:
        """Queue a map of a run's codes with parameters of one's own, written to the npy file `out`.

        UserError for parameters that `method` does not have, and where the file is there or being made.
        """
        from lungvae_core.explore.maps import check_parameters

        parameters = check_parameters(method, parameters)
        request = {"unit": unit, "method": method, "dims": dims, "run": str(run.resolve())}
        request |= {"parameters": parameters}
        argv = ["project", f"--unit={unit}", f"--method={method}", f"--dims={dims}", f"--out={out}"]
        argv += [f"--set={name}={json.dumps(value)}" for name, value in parameters.items()]
        return self._start(MAP, out.stem, out, "maps", [*argv, "--", str(run.resolve())], request)

    def of_file(self, kind: str, path: Path) -> Job | None:
        """The newest job of that kind that wrote, writes or will write `path`; None if there was none."""
        with session(self.settings) as db:
            query = select(Job).where(Job.kind == kind, Job.folder == str(path))
            job = db.scalars(query.order_by(Job.id.desc()).limit(1)).first()
        return None if job is None else self._checked(job)

    def stop(self, job_id: int) -> Job:
        """Ask a job to stop: a queued one is taken back; a training ends after its batch, with a checkpoint.

        Asking again, or stopping a job that has ended, changes nothing.
        """
        self.get(job_id)  # a dead one is found first
        with session(self.settings) as db:
            is_job = Job.id == job_id
            back = _change(db, is_job, Job.status == QUEUED, status=STOPPED, ended=time.time(), holds=None)
            asked = _change(db, is_job, Job.status == RUNNING, status=STOPPING)
            job = db.get_one(Job, job_id)
            if back or asked:
                db.add(audit.line(audit.JOB_STOP, _named(job)))
        # Exactly one signal is sent, by whoever turned running into stopping (here) or, when the command
        # has no pid yet, by the keeper: a second would make `lungvae train` drop the batch in hand.
        if asked and job.pid is not None:
            _terminate(job.pid, job.keeper)
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
        folder = Path(job.folder)
        # A training that was stopped before its run existed starts from the beginning.
        if job.kind == SEARCH:
            argv = _search_argv(folder, job.request, resume=(folder / "search.json").exists())
        elif job.kind in _SAME_AGAIN:
            argv = list(job.argv)
        else:
            argv = _train_argv(folder, job.request, resume=(folder / "config.json").exists())
        if on_nonfinite is not None:
            argv.append(f"--set=on_nonfinite={json.dumps(on_nonfinite)}")
        with self._lock(job_id) as lock:
            try:
                with session(self.settings) as db:
                    again = _change(
                        db,
                        *_as_read(job),
                        status=QUEUED,
                        attempt=job.attempt + 1,
                        argv=argv,
                        holds=job.folder,
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
            with Path(job.log).open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - 400 * lines))
                text = stream.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def suggest(self, stem: str, *, among: Path | None = None) -> str:
        """A name that is free: stem-1, stem-2, ...; of a run, or of what lies in the folder `among`."""
        places = [self.settings.runs, self.settings.models] if among is None else [among]
        with session(self.settings) as db:
            held = {Path(folder).name for folder in db.scalars(select(Job.holds)) if folder}
        number = 1
        while f"{stem}-{number}" in held or any((place / f"{stem}-{number}").exists() for place in places):
            number += 1
        return f"{stem}-{number}"

    def _new_folder(self, base: Path, name: str, *, what: str) -> Path:
        if not NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot be the name of a {what}. Use up to 64 letters, digits, '-' and '_', "
                "beginning with a letter or a digit."
            )
        folder = base.resolve() / name
        self._refuse_existing(folder, what)
        return folder

    @staticmethod
    def _refuse_existing(folder: Path, what: str) -> None:
        if folder.exists() or folder.is_symlink():
            raise UserError(
                f"There is already a {what} {folder.name!r} in {folder.parent}. Choose another name."
            )

    def _start(
        self, kind: str, name: str, folder: Path, lane: str, argv: list[str], request: dict[str, Any]
    ) -> Job:
        now = time.time()
        job = Job(
            kind=kind,
            name=name,
            folder=str(folder),
            holds=str(folder),
            lane=lane,
            argv=argv,
            request=request,
            status=QUEUED,
            who=audit.actor(),
            created=now,
            queued=now,
        )
        with contextlib.ExitStack() as locks:
            try:
                with session(self.settings) as db:
                    db.add(job)
                    db.flush()  # from here on no other job can hold the folder
                    db.add(audit.line(audit.JOB_START, _named(job)))
                    self._refuse_existing(folder, _WRITES.get(kind, "run"))
                    lock = locks.enter_context(self._lock(job.id))
                    job.log = str(self._folder / f"{job.id}.log")
                    Path(job.log).unlink(missing_ok=True)
            except IntegrityError as error:
                raise _taken(name) from error
            self._launch(job.id, lock)
        return self.get(job.id)

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
        command = [sys.executable, "-m", "lungvae_core.serving.jobs", str(job_id), str(lock.fileno())]
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
            return db.get_one(Job, job.id)

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
            _change(db, Job.id == job_id, pid=running.pid)
            stop_already = db.get_one(Job, job_id).status == STOPPING
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
        earlier = or_(Job.queued < job.queued, (Job.queued == job.queued) & (Job.id < job.id))
        ahead = select(Job.id).where(
            Job.lane == job.lane,
            Job.status.in_((RUNNING, STOPPING)) | ((Job.status == QUEUED) & earlier),
            Job.id != job_id,
        )
        with session(self.settings) as db:
            first = (Job.id == job_id, Job.status == QUEUED, ~ahead.exists())
            return _change(db, *first, status=RUNNING, started=time.time(), keeper=os.getpid())

    def _end(self, job_id: int, status: str, message: str = "") -> None:
        with session(self.settings) as db:
            _change(db, Job.id == job_id, status=status, message=message, **_ended())

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
    result = db.execute(update(Job).where(*where).values(values).execution_options(synchronize_session=False))
    db.expire_all()
    return bool(cast("CursorResult[Any]", result).rowcount)


def _named(job: Job) -> str:
    """A job as the audit log names it."""
    return f"{job.kind} {job.name}, job {job.id}"


def _as_read(job: Job) -> tuple[ColumnElement[bool], ...]:
    """That nobody has changed the job since it was read."""
    return Job.id == job.id, Job.status == job.status, Job.attempt == job.attempt


def _ended() -> dict[str, Any]:
    return {"ended": time.time(), "holds": None, "pid": None, "keeper": None}


def _train_argv(folder: Path, request: dict[str, Any], *, resume: bool) -> list[str]:
    """The arguments of `lungvae train`; each option in one word, so that no value can pass for an option."""
    argv = ["train", f"--data={request['data']}", f"--out={folder}", f"--preset={request['preset']}"]
    argv += [f"--device={request['device']}", f"--threads={request['threads']}"]
    if not request["finish"]:
        argv.append("--no-finish")
    if resume:
        return [*argv, "--resume"]
    argv += [f"--set={name}={json.dumps(value)}" for name, value in request["changes"].items()]
    if request["title"]:
        argv.append(f"--title={request['title']}")
    return argv


def _search_argv(folder: Path, request: dict[str, Any], *, resume: bool) -> list[str]:
    """The arguments of `lungvae search`; each option in one word."""
    argv = ["search", f"--out={folder}", f"--device={request['device']}"]
    argv += [f"--workers={request['workers']}", f"--threads={request['threads']}"]
    if resume:
        return [*argv, "--resume"]
    argv += [request["source"], f"--space={request['space']}"]
    for name, value in request["options"].items():
        if isinstance(value, bool):
            argv += [f"--{name}"] if value else []
        else:
            argv.append(f"--{name.replace('_', '-')}={value}")
    return argv + [f"--set={name}={json.dumps(value)}" for name, value in request["fixed"].items()]


def _evaluate_argv(folder: Path, request: dict[str, Any]) -> list[str]:
    """The arguments of `lungvae evaluate`, with which it also goes on; each option in one word."""
    argv = ["evaluate", f"--preset={request['preset']}", f"--data={request['data']}"]
    for name in ("task", "label_rule", "protocol", "seed", "seeds", "device", "workers"):
        argv.append(f"--{name.replace('_', '-')}={request[name]}")
    if request["quick"]:
        argv.append("--quick")
    if request["nested"]:
        argv.append(f"--nested={request['nested']}")
    return [*argv, f"--out={folder / 'report.json'}"]


def _terminate(pid: int, keeper: int | None) -> None:
    """SIGTERM to a job's command, unless the pid belongs to somebody else by now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # The command is in its keeper's session, where no stranger can be.
        if os.getsid(pid) == keeper:
            os.kill(pid, signal.SIGTERM)


def _taken(name: str) -> UserError:
    return UserError(f"A job named {name!r} is waiting or running already. Choose another name, or stop it.")


if __name__ == "__main__":
    os.nice(NICE)
    Jobs()._keep(int(sys.argv[1]), int(sys.argv[2]))
