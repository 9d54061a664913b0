"""A training's records: each epoch's figures, its position, and where its loss was not finite."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from lungvae_core.errors import UserError
from lungvae_core.files import read_json
from lungvae_core.schema import Count, Number, Part, same_shape, wrong_at


class Validation(Part):
    """An epoch's figures of held-out slices; see `validate.validate`."""

    ssim: Number
    mse: Number
    mae: Number
    kl: Number
    loss: Number | None = None
    active_units: Count
    dead_columns: Count = 0
    alpha0: Number | None = None


class DimensionFigures(Part):
    """The KL and decoder norm of each of K dimensions."""

    kl: Annotated[list[Number], Field(min_length=1)]  # held-out mean, nats; a Dirichlet's: of its marginals
    column_norm: list[Number]  # of the decoder's weights that read the dimension

    @model_validator(mode="after")
    def _alike(self) -> Self:
        same_shape([self.kl, self.column_norm], 2, len(self.kl))
        return self


class Epoch(Part):
    """A line of metrics.jsonl."""

    epoch: Count
    seconds: Number
    learning_rate: Number | None = None
    beta: Number | None = None
    train: dict[str, Number | None] = Field(default_factory=dict)
    validation: Validation
    units: DimensionFigures | None = None
    halvings: Count = 0


class Position(Part):
    """progress.json: the current epoch, from 1, and its batch."""

    epoch: Annotated[int, Field(ge=1, le=10**9)]
    batch: Count
    batches: Annotated[int, Field(ge=1, le=10**12)]
    loss: Number | None = None
    images_per_second: Annotated[float, Field(gt=0, le=1e15)] | None = None
    seconds_left: Number | None = None
    preparing: str | None = None  # the network that is fitted before the first epoch
    prepared: Annotated[float, Field(ge=0, le=1)] | None = None  # the share of it that is done


class NotFinite(Part):
    """not-finite.json: the epoch and batch, both from 1, and its slices as patient/nodule/slice."""

    epoch: Count
    batch: Count
    slices: list[str]


def read_position(folder: Path) -> dict[str, Any] | None:
    """progress.json of a run in `folder`; None without a sound one."""
    return _read(folder / "progress.json", Position)


def read_not_finite(folder: Path) -> dict[str, Any] | None:
    """not-finite.json of a run in `folder`; None without a sound one."""
    return _read(folder / "not-finite.json", NotFinite)


def _read(path: Path, kind: type[Part]) -> dict[str, Any] | None:
    """The content of a file; None where it is missing or damaged."""
    with contextlib.suppress(UserError):
        value: dict[str, Any] = read_json(path, what="")
        return value if wrong_at(value, kind) is None else None
    return None
