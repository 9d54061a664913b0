"""Named sets: saved selections, in the workspace's database.

A set belongs to a model's data, not to a model: any model of the same data can open it, and no other can.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy
from sqlalchemy import Integer, String, Text, UniqueConstraint, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from lungvae_core.errors import UserError
from lungvae_core.json_text import parse_json
from lungvae_core.parameters import printable, shown
from lungvae_core.serving.models.registry import LoadedModel
from lungvae_core.serving.workspace import audit
from lungvae_core.serving.workspace.database import Base, session
from lungvae_core.serving.workspace.settings import Settings

LARGEST_ID = 2**53  # of a set; databases count to 2**63
LONGEST_NAME, LONGEST_NOTE = 80, 1000  # characters


class SetExistsError(UserError):
    """The data has a set of that name, and replacing it was not requested."""


class _Row(Base):
    __tablename__ = "named_sets"
    __table_args__ = (UniqueConstraint("data_hash", "table_size", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(LONGEST_NAME))
    data_hash: Mapped[str] = mapped_column(String(64))
    table_size: Mapped[int] = mapped_column(Integer)
    count: Mapped[int] = mapped_column(Integer)
    rows: Mapped[str] = mapped_column(Text)  # JSON
    created: Mapped[str] = mapped_column(String(40))  # ISO, UTC
    note: Mapped[str] = mapped_column(Text, default="")


@dataclass(frozen=True)
class NamedSet:
    """A set without its rows."""

    id: int
    name: str
    count: int  # slices
    created: str  # ISO, UTC
    note: str


def save(
    settings: Settings,
    model: LoadedModel,
    name: str,
    rows: Sequence[int],
    *,
    note: str = "",
    replace: bool = False,
) -> NamedSet:
    """Save rows of the model's table under a name.

    Raises SetExistsError if the data has a set of that name and `replace` is false. Raises UserError if the
    name is missing or too long, if there are no rows, or if the table does not have them.
    """
    name, note = " ".join(name.split()), note.strip()
    if not name:
        raise UserError("Give the set a name.")
    if len(name) > LONGEST_NAME or len(note) > LONGEST_NOTE:
        raise UserError(
            f"A set's name has at most {LONGEST_NAME} characters and its note at most {LONGEST_NOTE:,}. "
            "Shorten them."
        )
    chosen = sorted({int(row) for row in rows})
    if not chosen:
        raise UserError("There is nothing to save: no lesion is selected.")
    if chosen[0] < 0 or chosen[-1] >= len(model.codes):
        raise UserError(f"The model {model.entry.name} has slices 0 to {len(model.codes) - 1:,} only.")
    row = _Row(
        name=name,
        **_key(model),
        count=len(chosen),
        rows=json.dumps(chosen, separators=(",", ":")),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        note=note,
    )
    try:
        with session(settings) as opened:
            if replace:
                opened.execute(sqlalchemy.delete(_Row).filter_by(name=name, **_key(model)))
                opened.add(audit.line(audit.DELETE, "named set, replaced"))
            opened.add(row)
    except IntegrityError as error:
        raise SetExistsError(
            f"There is a set {name!r} already. Replace it, or choose another name."
        ) from error
    return _shown(row)


def sets(settings: Settings, model: LoadedModel) -> list[NamedSet]:
    """The sets of the model's data, by name."""
    with session(settings) as opened:
        rows = list(opened.scalars(select(_Row).filter_by(**_key(model)).order_by(_Row.name)))
    return [_shown(row) for row in rows]


def load(settings: Settings, model: LoadedModel, set_id: int) -> list[int]:
    """The rows of a set; UserError if there is no set with that id, or it belongs to other data."""
    with session(settings) as opened:
        row = opened.get(_Row, set_id)
    if row is None:
        raise UserError("There is no such set any more; somebody deleted or replaced it.")
    if (row.data_hash, row.table_size) != tuple(_key(model).values()):
        raise UserError(f"The set {shown(row.name)} is of other data than the model {model.entry.name}.")
    return _rows_of(row)


def delete(settings: Settings, set_id: int) -> None:
    """Delete a set; does nothing if there is no set with that id. The audit log has its number."""
    with session(settings) as opened:
        opened.execute(sqlalchemy.delete(_Row).filter_by(id=set_id))
        opened.add(audit.line(audit.DELETE, f"named set {set_id}"))


def _key(model: LoadedModel) -> dict[str, object]:
    return {"data_hash": model.entry.data.content_hash, "table_size": len(model.codes)}


def _shown(row: _Row) -> NamedSet:
    # A restored database may contain anything.
    texts = ((row.name, LONGEST_NAME), (row.created, 40), (row.note, LONGEST_NOTE))
    name, created, note = (printable(str(text), most) for text, most in texts)
    return NamedSet(row.id, name, row.count if isinstance(row.count, int) else 0, created, note)


def _rows_of(row: _Row) -> list[int]:
    """The rows of a set's column; UserError if it has none, or rows beyond the table."""
    text = row.rows if isinstance(row.rows, str) else ""
    rows = parse_json(text, what="The set")
    if not isinstance(rows, list) or not all(type(at) is int and 0 <= at < row.table_size for at in rows):
        raise UserError(f"The set {shown(row.name)} is damaged. Delete it, and save it again.")
    return rows
