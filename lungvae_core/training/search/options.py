"""The options of a search, besides its space. Light to import: the command line's help is made of it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class SearchOptions(BaseModel):
    """How a search proposes and judges; each setting is described here alone."""

    method: Literal["random", "tpe"] = Field(
        default="random",
        title="Method",
        description="random: as in the paper. tpe: proposes where earlier trials did well.",
    )
    halving: bool = Field(
        default=False,
        title="Successive halving",
        description="After a ninth and a third of the epochs only the best third of the trials goes on.",
    )
    min_epochs: int = Field(
        default=0,
        ge=0,
        title="Epochs before the first halving",
        description="Epochs of a trial before the first halving. 0: a ninth of all.",
    )
    trials: int = Field(
        default=30,
        ge=1,
        le=100_000,
        title="Trials",
        description="How many. A resumed search may get more.",
    )
    objective: str = Field(
        default="ssim",
        title="Chosen by",
        description="ssim, mse, elbo or auc; for MLPs auc or balanced_accuracy.",
    )
    folds: int = Field(
        default=1,
        ge=1,
        le=5,
        title="Validation folds",
        description="Of the patients that are not set aside, 1 to 5; every trial is trained once a fold.",
    )
    test_fraction: float = Field(
        default=0.15,
        gt=0,
        le=0.5,
        title="Patients set aside (share)",
        description="Share of patients that no trial sees, so that the winner can be judged on them once.",
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, title="Seed", description="Of proposals, splits and trainings."
    )
