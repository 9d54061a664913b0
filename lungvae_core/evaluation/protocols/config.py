"""An evaluation as it is asked for. Light to import: the command line's help is made of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lungvae_core.errors import UserError
from lungvae_core.vae.config import LabelRule, Task

Protocol = Literal["nested", "frozen", "paper"]
# What each protocol does: in short, where one is chosen, and in full, in reports.
IN_SHORT: dict[str, str] = {
    "nested": "everything is fitted inside the folds; the one to quote",
    "frozen": "a VAE without labels in each fold, and a classifier on its codes",
    "paper": "as released, which leaks and shows by how much",
}
IN_FULL: dict[str, str] = {
    "nested": "in each outer fold everything is fitted on its training patients alone: VAE, joint phase, "
    "classifier; threshold, calibration and nodule rule on training patients kept aside from that",
    "frozen": "in each outer fold a VAE without labels is trained on the pixels of its training patients "
    "alone, and a classifier on its codes; threshold, calibration and nodule rule on training patients kept "
    "aside from that",
    "paper": "LEAKS, as in the released code of arXiv 2311.15719: one VAE, whose joint phase sees the labels "
    "of a random 70 % of all patients; the classifier is then cross-validated over all patients, the "
    "threshold is the best on each test fold, and slices are counted as cases",
}


class EvaluationConfig(BaseModel):
    """An evaluation as it was asked for; each setting is described here alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str = Field(
        title="Preset",
        description="gvae, dirvae, or another preset (see `lungvae presets`), trained anew in every fold; "
        "gvae+dirvae averages the logits of both.",
    )
    protocol: Protocol = Field(
        default="nested",
        title="Protocol",
        description=" ".join(f"{name}: {does}." for name, does in IN_SHORT.items()),
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


def evaluation_of(**values: Any) -> EvaluationConfig:
    """The evaluation with these settings; UserError naming each bad one."""
    try:
        return EvaluationConfig.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise UserError(f"This evaluation cannot be made: {problems}.") from error
