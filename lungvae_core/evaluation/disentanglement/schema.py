"""What disentanglement.json must contain for the Factors page and the comparison over seeds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lungvae_core.evaluation.disentanglement.scores import WORDS
from lungvae_core.schema import Count, Estimate, Interval, Number, Part, same_shape
from lungvae_core.vae.config import Prior

_Matrix = list[list[Number]]


class Null(Part):
    """The same with patients shuffled."""

    mean: Number
    high: Number


class Figure(Interval):
    """A figure beside its null."""

    null: Null | None


class Probe(Part):
    """How well a factor is predicted from all dimensions."""

    measure: Literal["r2", "auc"]
    linear: Figure
    boosted: Figure


class NullInformation(Part):
    """The largest information of any dimension with patients shuffled, of F factors."""

    high: list[Number]


class Assessed(Part):
    """Scores, probes and matrices of K dimensions by F factors."""

    factors: Annotated[list[str], Field(min_length=1)]
    scores: dict[str, Figure]
    probes: dict[str, Probe]
    entropy: list[Number]
    information: Annotated[_Matrix, Field(min_length=1)]
    information_null: NullInformation
    spearman: _Matrix
    importance: _Matrix
    size_alone: dict[str, Number] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Assessed:
        if not WORDS.keys() <= self.scores.keys():
            raise ValueError("not every score")
        for matrix in (self.information, self.spearman, self.importance):
            same_shape(matrix, len(self.information), len(self.factors))
        same_shape([self.entropy, self.information_null.high], 2, len(self.factors))
        return self


class Sizes(Part):
    """How many phantom slices."""

    free: Count


class Phantom(Part):
    """The same for generated slices, whose factors are given."""

    what: str
    sizes: Sizes
    moved: dict[Literal["factor_vae", "beta_vae"], Figure]
    free: Assessed


class Predicted(Part):
    """How near a predictor comes to the readers' mean."""

    within_one: Estimate
    mae: Estimate


class Attributes(Part):
    """Each rating from the code, beside other predictors."""

    tested: str
    note: str
    predictors: dict[str, str]
    ratings: dict[str, dict[str, Predicted | Count | None]]  # by predictor, and how many nodules

    @model_validator(mode="after")
    def _by_all(self) -> Attributes:
        for each in self.ratings.values():
            if any(isinstance(each.get(name, 0), int) for name in self.predictors):
                raise ValueError("a rating that not every predictor is judged by")
        return self


class ModelEntry(Part):
    """What decides which runs are alike."""

    dimensions: Count
    width: Count
    epochs: Count
    seed: Count


class DataEntry(Part):
    """What was assessed."""

    name: str
    content_hash: str
    nodules: Count
    patients: Count


class Effort(Part):
    """How much was drawn."""

    draws: Count
    refits: Count
    bins: Count
    folds: Count


class Disentanglement(Part):
    """disentanglement.json."""

    format: Literal[1]
    title: str
    prior: Prior
    model: ModelEntry
    data: DataEntry
    seen: str
    seed: Count
    effort: Effort
    spaces: dict[
        Literal["code", "log_ratio"],
        Annotated[dict[Literal["raw", "without_size"], Assessed], Field(min_length=1)],
    ]
    phantom: Phantom | None
    attributes: Attributes | None = None  # older reports have none

    @model_validator(mode="after")
    def _has_codes(self) -> Disentanglement:
        if "code" not in self.spaces:
            raise ValueError("nothing of the codes themselves")
        return self
