"""Schemas of stored JSON, declared with pydantic and checked when a file is read.

Pages and routes use the content without further checks, so a list in place of an object, or a missing number,
must be refused here, with a message that names the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lungvae_core.errors import UserError
from lungvae_core.files import read_json

Number = Annotated[float, Field(ge=-1e15, le=1e15)]
Count = Annotated[int, Field(ge=0, le=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]


class Part(BaseModel):
    """An object of a report: declared fields must exist with their types; others are ignored.

    Texts have at most 2,000 characters, numbers are finite, and types are not converted.
    """

    model_config = ConfigDict(allow_inf_nan=False, extra="ignore", str_max_length=2_000, strict=True)


class _Figure(Part):
    value: Number | None
    low: Number | None
    high: Number | None


class Estimate(_Figure):
    """A figure, None if not computable, with its 95 % interval, None if no resample gives one."""

    @model_validator(mode="after")
    def _both_ends(self) -> Estimate:
        if (self.low is None) != (self.high is None):
            raise ValueError("half an interval")
        return self


class Interval(_Figure):
    """A figure with its 95 % interval; all three are None if not computable."""

    @model_validator(mode="after")
    def _whole(self) -> Interval:
        if self.value is not None and (self.low is None or self.high is None):
            raise ValueError("a figure without its interval")
        return self


def same_shape(matrix: Sequence[Sequence[object]], rows: int, columns: int) -> None:
    """Raise ValueError unless a matrix has that shape."""
    if len(matrix) != rows or any(len(row) != columns for row in matrix):
        raise ValueError(f"a matrix that is not {rows} x {columns}")


def read_as(path: Path, kind: type[BaseModel], *, what: str, again: str, newest: int | None = None) -> Any:
    """The JSON of a file, unchanged, after a check against `kind`.

    `what` names it, `again` is the command that recreates it. UserError where it is missing or damaged, and
    for a `format` above `newest`.
    """
    value = read_json(path, what=what)
    made = value.get("format") if isinstance(value, dict) else None
    if newest is not None and isinstance(made, int) and made > newest:
        raise UserError(f"{path} has format {made}; this version reads up to {newest}. Update lungvae.")
    if (place := wrong_at(value, kind)) is not None:
        raise UserError(f"{path} is damaged{place}. Make it again with `{again}`.")
    return value


def wrong_at(value: Any, kind: type[BaseModel]) -> str | None:
    """Where a value is not as declared, as " at methods.kmeans.count"; None if it is valid."""
    try:
        kind.model_validate(value)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])[:100]
        return f" at {place}" if place.isprintable() and place else ""
    return None
