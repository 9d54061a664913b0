"""The audit log, a table in the workspace's database: actions that others may need to know about later.

It records sign-ins and their ends, uploads (how much, never what), jobs started, stopped or resumed,
deletions, and refusals. Lines are only ever added; `lungvae audit` reads them.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Integer, String, Text, select
from sqlalchemy.orm import Mapped, mapped_column

from lungvae_core.errors import UserError
from lungvae_core.parameters import printable
from lungvae_core.serving.workspace.database import Base, session
from lungvae_core.serving.workspace.settings import Settings

SIGN_IN, SIGN_OUT, SESSION_END = "sign-in", "sign-out", "session-end"
UPLOAD, JOB_START, JOB_STOP, JOB_RESUME = "upload", "job-start", "job-stop", "job-resume"
DELETE, REFUSED, SERVER_START = "delete", "refused", "server-start"
_OF_JOBS = (JOB_START, JOB_STOP, JOB_RESUME)
KINDS = (SIGN_IN, SIGN_OUT, SESSION_END, UPLOAD, *_OF_JOBS, DELETE, REFUSED, SERVER_START)
LONGEST_DETAIL = 500  # characters

_who: ContextVar[str | None] = ContextVar("who", default=None)


class _Line(Base):
    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[str] = mapped_column(String(40), index=True)  # ISO, UTC
    who: Mapped[str] = mapped_column(String(254))
    what: Mapped[str] = mapped_column(String(16))  # one of KINDS
    detail: Mapped[str] = mapped_column(Text, default="")


@dataclass(frozen=True)
class Line:
    """One line of the log."""

    id: int
    at: str  # ISO, UTC
    who: str
    what: str  # one of KINDS
    detail: str


@contextmanager
def acting(name: str) -> Iterator[None]:
    """Name this person in the lines written inside the block, in this thread or task."""
    token = _who.set(name)
    try:
        yield
    finally:
        _who.reset(token)


def line(what: str, detail: str = "", *, who: str | None = None) -> Base:
    """A line to add to the transaction of the action itself: both are committed, or neither.

    It names `who`, else the person set by `acting`, else the command line's user.
    """
    if what not in KINDS:
        raise ValueError(f"{what!r} is not one of {', '.join(KINDS)}")
    return _Line(
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        who=_one_line(who, 254) if who else actor(),
        what=what,
        detail=_one_line(detail, LONGEST_DETAIL),
    )


def actor() -> str:
    """The person whom lines name now: the one set by `acting`, else the command line's user."""
    return _one_line(_who.get() or f"command line, {_user()}", 254)


def record(settings: Settings, what: str, detail: str = "", *, who: str | None = None) -> None:
    """Add a line by itself (see `line`); UserError if the database cannot be written."""
    with session(settings) as opened:
        opened.add(line(what, detail, who=who))


def read(
    settings: Settings, *, who: str = "", what: str = "", since: str = "", most: int | None = None
) -> list[Line]:
    """The lines of a person, of a kind, since a day or moment (ISO, UTC); newest first."""
    if what and what not in KINDS:
        raise UserError(f"There is nothing of the kind {what!r} in the audit log. Kinds: {', '.join(KINDS)}.")
    query = select(_Line).order_by(_Line.id.desc()).limit(most)
    if who:
        query = query.where(_Line.who == who)
    if what:
        query = query.where(_Line.what == what)
    if since:
        query = query.where(_Line.at >= _moment(since))
    with session(settings) as opened:
        rows = list(opened.scalars(query))
    # A restored database may contain anything.
    longest = {"at": 40, "who": 254, "what": 16, "detail": LONGEST_DETAIL}
    return [
        Line(row.id, **{name: printable(str(getattr(row, name)), most) for name, most in longest.items()})
        for row in rows
    ]


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{text!r} is not a day as 2026-01-31 or a moment as 2026-01-31T12:00.") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds")


def _one_line(text: str, most: int) -> str:
    """Text that cannot be mistaken for another line of the log."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:most]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # no name for this user id, as in containers
        return "unknown"
