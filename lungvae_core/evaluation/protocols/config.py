"""The settings of an evaluation. Light to import, since the command line's help is built from it."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lungvae_core.errors import UserError
from lungvae_core.evaluation.protocols.descriptions import PROTOCOLS
from lungvae_core.vae.config import LabelRule, Task

Protocol = Literal["nested", "frozen", "paper"]


class EvaluationConfig(BaseModel):
    """The settings of an evaluation; each is described only here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = Field(
        title="Preset",
        description="gvae, dirvae, or another preset (see `lungvae presets`), trained anew in every fold; "
        "gvae+dirvae averages the logits of both.",
    )
    protocol: Protocol = Field(
        default="nested",
        title="Protocol",
        description=" ".join(f"{name}: {PROTOCOLS[name].in_short}." for name in get_args(Protocol)),
    )
    task: Task = "mvb"
    label_rule: LabelRule = "median_high"
    folds: int = Field(default=5, ge=2, le=20, title="Folds", description="Outer folds, grouped by patient.")
    seed: int = Field(
        default=0, ge=0, title="First seed", description="Of the folds and the first of the trainings."
    )
    seeds: int = Field(
        default=1,
        ge=1,
        le=50,
        title="Seeds",
        description="Trainings a fold, whose logits are averaged; the report has each one's AUC. At least 5 "
        "before one model is called better than another.",
    )
    calibration_share: float = Field(
        default=0.15,
        gt=0,
        le=0.5,
        title="Calibration patients (share)",
        description="Of a fold's training patients; they settle threshold, calibration, nodule rule.",
    )
    nodule_rule: Literal["chosen", "mean", "max", "top3", "largest", "attention"] = Field(
        default="chosen",
        title="Nodule rule",
        description="From slices to a nodule: chosen (on calibration patients), mean, max, top3, largest or "
        "attention.",
    )
    changes: dict[str, object] = Field(
        default={}, title="Changed settings", description="Settings of the preset, by name."
    )
    quick: bool = Field(
        default=False,
        title="Quick",
        description="A small network and few epochs, minutes on two cores: to see that it runs. Not to be "
        "quoted.",
    )

    @property
    def resamples(self) -> int:
        """How often patients are drawn again for an interval."""
        return 200 if self.quick else 1000

    @property
    def all_seeds(self) -> list[int]:
        """The seeds of the trainings."""
        return [self.seed + number for number in range(self.seeds)]


def evaluation_of(**values: Any) -> EvaluationConfig:
    """The evaluation with these settings; UserError naming each bad one."""
    try:
        return EvaluationConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise UserError(f"This evaluation cannot be made: {problems}.") from error
