"""The schema of directions.json, as the Directions page, the ways and the live view need it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lungvae_core.schema import Count, Estimate, Number, Part, same_shape

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]  # what decoders are given


class Score(Estimate):
    """Held-out, of one of two measures."""

    name: Literal["auc", "r2"]


class Judged(Part):
    """Nodules that count in the held-out score."""

    nodules: Count


class OfDiameter(Part):
    """AUC of the diameter itself."""

    diameter: Estimate


class LikeSizes(OfDiameter):
    """AUC among nodules of similar size."""

    auc: Estimate


class Matched(Part):
    """AUCs of malignancy among nodules of similar size, and those of the diameter."""

    all: OfDiameter
    band: LikeSizes
    size: LikeSizes


class AgainstNull(Estimate):
    """A cosine and that of shuffled values; all are None if not computable."""

    null: Number | None
    null_high: Number | None
    p: Number | None

    @model_validator(mode="after")
    def _with_null(self) -> AgainstNull:
        if self.value is not None and None in (self.null, self.null_high, self.p):
            raise ValueError("a figure without its null")
        return self


class Steady(Part):
    """Similarity of a vector for other patients."""

    halves: AgainstNull
    bootstrap: AgainstNull
    folds: AgainstNull


class Stability(Part):
    """Of both vectors."""

    pattern: Steady
    filter: Steady


class DirectionEntry(Part):
    """One direction; vectors have K coordinates."""

    words: str
    unit: str
    judged: Judged
    score: Score
    filter: list[Coordinate]
    offset: Coordinate
    pattern: list[Coordinate]
    span: Annotated[list[Coordinate], Field(min_length=2, max_length=2)]
    with_diameter: Number | None
    matched: Matched | None
    stability: Stability


class SpaceEntry(Part):
    """The coordinates; see `coordinates.Space`."""

    mean: list[Coordinate]
    deviation: list[Annotated[float, Field(gt=1e-6, le=1e6)]]
    pseudo: Annotated[float, Field(ge=0, le=1)]


class Angles(Part):
    """Of every two directions."""

    names: list[str]
    cosine: list[list[Number | None]]
    correlation: list[list[Number | None]]

    @model_validator(mode="after")
    def _square(self) -> Angles:
        for each in (self.cosine, self.correlation):
            same_shape(each, len(self.names), len(self.names))
        return self


class DirectionsReport(Part):
    """directions.json."""

    format: Count
    label_rule: str
    seed: Count
    resamples: Count
    folds: Count
    nodules: Count
    patients: Count
    space: SpaceEntry
    directions: Annotated[dict[str, DirectionEntry], Field(min_length=1)]
    angles: Angles
    transductive: bool
    leak: str | None

    @model_validator(mode="after")
    def _of_one_space(self) -> DirectionsReport:
        vectors = [self.space.deviation]
        vectors += [each for one in self.directions.values() for each in (one.filter, one.pattern)]
        if any(len(each) != len(self.space.mean) for each in vectors):
            raise ValueError("vectors of different lengths")
        return self
