"""Settings as forms show them: title, description, range and step, from the configuration class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from lungvae_core.vae.config import PARTS, PRESETS, Config
from lungvae_core.vae.latents import FAMILIES

_PRESET_WORDS = {
    "gvae": "Gaussian latent space: every dimension is a direction to walk along.",
    "dirvae": "Dirichlet latent space: a slice is a mixture of parts that add up to one.",
    "gvae-guided": "Gaussian, its first dimensions guided by size, shape and the readers' ratings.",
    "dirvae-guided": "Dirichlet, its first components guided by size, shape and the readers' ratings.",
    "gvae-sharp": "Gaussian, as sharp as a slice: its fine texture is invented, not seen.",
    "paper-gvae": "The paper's best Gaussian model as released; needs a GPU.",
    "paper-dirvae": "The paper's best Dirichlet model as released, with its reversed KL; needs a GPU.",
}

MAIN, GUIDED, JOINT, DEVICE = "Main", "Guided dimensions", "Joint phase (labels)", "Device"
# Group: its settings, in the order in which they are shown. MAIN is shown at once, the other groups are
# collapsed.
GROUPS = {
    group: tuple(names.split())
    for group, names in {
        MAIN: "epochs batch_size learning_rate dimensions beta warmup_epochs hu_low hu_high prior_alpha "
        "validation_fraction seed",
        "Objective": "form l1 ssim ms_ssim mse bce focal_frequency feature adversarial focus mask_focus "
        "tissue",
        "Latent space": "warmup free_bits sampler alpha_floor alpha_scale reversed_kl",
        GUIDED: "guided guided_weight guided_slope guided_apart guided_layers guided_ratings guided_anchor",
        "Network and image": "network width linear_path linear_rank lesion_layer rating_dimensions "
        "rating_networks rating_density rating_gain spacing_mm",
        "Optimiser": "schedule weight_decay clip_norm pca_start ema on_nonfinite",
        "Augmentation": "flips quarter_turns rotate_degrees shift_px jitter_hu noise_hu",
        JOINT: "rounds round_epochs round_rate label_weight labels_of class_balanced task label_rule head "
        "soft_labels ratings_weight",
        DEVICE: "precision compile",
    }.items()
}
LEAK = (
    "With the labels of “released”, labels of held-out patients reach the encoder and their slices are "
    "trained on: every figure of such a run leaks, reconstruction and classification alike. It is there to "
    "repeat the paper, not to judge a model."
)
_CHOICE_WORDS = {
    ("labels_of", "released"): "released (leaks)",
    ("labels_of", "training"): "training patients",
}
_FIXED = {"prior"}  # the preset decides it
_SMALLEST = 1e-9  # stands for "above 0" in a form, whose ranges include their ends
# The step of the + button where the value is 0 and so gives no scale.
_STEPS = {
    "rotate_degrees": 5.0,
    "shift_px": 1.0,
    "jitter_hu": 10.0,
    "noise_hu": 5.0,
    "clip_norm": 1.0,
    "free_bits": 0.05,
    "weight_decay": 0.01,
}


@dataclass(frozen=True)
class Setting:
    """One setting as a form shows it."""

    name: str
    label: str
    help: str
    kind: Literal["whole", "real", "switch", "choice", "several"]
    default: Any  # the preset's value
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    group: str  # one of GROUPS; empty for a setting that is not on the Train page
    step: float  # of a number: the step of the + button

    @property
    def span(self) -> str:
        """The possible values, in words."""
        if self.kind == "switch":
            return "true, false"
        if self.kind in ("choice", "several"):
            return ", ".join(self.choices)
        low, high = self.minimum, self.maximum
        if low is not None and 0 < low <= _SMALLEST:
            return "above 0" if high is None else f"above 0, up to {high:g}"
        if low is None or high is None:
            return "any number" if low is None else f"{low:g} or more"
        return f"{low:.10g} to {high:.10g}"

    def choice_words(self, choice: str) -> str:
        """A choice as the form shows it."""
        return _CHOICE_WORDS.get((self.name, choice), choice)


def describe_preset(name: str) -> str:
    """A preset in one line."""
    config = PRESETS[name]
    size = f"{config.model.dimensions} dimensions, {config.training.epochs} epochs."
    return f"{_PRESET_WORDS.get(name, '')} {size}".strip()


def settings_of(config: Config) -> list[Setting]:
    """The settings that matter for a preset, group by group in the order of GROUPS."""
    hidden = _FIXED.union(*(family.settings for family in FAMILIES.values())) - config.model.family.settings
    settings = {
        name: _setting(name, field, getattr(getattr(config, part), name))
        for part, kind in PARTS.items()
        for name, field in kind.model_fields.items()
        if name not in hidden
    }
    return [settings[name] for names in GROUPS.values() for name in names if name in settings]


def setting_of(kind: type[BaseModel], name: str, default: Any = None) -> Setting:
    """One setting of any configuration; `default` replaces the configuration's default."""
    field = kind.model_fields[name]
    return _setting(name, field, field.default if default is None else default)


def devices() -> list[str]:
    """The devices that can train here: cpu and, before it, an accelerator if PyTorch finds one."""
    from lungvae_core.training.device import pick_device

    return list(dict.fromkeys([str(pick_device("auto")), "cpu"]))


def _setting(name: str, field: FieldInfo, value: Any) -> Setting:
    kind: Literal["whole", "real", "switch", "choice", "several"]
    choices: tuple[str, ...] = ()
    if get_origin(field.annotation) is tuple:
        kind, value = "several", list(value)
        choices = tuple(
            choice for each in get_args(get_args(field.annotation)[0]) for choice in get_args(each)
        )
    elif get_origin(field.annotation) is Literal:
        kind, choices = "choice", get_args(field.annotation)
    elif field.annotation is bool:
        kind = "switch"
    else:
        kind = "whole" if field.annotation is int else "real"
    limits = {"ge": None, "gt": None, "le": None, "lt": None}
    for rule in field.metadata:
        limits |= {key: getattr(rule, key) for key in limits if getattr(rule, key, None) is not None}
    minimum = limits["ge"] if limits["gt"] is None else limits["gt"] + _SMALLEST
    group = next((group for group, names in GROUPS.items() if name in names), "")
    step = _step(name, value) if kind in ("whole", "real") else 0.0
    title, description = field.title or name, field.description or ""
    return Setting(name, title, description, kind, value, minimum, limits["le"], choices, group, step)


def _step(name: str, value: float) -> float:
    """1 in the second digit of the preset's value, for whole numbers at least 1."""
    if isinstance(value, int):
        return 1.0
    if not value:
        return _STEPS.get(name, 0.1)
    return float(10.0 ** (math.floor(math.log10(abs(value))) - 1))
