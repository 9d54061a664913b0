"""The Train page's form: every setting of a preset with its words, unit and range, from the configuration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lungvae_core.vae.config import PARTS, PRESETS, Config

_PRESET_WORDS = {
    "gvae": "Gaussian latent space: every dimension is a direction to walk along.",
    "dirvae": "Dirichlet latent space: a slice is a mixture of parts that add up to one.",
    "gvae-guided": "Gaussian, its first dimensions guided by size, shape and the readers' ratings.",
    "dirvae-guided": "Dirichlet, its first components guided by size, shape and the readers' ratings.",
    "paper-gvae": "The paper's best Gaussian model as released; needs a GPU.",
    "paper-dirvae": "The paper's best Dirichlet model as released, with its reversed KL; needs a GPU.",
}

# name: (label with its unit, what it does).
_WORDS = {
    # model
    "network": ("Network", "lean: fast. released: the paper's own, larger."),
    "dimensions": ("Latent dimensions", "How many numbers describe a slice."),
    "width": ("Width (channels)", "Of the network's first stage."),
    "linear_path": (
        "Linear path",
        "A linear map beside the convolutions, both ways. Sharper; two more weights a pixel and dimension.",
    ),
    "linear_rank": ("Rank of the linear path", "Fewer weights than a full matrix. 0: full."),
    "hu_low": ("Black at (HU)", "The window's lower end; lower values are clipped to it."),
    "hu_high": ("White at (HU)", "The window's upper end; higher values are clipped to it."),
    "prior_alpha": ("Prior α (Dirichlet)", "Below 1: few parts a slice. 1: no preference. Above: many."),
    "alpha_floor": ("Least posterior α (Dirichlet)", "Smaller ones make the gradients explode."),
    "sampler": (
        "Sampler (Dirichlet)",
        "pathwise: draws from the Dirichlet itself. laplace: its approximation by a softmax of Gaussians, "
        "which needs no special gradient; another posterior, so not the same β.",
    ),
    "spacing_mm": (
        "Pixel spacing (mm)",
        "Slices are resampled to it, so that a lesion's size in pixels is its size in mm. 0: native pixels.",
    ),
    # objective
    "form": ("Kind of objective", "elbo: one β for both priors. released: the weights of the paper's code."),
    "l1": ("Weight of L1", "Mean absolute difference of pixels."),
    "ssim": ("Weight of 1 − SSIM", "Structural similarity."),
    "ms_ssim": ("Weight of 1 − MS-SSIM", "SSIM on five scales."),
    "mse": ("Weight of MSE", "Mean squared difference of pixels."),
    "bce": ("Weight of BCE", "Binary cross-entropy of pixels, 0..1 of the window: the continuous Bernoulli."),
    "focal_frequency": (
        "Weight of the focal frequency loss",
        "Squared differences of the images' spectra, of which those that are furthest off count most.",
    ),
    "feature": (
        "Weight of the feature loss",
        "How differently a small network sees slice and reconstruction. It learns first, from labels of the "
        "training patients alone, to tell malignant from benign.",
    ),
    "mask_focus": (
        "Focus on the lesion",
        "Pixels of L1, MSE and BCE count 1 + this inside the readers' mask.",
    ),
    "focus": ("Focus on the middle", "Pixels of L1, MSE and BCE count 1 + this in the crop's middle."),
    "beta": ("β, weight of the KL", "Higher: smoother, more separate dimensions; blurrier pictures."),
    "reversed_kl": ("Reversed KL", "KL(prior || posterior), as in the paper's code; then not an ELBO."),
    "warmup_epochs": ("Warm-up (epochs)", "β rises linearly from 0 over these; guards against collapse."),
    "warmup": (
        "Shape of the warm-up",
        "linear: one rise, then β holds. cyclical: rises over the warm-up, holds as long, begins again.",
    ),
    "free_bits": (
        "Free bits (nats a dimension)",
        "A dimension's KL costs nothing below this; guards against collapse. 0: every nat costs.",
    ),
    "guided": (
        "Guided by",
        "The first dimensions follow these, one each: measured in the readers' mask (diameter to "
        "elongation), or the readers' mean rating. Training patients' alone.",
    ),
    "guided_weight": (
        "Weight of the guides",
        "Nats of loss for a dimension that does not follow its guide at all.",
    ),
    "guided_slope": (
        "Slope of the guides",
        "Higher: values that lie closer together count as in order.",
    ),
    "guided_apart": (
        "Keep the others free of it",
        "Nats of loss where the other dimensions correlate with a guide by 1. 0: they may.",
    ),
    # training
    "epochs": ("Epochs", "How often every training slice is seen."),
    "batch_size": ("Batch size (slices)", "Slices a step. Larger ones need more memory."),
    "learning_rate": ("Learning rate", "Of AdamW, after a ramp over the first 100 steps."),
    "weight_decay": ("Weight decay", "Pull of the weights towards 0."),
    "schedule": ("Learning rate over time", "cosine: falls to 0 at the end."),
    "clip_norm": ("Limit of the gradient's norm", "Longer gradients are shortened to it. 0: none."),
    "on_nonfinite": (
        "Loss not finite",
        "stop: end with a sentence. halve: back to the last checkpoint at half the learning rate, "
        "8 times at most.",
    ),
    "flips": ("Random flips", "Mirror slices left-right and up-down at random."),
    "rotate_degrees": (
        "Random rotation (degrees)",
        "Up to this, either way. It smooths the slices a little.",
    ),
    "shift_px": ("Random shift (pixels)", "Up to this along each axis, either way."),
    "jitter_hu": ("Random offset (HU)", "One for the whole slice, up to this, either way."),
    "noise_hu": (
        "Random noise (HU)",
        "White noise whose standard deviation is drawn from 0 to this. A scanner's noise is not white.",
    ),
    "precision": (
        "Precision",
        "auto: bfloat16 where it is known to be faster on this device, else float32.",
    ),
    "compile": ("Compile the networks", "torch.compile; slow to begin with. auto: on CUDA only."),
    "pca_start": (
        "Start from principal components",
        "The linear path begins with a principal component analysis of the slices. Needs the linear path.",
    ),
    "ema": (
        "Running mean of the weights",
        "Its decay a step, as 0.999: the run keeps the mean of its newest weights. 0: the last ones.",
    ),
    "validation_fraction": (
        "Held-out patients (share)",
        "Patients whose slices are not trained on; the figures on this page are theirs.",
    ),
    "seed": ("Seed", "Of the split, the starting weights and the order of the slices."),
    # joint
    "rounds": (
        "Joint rounds",
        "After the epochs: fit a classifier on the codes, then train on with its loss added. 0: no labels.",
    ),
    "round_epochs": ("Epochs a round", "How long each round trains with its classifier fixed."),
    "round_rate": ("Rate in rounds (share)", "Of the learning rate above."),
    "label_weight": (
        "Weight of the labels",
        "Nats of loss for a nat of the classifier's cross-entropy, malignant against benign.",
    ),
    "labels_of": (
        "Labels of",
        "training: held-out patients' labels are never seen. released: a random 70 % of all patients, as in "
        "the paper's code; figures of such a run leak.",
    ),
    "class_balanced": ("Balance the classes", "Malignant and benign weigh alike, however many there are."),
    "task": ("Task", "mvb: malignant against benign. mvr: malignant against the rest."),
    "label_rule": (
        "Label rule",
        "Which lesions count as malignant: by the higher median or the mean of the readers' ratings, with at "
        "least three readers, or strictly (3.5 and above against 2.5 and below).",
    ),
    "head": (
        "Classifier",
        "fixed: stays in a round as it was fitted, as in the paper. trained: goes on learning with the VAE, "
        "and is the run's classifier afterwards.",
    ),
    "soft_labels": (
        "Learn from the readers' mean",
        "The mean malignancy of all readers is the label, so that indeterminate lesions teach as well.",
    ),
    "ratings_weight": (
        "Weight of the other ratings",
        "With a trained classifier: nats for telling the readers' other ratings and the diameter.",
    ),
}
MAIN, GUIDED, JOINT, DEVICE = "Main", "Guided dimensions", "Joint phase (labels)", "Device"
# Group: its settings, in the order in which they are shown. Those of MAIN are shown at once, the other groups
# are folded away.
GROUPS = {
    MAIN: (
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
    ),
    "Objective": (
        "form",
        "l1",
        "ssim",
        "ms_ssim",
        "mse",
        "bce",
        "focal_frequency",
        "feature",
        "focus",
        "mask_focus",
    ),
    "Latent space": ("warmup", "free_bits", "sampler", "alpha_floor", "reversed_kl"),
    GUIDED: ("guided", "guided_weight", "guided_slope", "guided_apart"),
    "Network and image": ("network", "width", "linear_path", "linear_rank", "spacing_mm"),
    "Optimiser": ("schedule", "weight_decay", "clip_norm", "pca_start", "ema", "on_nonfinite"),
    "Augmentation": ("flips", "rotate_degrees", "shift_px", "jitter_hu", "noise_hu"),
    JOINT: (
        "rounds",
        "round_epochs",
        "round_rate",
        "label_weight",
        "labels_of",
        "class_balanced",
        "task",
        "label_rule",
        "head",
        "soft_labels",
        "ratings_weight",
    ),
    DEVICE: ("precision", "compile"),
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
_DIRICHLET_ONLY = {"prior_alpha", "alpha_floor", "reversed_kl", "sampler"}
_FIXED = {"prior"}  # the preset decides it
_SMALLEST = 1e-9  # stands for "above 0" in a form, whose ranges include their ends
# How far a press on + goes where the value is 0 and so says nothing of its scale.
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
    group: str  # one of GROUPS
    step: float  # of a number, how far a press on + goes

    def choice_words(self, choice: str) -> str:
        """A choice as the form shows it."""
        return _CHOICE_WORDS.get((self.name, choice), choice)


def describe_preset(name: str) -> str:
    """A preset in a line."""
    config = PRESETS[name]
    size = f"{config.model.dimensions} dimensions, {config.training.epochs} epochs."
    return f"{_PRESET_WORDS.get(name, '')} {size}".strip()


def settings_of(config: Config) -> list[Setting]:
    """The settings that matter for a preset, group by group in the order of GROUPS."""
    found = {}
    for part in (getattr(config, name) for name in PARTS):
        for name, field in type(part).model_fields.items():
            if name in _FIXED or (name in _DIRICHLET_ONLY and config.model.prior != "dirichlet"):
                continue
            found[name] = _setting(name, field, getattr(part, name))
    return [found[name] for names in GROUPS.values() for name in names if name in found]


def devices() -> list[str]:
    """What can train here: cpu, and an accelerator that PyTorch finds, which then comes first."""
    from lungvae_core.training.device import pick_device

    return list(dict.fromkeys([str(pick_device("auto")), "cpu"]))


def _setting(name: str, field: FieldInfo, value: Any) -> Setting:
    label, words = _WORDS[name]
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
    group = next(group for group, names in GROUPS.items() if name in names)
    step = _step(name, value) if kind in ("whole", "real") else 0.0
    return Setting(name, label, words, kind, value, minimum, limits["le"], choices, group, step)


def _step(name: str, value: float) -> float:
    """1 in the second digit of the preset's value, for whole numbers at least 1."""
    if isinstance(value, int):
        return 1.0
    if not value:
        return _STEPS.get(name, 0.1)
    return float(10.0 ** (math.floor(math.log10(abs(value))) - 1))
