"""The table of jobs, and the jobs read from it: checked, since a database may come from a backup.

A row that this product cannot have written is reported in a sentence and otherwise ignored. A job's output
path follows from its kind and name, and its command from its typed request (`kinds`): neither a path nor a
command is ever read from a column.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import JSON, ColumnElement, CursorResult, Float, Integer, String, Text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from lungvae_core.errors import UserError
from lungvae_core.parameters import printable
from lungvae_core.serving.jobs.kinds import KINDS
from lungvae_core.serving.workspace import places
from lungvae_core.serving.workspace.database import Base
from lungvae_core.serving.workspace.settings import Settings

QUEUED, RUNNING, STOPPING = "queued", "running", "stopping"
DONE, FAILED, STOPPED = "done", "failed", "stopped"
ACTIVE = (QUEUED, RUNNING, STOPPING)
LARGEST_PID = 2**22  # Linux's own limit


class JobRow(Base):
    """A background job, as the database stores it."""

    __tablename__ = "jobs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # one of KINDS
    name: Mapped[str] = mapped_column(String(64))  # of the run or the data set; for a map, its key
    folder: Mapped[str] = mapped_column(Text)  # what it writes, in the form of `places.stored`
    who: Mapped[str] = mapped_column(String(254), default="", server_default="")  # who started it
    # The folder while the job is active, else empty: the database refuses two jobs that write one folder.
    holds: Mapped[str | None] = mapped_column(String(1024), unique=True)
    lane: Mapped[str] = mapped_column(String(16))  # jobs of one lane run one at a time: the device's name
    argv: Mapped[list[str]] = mapped_column(JSON, default=list)  # from earlier versions, never read
    request: Mapped[dict[str, Any]] = mapped_column(JSON)  # the request, in the form of `kinds`
    status: Mapped[str] = mapped_column(String(16))
    attempt: Mapped[int] = mapped_column(Integer, default=1)  # counts up each time the job is resumed
    pid: Mapped[int | None] = mapped_column(Integer)  # of the command, while it runs
    keeper: Mapped[int | None] = mapped_column(Integer)  # pid of its keeper, also the id of their session
    message: Mapped[str] = mapped_column(Text, default="")  # why it failed, for people
    log: Mapped[str] = mapped_column(Text, default="")  # from earlier versions; written empty, never read
    created: Mapped[float] = mapped_column(Float)  # seconds since 1970, like the next three
    queued: Mapped[float] = mapped_column(Float)  # its place in the lane
    started: Mapped[float | None] = mapped_column(Float)
    ended: Mapped[float | None] = mapped_column(Float)


# One line of text without control characters, cut to a length.
_Who = Annotated[str, AfterValidator(lambda text: printable(text, 254))]
_Lane = Annotated[str, AfterValidator(lambda text: printable(text, 16))]
_Message = Annotated[str, AfterValidator(lambda text: printable(text, 4000))]
_Moment = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
_Pid = Annotated[int, Field(ge=2, le=LARGEST_PID)] | None


class _Checked(BaseModel):
    """The columns that are taken as they are."""

    model_config = ConfigDict(strict=True, from_attributes=True, frozen=True)

    id: Annotated[int, Field(ge=0, lt=2**63)]
    kind: Literal["training", "search", "evaluation", "preparation", "map", "phantom"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
    who: _Who
    lane: _Lane
    status: Literal["queued", "running", "stopping", "done", "failed", "stopped"]
    attempt: Annotated[int, Field(ge=1, le=10**6)]
    pid: _Pid
    keeper: _Pid
    message: _Message
    created: _Moment
    queued: _Moment
    started: _Moment | None
    ended: _Moment | None


class Job(_Checked):
    """A background job whose row was checked."""

    folder: str  # that it writes; for a map, the file
    log: str  # path of its output
    request: dict[str, Any] = Field(repr=False)
    argv: list[str] = Field(repr=False)  # the arguments of `lungvae`
    uses: tuple[Path, ...] = ()  # what it reads

    @property
    def active(self) -> bool:
        """Whether it waits, runs or is about to stop."""
        return self.status in ACTIVE


def place(settings: Settings, kind: str, name: str) -> Path:
    """The path that the job of that kind and name writes."""
    root, below = KINDS[kind].place
    return places.roots(settings)[root] / below.format(name)


def as_job(settings: Settings, row: JobRow) -> Job:
    """The job of a row; UserError that names the row and what is wrong with it."""
    try:
        checked = _Checked.model_validate(row)
        request = KINDS[checked.kind].model_validate(row.request)
        folder = place(settings, checked.kind, checked.name)
        if places.opened(settings, row.folder) != folder.resolve():
            raise UserError(
                f"It names {printable(str(row.folder), 80)!r}, and jobs of its kind write {folder}."
            )
        open_path = partial(places.opened, settings)
        argv = request.argv(folder, open_path, again=checked.attempt > 1)
        uses = tuple(request.uses(open_path))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place_of = ".".join(printable(str(part), 40) for part in first["loc"])
        raise _refused(row, f"{place_of}: {first['msg']}.") from error
    except UserError as error:
        raise _refused(row, str(error)) from error
    return Job(
        **checked.model_dump(),
        folder=str(folder),
        log=str(places.roots(settings)["workspace"] / "jobs" / f"{checked.id}.log"),
        request=request.model_dump(),
        argv=argv,
        uses=uses,
    )


def change(db: Session, *where: ColumnElement[bool], **values: Any) -> bool:
    """Change the jobs for which all of `where` now hold; return whether there was one."""
    statement = update(JobRow).where(*where).values(values)
    result = db.execute(statement.execution_options(synchronize_session=False))
    db.expire_all()
    return bool(cast("CursorResult[Any]", result).rowcount)


def _refused(row: JobRow, why: str) -> UserError:
    return UserError(f"Job {printable(str(row.id), 20)} in the workspace's database cannot be used. {why}")
