"""What a comparison of priors over seeds, made by benchmarks/seeds.py, must contain for the Factors page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from lungvae_core.evaluation.disentanglement.compare import FIGURE_WORDS, VARIANT_WORDS
from lungvae_core.schema import Count, Number, Part, read_as
from lungvae_core.vae.config import Prior
from lungvae_core.vae.latents import FAMILIES


def _of_words(name: str) -> str:
    variant, _, figure = name.partition("/")
    if variant not in VARIANT_WORDS or figure not in FIGURE_WORDS:
        raise ValueError("a figure without words")
    return name


Figure = Annotated[str, AfterValidator(_of_words)]  # variant/figure


class Spread(Part):
    """A figure over the seeds."""

    mean: Number
    sd: Number | None
    null: Number
    values: Annotated[list[Number], Field(min_length=1)]


class Nodules(Part):
    """What was judged."""

    nodules: Count


class Group(Part):
    """The models of a prior, in one space."""

    prior: Prior
    space: Literal["code", "log_ratio"]
    data: Nodules
    figures: dict[Figure, Spread]

    @model_validator(mode="after")
    def _of_its_prior(self) -> Self:
        if self.space == "log_ratio" and not FAMILIES[self.prior].simplex:
            raise ValueError(f"codes of a {FAMILIES[self.prior].label} prior have no log-ratios")
        return self


class Difference(Part):
    """GVAE less DirVAE in a figure, with its 95 % interval over seeds."""

    figure: Figure
    second: Annotated[list[str], Field(min_length=2, max_length=2)]
    difference: Number
    low: Number
    high: Number
    clear: bool
    won: Count
    of: Count


class Settings(Part):
    """What the models have in common."""

    width: Count
    dimensions: Count
    epochs: Count


class Patients(Part):
    """How many patients."""

    patients: Count


class Parts(Part):
    """Who was trained on, and who was judged."""

    train: Patients
    judged: Patients


class OverSeeds(Part):
    """docs/seeds.json."""

    format: Literal[1] = 1
    settings: Settings
    seeds: list[Count]
    data: Parts
    groups: list[Group]
    differences: list[Difference]
    comparisons: Count

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not any(group.figures for group in self.groups):
            raise ValueError("no figure at all")
        return self


def read_over_seeds(path: Path) -> dict[str, Any]:
    """Read a comparison over seeds; UserError if it is missing or damaged."""
    report: dict[str, Any] = read_as(
        path, OverSeeds, what="The comparison over seeds", again="python benchmarks/seeds.py", newest=1
    )
    return report
