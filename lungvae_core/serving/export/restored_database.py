"""Rebuild a backup's database: read its rows, check them and write them into newly created tables.

Nothing else in the file is used: no foreign triggers, views or indices, and no damaged pages.
"""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import JSON, Column, Float, Integer, String, Table, create_engine, insert
from sqlalchemy.orm import Session

from lungvae_core.errors import UserError
from lungvae_core.json_text import parse_json
from lungvae_core.parameters import shown
from lungvae_core.serving.jobs.table import ACTIVE, JobRow, as_job
from lungvae_core.serving.workspace import places
from lungvae_core.serving.workspace.database import Base
from lungvae_core.serving.workspace.settings import Settings

MOST_ROWS = 1_000_000  # per table
LONGEST = 2**24  # characters of a text column without a limit
_PATHS = ("data", "nested", "folder", "run")  # of jobs' requests


def rebuild(database: Path, old: dict[str, str], settings: Settings) -> list[str]:
    """Replace a backup's database by a new one with the same rows; return what was left out.

    `old` are the folders (workspace, runs, data) that the backup was made from; in jobs they are replaced by
    those of `settings`. Jobs whose paths lie elsewhere are left out, with a sentence for each. Raises
    UserError and leaves the file unchanged if it contains anything that this product cannot have written.
    """
    rows = {table: list(_rows(database, table)) for table in Base.metadata.sorted_tables}
    jobs: Table = Base.metadata.tables[JobRow.__tablename__]
    rows[jobs], left_out = _jobs(rows[jobs], old, settings)
    made = database.with_name(f"{database.name}.made")
    engine = create_engine(f"sqlite:///{made}")
    try:
        Base.metadata.create_all(engine)
        with Session(engine) as opened, opened.begin():
            for table, of_table in rows.items():
                if of_table:
                    opened.execute(insert(table), of_table)
    finally:
        engine.dispose()
    made.replace(database)
    return left_out


def _rows(database: Path, table: Table) -> Iterator[dict[str, Any]]:
    """The rows of a table, with each value checked against its column's type."""
    address = f"file:{quote(str(database))}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True)) as opened:
            opened.text_factory = lambda raw: raw.decode("utf-8", "replace")
            opened.execute("PRAGMA trusted_schema=OFF")
            kinds = opened.execute("SELECT type, lower(substr(sql, 1, 14)) FROM sqlite_master").fetchall()
            if any(kind not in ("table", "index") or text == "create virtual" for kind, text in kinds):
                raise UserError("The backup's database holds more than tables. It was not made by lungvae.")
            stored = opened.execute(f"PRAGMA table_xinfo({table.name})").fetchall()
            there = {name for _, name, *_, hidden in stored if not hidden}  # hidden ones are computed
            columns = [column for column in table.columns if column.name in there]
            if not columns:
                return
            names = ", ".join(f'"{column.name}"' for column in columns)
            query = f'SELECT {names} FROM "{table.name}" LIMIT {MOST_ROWS}'
            for number, values in enumerate(opened.execute(query), start=1):
                yield {
                    column.name: _checked(table, number, column, value)
                    for column, value in zip(columns, values, strict=True)
                }
    except sqlite3.Error as error:
        raise UserError(f"The backup's database cannot be read: {error}.") from error


def _checked(table: Table, number: int, column: Column[Any], value: Any) -> Any:
    """The value, if its column can hold it; otherwise UserError."""
    kind = column.type
    if value is None and column.nullable:
        return None
    if isinstance(kind, JSON) and isinstance(value, str):
        return parse_json(value, what=f"The backup's database ({table.name}, row {number}, {column.name})")
    if isinstance(kind, Integer) and type(value) is int:
        return value
    if isinstance(kind, Float) and isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    if isinstance(kind, String) and isinstance(value, str) and len(value) <= (kind.length or LONGEST):
        return value
    raise UserError(
        f"The backup's database is damaged or was tampered with: {table.name}, row {number}, {column.name} "
        f"is {shown(value)}."
    )


def _jobs(
    rows: list[dict[str, Any]], old: dict[str, str], settings: Settings
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of jobs whose paths are in the folders in use, and why the others were left out."""
    kept, left_out = [], []
    for row in rows:
        row["folder"] = _moved(row["folder"], old)
        row["request"] = _moved_request(row["request"], old)
        row["argv"], row["log"], row["pid"], row["keeper"] = [], "", None, None
        try:
            job = as_job(settings, JobRow(**{"who": "", "message": "", **row}))
        except UserError as error:
            left_out.append(str(error))
            continue
        row["folder"] = places.stored(settings, job.folder)
        row["holds"] = row["folder"] if job.status in ACTIVE else None
        kept.append(row)
    return kept, left_out


def _moved_request(request: Any, old: dict[str, str]) -> Any:
    if not isinstance(request, dict):
        return request
    changed = {name: _moved(request[name], old) for name in _PATHS if isinstance(request.get(name), str)}
    if isinstance(source := request.get("source"), str):  # --data=/srv/data/x
        option, equals, path = source.partition("=")
        changed["source"] = option + equals + _moved(path, old)
    return request | changed


def _moved(path: str, old: dict[str, str]) -> str:
    """An absolute path inside one of the old folders, as the database stores it now."""
    for kind, folder in old.items():
        if folder and path.startswith(f"{folder}/"):
            return f"{kind}/{path[len(folder) + 1 :]}"
    return path
