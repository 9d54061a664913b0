"""The Train page's form: every setting of a preset with its words, unit and range, from the configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lungvae_core.vae.config import PRESETS, Config

_PRESET_WORDS = {
    "gvae": "Gaussian latent space: every dimension is a direction to walk along.",
    "dirvae": "Dirichlet latent space: a slice is a mixture of parts that add up to one.",
    "paper-gvae": "The paper's best Gaussian model as released; needs a GPU.",
    "paper-dirvae": "The paper's best Dirichlet model as released, with its reversed KL; needs a GPU.",
}

# name: (label, what it does). Those in MAIN are shown at once, in this order; the others are folded away.
_WORDS = {
    "epochs": ("Epochs", "How often every training slice is seen."),
    "batch_size": ("Batch size (slices)", "Slices a step. Larger ones need more memory."),
    "learning_rate": ("Learning rate", "Of AdamW, after a ramp over the first 100 steps."),
    "dimensions": ("Latent dimensions", "How many numbers describe a slice."),
    "beta": ("β, weight of the KL", "Higher: smoother, more separate dimensions; blurrier pictures."),
    "warmup_epochs": ("Warm-up (epochs)", "β rises linearly from 0 over these; guards against collapse."),
    "hu_low": ("Black at (HU)", "The window's lower end; lower values are clipped to it."),
    "hu_high": ("White at (HU)", "The window's upper end; higher values are clipped to it."),
    "prior_alpha": ("Prior α (Dirichlet)", "Below 1: few parts a slice. 1: no preference. Above: many."),
    "validation_fraction": (
        "Held-out patients (share)",
        "Patients whose slices are not trained on; the figures on this page are theirs.",
    ),
    "seed": ("Seed", "Of the split, the starting weights and the order of the slices."),
    "network": ("Network", "lean: fast. released: the paper's own, larger."),
    "width": ("Width (channels)", "Of the network's first stage."),
    "alpha_floor": ("Least posterior α (Dirichlet)", "Smaller ones make the gradients explode."),
    "form": ("Objective", "elbo: one β for both priors. released: the weights of the paper's code."),
    "l1": ("Weight of L1", "Mean absolute difference of pixels."),
    "ssim": ("Weight of 1 − SSIM", "Structural similarity."),
    "ms_ssim": ("Weight of 1 − MS-SSIM", "SSIM on five scales."),
    "mse": ("Weight of MSE", "Mean squared difference of pixels."),
    "focus": ("Focus on the middle", "Pixels of L1 and MSE count 1 + this in the crop's middle."),
    "reversed_kl": ("Reversed KL", "KL(prior || posterior), as in the paper's code; then not an ELBO."),
    "weight_decay": ("Weight decay", "Pull of the weights towards 0."),
    "schedule": ("Learning rate over time", "cosine: falls to 0 at the end."),
    "clip_norm": ("Limit of the gradient's norm", "0: none."),
    "flips": ("Random flips", "Mirror slices left-right and up-down at random."),
    "precision": ("Precision", "bfloat16: faster on recent hardware."),
}
MAIN = (
    "epochs",
    "batch_size",
    "learning_rate",
    "dimensions",
    "beta",
    "warmup_epochs",
    "hu_low",
    "hu_high",
    "prior_alpha",
    "validation_fraction",
    "seed",
)
_DIRICHLET_ONLY = {"prior_alpha", "alpha_floor", "reversed_kl"}
_FIXED = {"prior"}  # the preset decides it
_SMALLEST = 1e-9  # stands for "above 0" in a form, whose ranges include their ends


@dataclass(frozen=True)
class Setting:
    """One setting as a form shows it."""

    name: str
    label: str
    help: str
    kind: Literal["whole", "real", "switch", "choice"]
    default: Any  # the preset's value
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    main: bool  # shown at once, not folded away


def describe_preset(name: str) -> str:
    """A preset in a line."""
    config = PRESETS[name]
    size = f"{config.model.dimensions} dimensions, {config.training.epochs} epochs."
    return f"{_PRESET_WORDS.get(name, '')} {size}".strip()


def settings_of(config: Config) -> list[Setting]:
    """The settings that matter for a preset: the main ones first, then the others."""
    found = []
    for part in (config.model, config.objective, config.training):
        for name, field in type(part).model_fields.items():
            if name in _FIXED or (name in _DIRICHLET_ONLY and config.model.prior != "dirichlet"):
                continue
            found.append(_setting(name, field, getattr(part, name)))
    return sorted(found, key=lambda setting: MAIN.index(setting.name) if setting.main else len(MAIN))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def devices() -> list[str]:
    """What can train here: cpu, and an accelerator that PyTorch finds, which then comes first."""
    from lungvae_core.training.device import pick_device

    return list(dict.fromkeys([str(pick_device("auto")), "cpu"]))


def _setting(name: str, field: FieldInfo, value: Any) -> Setting:
    label, words = _WORDS.get(name, (name, ""))
    kind: Literal["whole", "real", "switch", "choice"]
    choices: tuple[str, ...] = ()
    if get_origin(field.annotation) is Literal:
        kind, choices = "choice", get_args(field.annotation)
    elif field.annotation is bool:
        kind = "switch"
    else:
        kind = "whole" if field.annotation is int else "real"
    limits = {"ge": None, "gt": None, "le": None, "lt": None}
    for rule in field.metadata:
        limits |= {key: getattr(rule, key) for key in limits if getattr(rule, key, None) is not None}
    minimum = limits["ge"] if limits["gt"] is None else limits["gt"] + _SMALLEST
    return Setting(name, label, words, kind, value, minimum, limits["le"], choices, name in MAIN)
