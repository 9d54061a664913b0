"""What a search may change and within which bounds: the paper's published ranges, and ours.

`paper-gvae`, `paper-dirvae` and `paper-mlp` are those of the code released with arXiv 2311.15719
(RandomSearchVAE.py, RandomSearch_Dirichlet_VAE.py, RandomSearchMLP.py), every value of every list, except:

- its linear annealing subtracts up to one from the scaled KL; this project has no such term;
- the DirVAE's released list is a narrowed one beside a wider one in a comment; the space here is both
  together, and the prior alpha of the paper's best DirVAE, 0.95, which neither list has, is added;
- dimensions = base x latent are capped at 4,096;
- the MLP's early stopping and reduced rates on a plateau are this project's one-cycle schedule instead.

The spaces `gvae`, `dirvae` and `mlp` surround our own presets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lungvae_core.errors import UserError
from lungvae_core.training.classifier import ClassifierConfig
from lungvae_core.vae.config import PARTS, Config, override, preset

Value = bool | int | float | str
LOG_FROM = 10  # a range whose ends are this many times apart is searched on a logarithmic scale
MOST_DIMENSIONS = 4096
# Rungs, splits and the comparison of trials depend on these; they can be fixed, but not searched.
UNSEARCHED = (
    "epochs",
    "rounds",
    "round_epochs",
    "validation_fraction",
    "seed",
    "prior",
    "labels_of",
    "guided",
)


class Parameter(BaseModel):
    """The values of one setting: one of `choices`, or a number from `low` to `high`, inclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    choices: tuple[Value, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False

    @property
    def log(self) -> bool:
        """Whether a range is searched on a logarithmic scale."""
        return self.low > 0 and self.high / self.low >= LOG_FROM

    @property
    def corners(self) -> tuple[Value, ...]:
        """The choices, or both ends of the range."""
        return self.choices or tuple(round(end) if self.whole else end for end in (self.low, self.high))

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(str(value) for value in self.choices)
        return f"{self.low:g} to {self.high:g}" + (", logarithmic" if self.log else "")


def one_of(*choices: Value) -> Parameter:
    return Parameter(choices=choices)


def between(low: float, high: float, *, whole: bool = False) -> Parameter:
    return Parameter(low=low, high=high, whole=whole)


@dataclass(frozen=True)
class Space:
    """A named set of parameters around a preset, or around an MLP on codes where `preset` is empty."""

    name: str
    preset: str
    parameters: Mapping[str, Parameter]

    @property
    def of_codes(self) -> bool:
        """Whether it is of the MLP on a finished run's codes."""
        return not self.preset


# A parameter that is no setting of its own, and the settings that it decides.
DECIDES = {
    "latent": ("dimensions",),
    "alpha": ("l1", "ssim", "ms_ssim"),
    "similarity": ("l1", "ssim", "ms_ssim"),
    "ssim_times": ("l1", "ssim", "ms_ssim"),
    "sizes": ("hidden",),
    "depth": ("hidden",),
}

_LEAN = {
    "learning_rate": between(3e-4, 5e-3),
    "beta": between(0.001, 0.3),
    "dimensions": one_of(32, 64, 128, 256),
    "mse": between(2, 30),
    "ssim": between(0, 1),
    "focus": between(0, 8),
    "warmup_epochs": between(0, 6, whole=True),
    "free_bits": one_of(0.0, 0.01, 0.03, 0.1),
    "batch_size": one_of(32, 64, 128),
    "flips": one_of(True, False),
    "quarter_turns": one_of(True, False),
    "rotate_degrees": one_of(0.0, 15.0, 180.0),
    "shift_px": one_of(0.0, 2.0, 4.0),
    "jitter_hu": one_of(0.0, 25.0, 50.0),
    "noise_hu": one_of(0.0, 25.0, 50.0),
}
_PAPER_GVAE = {
    "hu_high": one_of(300, 400, 500, 600),
    "hu_low": one_of(-1000, -800, -700, -500),
    "width": one_of(32, 64, 128),
    "latent": one_of(4, 8, 16, 32, 64),
    "similarity": one_of("none", "ssim", "ms_ssim"),
    "alpha": one_of(0.15, 0.2, 0.3, 0.5, 0.7, 0.8, 0.85),
    "ssim_times": one_of("1", "batch"),
    "beta": one_of(0.5, 0.8, 1, 1.5, 2, 5, 10, 20, 30, 50, 100, 250),
    "learning_rate": one_of(1e-7, 1e-6, 1e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    "batch_size": one_of(64, 128, 256, 512),
}
SPACES = {
    space.name: space
    for space in (
        Space("gvae", "gvae", _LEAN),
        Space("dirvae", "dirvae", {**_LEAN, "prior_alpha": one_of(0.1, 0.3, 0.6, 0.95, 3.0)}),
        Space("paper-gvae", "paper-gvae", _PAPER_GVAE),
        Space(
            "paper-dirvae",
            "paper-dirvae",
            {
                **_PAPER_GVAE,
                "width": one_of(18, 32, 64, 128),
                "learning_rate": one_of(*_PAPER_GVAE["learning_rate"].choices, 5e-3),
                "prior_alpha": one_of(0.6, 0.9, 0.95, 0.99, 3.0),
            },
        ),
        Space(
            "mlp",
            "",
            {
                "sizes": one_of("64-32-16", "128-64-32", "256-64-32", "256-128-64", "512-256-128"),
                "depth": one_of(3, 4),
                "dropout": between(0.1, 0.6),
                "learning_rate": between(1e-4, 1e-2),
                "weight_decay": between(1e-4, 1e-1),
                "batch_size": one_of(64, 128, 256),
                "class_balanced": one_of(True, False),
            },
        ),
        Space(
            "paper-mlp",
            "",
            {
                "sizes": one_of(
                    *("2048-2048-1024", "2048-1024-512", "2048-1024-256", "2048-512-512", "2048-512-256"),
                    *("2048-512-128", "1024-1024-512", "1024-1024-256", "1024-512-512", "1024-512-256"),
                    *("1024-256-256", "512-512-256", "512-256-256"),
                ),
                "depth": one_of(3, 4),  # hidden layers; with 4 the second size comes twice
                "dropout": one_of(0.2, 0.25, 0.4, 0.5, 0.55),
                "learning_rate": one_of(1e-6, 1e-5, 5e-5),
                "batch_size": one_of(32, 64, 128, 256, 512),
            },
        ),
    )
}
_PAPER_MLP_BASE = {"epochs": 300, "weight_decay": 1e-4}
# The paper's thresholds of the MLP's score; the best is found on the validation folds.
THRESHOLDS = (0.4, 0.45, 0.5, 0.55, 0.6)


def space(name: str) -> Space:
    """The space of that name; UserError naming the choices when there is none."""
    if name not in SPACES:
        raise UserError(f"There is no search space {name!r}. Choose one of: {', '.join(SPACES)}.")
    return SPACES[name]


def narrowed(
    base: Space,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    choices: Mapping[str, tuple[Value, ...]] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> dict[str, Parameter]:
    """The parameters of `base` with some given other bounds or choices, or taken out because they are fixed.

    A setting that `base` does not have is added. Raises UserError for names that are no settings, for
    values that the configuration refuses, and for settings that a search must not change.
    """
    ranges, choices, fixed = ranges or {}, choices or {}, fixed or {}
    _check_names(base, ranges, choices, fixed)
    parameters = {name: parameter for name, parameter in base.parameters.items() if name not in fixed}
    for name, (low, high) in ranges.items():
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"--range {name}={low:g}..{high:g} is not a range; its first end must be lower.")
        parameters[name] = between(low, high, whole=_is_whole(base, name))
    for name, values in choices.items():
        if not values:
            raise UserError(f"--choices {name}= has no value; write them with commas between.")
        parameters[name] = one_of(*dict.fromkeys(values))
    if not parameters:
        raise UserError("Nothing is left to search: every setting of the space is fixed.")
    first = {name: parameter.corners[0] for name, parameter in parameters.items()}
    for name in [*ranges, *choices]:
        for value in parameters[name].corners:
            _check_value(base, {**first, name: value}, fixed, name)
    _check_value(base, first, fixed, "--set")
    return parameters


def _check_names(base: Space, ranges: Iterable[str], choices: Iterable[str], fixed: Iterable[str]) -> None:
    """UserError for what is no setting, follows from another, is given twice, or must not be searched."""
    names = [key for part in PARTS.values() for key in part.model_fields]
    names += [key for key in base.parameters if key not in names]
    if base.of_codes:
        names = [*(key for key in ClassifierConfig.model_fields if key != "hidden"), "sizes", "depth"]
    for name in [*ranges, *choices, *fixed]:
        if name not in names and name != "hidden":
            raise UserError(f"There is no setting {name!r} to search. The settings are: {', '.join(names)}.")
        for parameter in base.parameters:
            if name in DECIDES.get(parameter, ()):
                raise UserError(
                    f"{name} cannot be set by itself: in the space {base.name} it follows from {parameter}. "
                    f"Set or narrow {parameter} instead."
                )
    if several := (set(ranges) & set(choices)) | ((set(ranges) | set(choices)) & set(fixed)):
        raise UserError(f"{sorted(several)[0]} is given twice; use one of --range, --choices and --set.")
    for name in [*ranges, *choices]:
        if name in UNSEARCHED:
            raise UserError(f"{name} cannot be searched; fix it with --set {name}=VALUE.")


def settings(base: Space, drawn: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """The settings by name, as `lungvae train --set` takes them, of drawn parameters and fixed ones."""
    drawn = {**drawn, **fixed}
    changes = {name: value for name, value in drawn.items() if name not in DECIDES}
    if base.of_codes:
        if {"sizes", "depth"} & drawn.keys():
            changes["hidden"] = _hidden(str(drawn.get("sizes", "128-64-32")), int(drawn.get("depth", 3)))
        return changes
    config = preset(base.preset)
    if "latent" in drawn:
        width = int(drawn.get("width", config.model.width))
        changes["dimensions"] = min(width * int(drawn["latent"]), MOST_DIMENSIONS)
    if {"alpha", "similarity", "ssim_times"} & drawn.keys():
        alpha, kind = float(drawn.get("alpha", 0.5)), drawn.get("similarity", "ssim")
        batch = int(drawn.get("batch_size", config.training.batch_size))
        times = batch if str(drawn.get("ssim_times", "1")) == "batch" else 1
        weight = 0.0 if kind == "none" else (1 - alpha) * times
        changes["l1"] = 1.0 if kind == "none" else alpha
        changes["ssim"] = weight if kind == "ssim" else 0.0
        changes["ms_ssim"] = weight if kind == "ms_ssim" else 0.0
    return changes


def configure(base: Space, changes: Mapping[str, Any]) -> Config:
    """The configuration of a trial of a VAE's space; UserError for a bad setting."""
    return override(preset(base.preset), dict(changes))


def configure_mlp(base: Space, changes: Mapping[str, Any]) -> ClassifierConfig:
    """The configuration of a trial of an MLP's space; UserError for a bad setting."""
    start = _PAPER_MLP_BASE if base.name == "paper-mlp" else {}
    try:
        return ClassifierConfig.model_validate({**start, **changes})
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(str(part) for part in item["loc"])
        raise UserError(f"The classifier's setting {where} is not valid: {item['msg']}.") from error


def _hidden(sizes: str, depth: int) -> tuple[int, ...]:
    """Sizes of the hidden layers; of four layers the second and third are alike, as in the paper's code."""
    try:
        first, second, third = (int(size) for size in sizes.split("-"))
    except ValueError as error:
        raise UserError(f"sizes is {sizes!r}; write three numbers, as 512-256-128.") from error
    if depth not in (3, 4):
        raise UserError(f"depth is {depth}; choose 3 or 4 hidden layers.")
    return (first, second, third) if depth == 3 else (first, second, second, third)


def _is_whole(base: Space, name: str) -> bool:
    """Whether a setting is a whole number; UserError when it is no number."""
    if (parameter := base.parameters.get(name)) is not None:
        kinds: set[Any] = {type(value) for value in parameter.corners}
    else:
        parts: Iterable[type[BaseModel]] = [ClassifierConfig] if base.of_codes else PARTS.values()
        kinds = next({part.model_fields[name].annotation} for part in parts if name in part.model_fields)
    if not kinds <= {int, float}:
        raise UserError(f"{name} is not a number: give its --choices instead of a --range.")
    return kinds == {int}


def _check_value(base: Space, drawn: Mapping[str, Any], fixed: Mapping[str, Any], name: str) -> None:
    parameter = base.parameters.get(name)
    if name in ("similarity", "ssim_times") and parameter and drawn[name] not in parameter.choices:
        raise UserError(f"{name} is {drawn[name]!r}; choose from {parameter}.")
    try:
        changes = settings(base, drawn, fixed)
    except (TypeError, ValueError) as error:
        raise UserError(f"A value of {name} is not of the right kind: {error}.") from error
    if base.of_codes:
        configure_mlp(base, changes)
        return
    config = configure(base, changes)
    if config.labels_leak:
        raise UserError("A search must not see labels of its validation patients: leave labels_of=training.")
