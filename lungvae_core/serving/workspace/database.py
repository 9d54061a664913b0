"""The workspace's database: SQLite in WAL mode unless LUNGVAE_DATABASE holds another SQLAlchemy URL."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateColumn

from lungvae_core.errors import UserError
from lungvae_core.json_text import parse_json
from lungvae_core.serving.workspace.settings import Settings


class Base(DeclarativeBase):
    """Every table of the workspace."""


def database_url(settings: Settings) -> str:
    """The SQLAlchemy URL in use."""
    return os.environ.get("LUNGVAE_DATABASE") or f"sqlite:///{settings.workspace.resolve() / 'workspace.db'}"


@contextmanager
def session(settings: Settings) -> Iterator[Session]:
    """One transaction: committed on a clean exit, undone after an exception.

    Objects read in it stay readable afterwards. Raises UserError if the database cannot be used. Errors from
    violated constraints (IntegrityError) are passed on, since their meaning depends on the caller.
    """
    url = database_url(settings)
    try:
        settings.workspace.mkdir(parents=True, exist_ok=True)
        engine = _engine(url)
        _make_tables(engine, settings)
        with Session(engine, expire_on_commit=False) as opened, opened.begin():
            yield opened
    except IntegrityError:
        raise
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise UserError(
            f"LUNGVAE_DATABASE is not a database that can be opened here ({error}). "
            "Correct it, or leave it out to use SQLite in the workspace."
        ) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error)
        raise UserError(
            f"The workspace's database {_shown(url)} cannot be used: {reason}. Free space, choose another "
            "LUNGVAE_WORKSPACE, or move a damaged file away; a new one is made."
        ) from error
    except OSError as error:
        raise UserError(
            f"The workspace {settings.workspace} cannot be used: {error.strerror}. "
            "Choose a folder that you may write to with LUNGVAE_WORKSPACE."
        ) from error


@cache
def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, json_deserializer=_json)
    # One connection per transaction: threads and forks never share one, and SQLite opens quickly.
    arguments = {"timeout": 30}
    made = create_engine(url, poolclass=NullPool, connect_args=arguments, json_deserializer=_json)

    @event.listens_for(made, "connect")
    def _configure(connection: Any, _record: object) -> None:
        # Text that is not UTF-8 would make all rows read together with it unreadable.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.execute("PRAGMA journal_mode=WAL").close()
        connection.execute("PRAGMA synchronous=NORMAL").close()

    return made


def _json(text: Any) -> Any:
    """The value of a JSON column; None if it cannot be read."""
    try:
        return parse_json(text, what="A value in the database")
    except (UserError, AttributeError, TypeError):
        return None


_made: dict[str, set[str]] = {}  # the tables known to exist, by URL


def _make_tables(engine: Engine, settings: Settings) -> None:
    """Create missing tables; also after SQLite's file was moved away."""
    url, tables = str(engine.url), set(Base.metadata.tables)
    file = engine.url.database if engine.dialect.name == "sqlite" else None
    if _made.get(url) == tables and (file is None or Path(file).exists()):
        return
    # Two processes that start together must not both create them.
    with (settings.workspace / ".database.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Base.metadata.create_all(engine)
        _add_columns(engine)
    _made[url] = tables


def _add_columns(engine: Engine) -> None:
    """Add missing columns to tables of an earlier version; each such column has a server default."""
    existing = inspect(engine)
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            there = {column["name"] for column in existing.get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    spec = CreateColumn(column).compile(dialect=engine.dialect)
                    connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {spec}"))


def _shown(url: str) -> str:
    """The URL without the part before the host, so that no password appears in a message."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
