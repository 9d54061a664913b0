"""The schema of measured.json, as the Measured traversals page, the ways and the live view need it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lungvae_core.schema import Count, Estimate, Number, Part, Share, same_shape

MOVED = ("change", "low", "high", "effect", "spearman", "agree")  # the order of the figures in `moved`
JUDGED = ("change", "low", "high", "spearman", "rises")  # the order of the figures in `judged`
_Value = Annotated[float, Field(ge=-1e6, le=1e6)]  # of a dimension
_Triple = Annotated[list[Number], Field(min_length=3, max_length=3)]


class About(Part):
    """A property that is measured."""

    words: Annotated[str, Field(min_length=1)]
    unit: str
    names: bool
    deviation: Number | None  # among real lesions; None if unknown


class Dimension(Part):
    """The changes along one dimension."""

    dimension: Count
    low: _Value
    high: _Value
    values: list[_Value] | None = None  # at each step; older measurements have none, and even steps
    name: str
    properties: list[str]  # that are in its name
    others: list[str]
    selectivity: Number
    inside_hu: Number
    outside_hu: Number
    moved: dict[str, Annotated[list[Number], Field(min_length=len(MOVED), max_length=len(MOVED))]]
    median_spearman: dict[str, Number] = Field(default_factory=dict)  # older measurements have none
    walk: dict[str, list[list[Number | None]]]  # mean, low and high at each step
    mm: dict[str, _Triple | None]  # None where too few images gave an outline
    judged: dict[str, Annotated[list[Number], Field(min_length=len(JUDGED), max_length=len(JUDGED))]] = Field(
        default_factory=dict  # older measurements have none
    )
    fine_share: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None  # at low and high

    @model_validator(mode="after")
    def _consistent(self) -> Dimension:
        if not {*self.properties, *self.others} <= self.moved.keys() or self.moved.keys() != self.walk.keys():
            raise ValueError("a property that was not measured")
        return self


class Agreement(Estimate):
    """How well the judge of a rating agrees with the readers; None where their ratings are all alike."""

    n: Count
    patients: Count


class Judge(Part):
    """The judge of the ratings, or why there is none."""

    why_not: str | None = None
    ratings: dict[Literal["real", "reconstructed"], dict[str, Agreement]] | None = None
    fitted: dict[str, object] | None = None
    tested: dict[str, object] | None = None
    smoothing_px: Number = 0.0  # of what it sees; judges of earlier versions saw single pixels

    @model_validator(mode="after")
    def _whole(self) -> Judge:
        if self.ratings is not None and (len(self.ratings) < 2 or self.fitted is None or self.tested is None):
            raise ValueError("a judge that was not tested")
        return self

    def has_judged(self, ratings: Iterable[str]) -> bool:
        """Whether it has been tested on each of these ratings."""
        return self.ratings is not None and all(set(ratings) <= one.keys() for one in self.ratings.values())


class Starts(Part):
    """The lesions that were moved."""

    of: str = ""  # whose they are; older measurements do not say
    rows: list[Count]
    patients: Count


class Control(Part):
    """How many random artificial dimensions got a name."""

    dimensions: Count
    named: Count


class Band(Part):
    """Outlines against readers' masks, of lesions of a size."""

    band: str
    n: Count
    dice: Number
    area_ratio: Number


class Outlines(Part):
    """Outlines against readers' masks."""

    real: list[Band] = Field(default_factory=list)
    reconstructed: list[Band] = Field(default_factory=list)


class Measured(Part):
    """measured.json."""

    format: Literal[1]
    rule: str
    moved: list[str]
    dimensions_count: Count
    steps: Annotated[int, Field(ge=2, le=200)]
    seed: Count
    starts: Starts
    outlined: Share
    properties: dict[str, About]
    dimensions: list[Dimension]
    controls: dict[Literal["shuffled", "mixed"], Control]
    outlines: Outlines | None
    judged: list[str] = Field(default_factory=lambda: list(JUDGED))
    judge: Judge | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Measured:
        if self.moved != list(MOVED) or self.judged != list(JUDGED):
            raise ValueError("figures in another order")
        if [each.dimension for each in self.dimensions] != list(range(self.dimensions_count)):
            raise ValueError("dimensions that are not numbered from 0 to their count")
        for one in self.dimensions:
            if one.judged and not (self.judge and self.judge.has_judged(one.judged)):
                raise ValueError("a rating without what judged it")
            for key in one.moved:
                if key not in self.properties or not (self.properties[key].deviation or 0) > 0:
                    raise ValueError("a property without a deviation")
                same_shape(one.walk[key], 3, self.steps)
            if one.values is not None:
                same_shape([one.values], 1, self.steps)
        return self
