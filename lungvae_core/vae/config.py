"""Frozen configurations of a model and its training, with presets by name; unknown keys are errors.

Each setting is described only here, by its title, description and bounds, from which forms, the help of
commands and the tables of docs/training.md are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from lungvae_core.errors import UserError
from lungvae_core.schema import Share

if TYPE_CHECKING:
    from lungvae_core.vae.latents import Latent

# What a latent dimension can be guided by: measured in image and mask, and the readers' ratings.
Measured = Literal["diameter", "density", "edge", "elongation"]
Rated = Literal[
    "lobulation", "spiculation", "calcification", "texture", "malignancy", "margin", "sphericity", "subtlety"
]
# Which classes to distinguish, and what counts as malignant; see `lungvae_core.data.labels`.
Task = Annotated[
    Literal["mvb", "mvr"],
    Field(title="Task", description="mvb: malignant against benign. mvr: malignant against the rest."),
]
LabelRule = Annotated[
    Literal["median_high", "mean", "three_readers", "strict"],
    Field(
        title="Label rule",
        description="Which lesions count as malignant: by the higher median (median_high) or the mean of the "
        "readers' ratings, with at least three readers (three_readers), or strictly (strict: 3.5 and above "
        "against 2.5 and below).",
    ),
]


def _shipped_or_registered(value: Any, check_shipped: ValidatorFunctionWrapHandler) -> Any:
    try:
        return check_shipped(value)
    except ValidationError:
        from lungvae_core.vae.latents import FAMILIES  # here, since it takes PyTorch

        if isinstance(value, str) and value in FAMILIES:
            return value
        raise


# The name of a latent family in `lungvae_core.vae.latents.FAMILIES`; those that ship are listed.
Prior = Annotated[
    Literal["gaussian", "dirichlet"], WrapValidator(_shipped_or_registered), PlainSerializer(str)
]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_Part = TypeVar("_Part", bound=_Frozen)


def _setting(title: str, description: str, **default_and_bounds: Any) -> Any:
    """A field with its title and description, and its default and bounds as in `pydantic.Field`."""
    return Field(title=title, description=description, **default_and_bounds)


class ModelConfig(_Frozen):
    """The network and the image window that it expects."""

    prior: Prior = _setting(
        "Prior",
        "Of the latent space. gaussian: every dimension is a direction. dirichlet: a slice is a mixture of "
        "parts that add up to one.",
    )
    network: Literal["lean", "released"] = _setting(
        "Network", "lean: fast. released: the paper's own, larger."
    )
    dimensions: int = _setting("Latent dimensions", "How many numbers describe a slice.", ge=2, le=4096)
    width: int = _setting(
        "Width (channels)", "Of the network's first stage; the paper's “base”.", ge=4, le=256
    )
    linear_path: bool = _setting(
        "Linear path",
        "A linear map beside the convolutions, both ways: pixels to raw latents, code to the pixels' logits. "
        "Sharper; two more weights a pixel and dimension.",
        default=False,
    )
    linear_rank: int = _setting(
        "Rank of the linear path", "Fewer weights than a full matrix. 0: full.", default=0, ge=0, le=4096
    )
    lesion_layer: bool = _setting(
        "Lesion apart",
        "The decoder draws background, lesion and the lesion's share of each pixel apart, and the guides "
        "diameter, density, edge and elongation change the lesion by geometry. Needs these four as the first "
        "guides, the lean network and the linear path.",
        default=False,
    )
    rating_dimensions: int = _setting(
        "Ratings by a separate network",
        "So many dimensions after the first four are ratings, which a separate network predicts from the "
        "slice. It learns first, from the ratings of the training patients. Needs the lesion layer.",
        default=0,
        ge=0,
        le=len(get_args(Rated)),
    )
    rating_networks: int = _setting(
        "Networks for the ratings",
        "So many networks predict the ratings, trained from different starting weights. The code has their "
        "mean, and every step along a rating has to convince one of them, chosen at random.",
        default=1,
        ge=1,
        le=8,
    )
    rating_gain: float = _setting(
        "Gain of the ratings",
        "The decoder reads the ratings' coordinates times this. Higher: it learns their steps sooner. Needs "
        "the ratings' separate network.",
        default=1.0,
        ge=1,
        le=16,
    )
    rating_density: float = _setting(
        "Density by ratings",
        "By how many standard deviations of density one of texture makes the lesion denser, and half as many "
        "for one of calcification, as readers see both in how dense it is. 0: its own guide alone. Needs "
        "the ratings' separate network.",
        default=0.0,
        ge=0,
        le=0.5,
    )
    hu_low: float = _setting(
        "Black at (HU)", "The window's lower end; lower values are clipped to it.", default=-1000.0
    )
    hu_high: float = _setting(
        "White at (HU)", "The window's upper end; higher values are clipped to it.", default=400.0
    )
    prior_alpha: float = _setting(
        "Prior α (Dirichlet)",
        "The symmetric prior's concentration. Below 1: few parts a slice. 1: no preference. Above: many.",
        default=0.6,
        gt=0,
        le=100,
    )
    alpha_floor: float = _setting(
        "Least posterior α (Dirichlet)",
        "Smaller ones make the gradients explode.",
        default=0.01,
        ge=1e-6,
        le=1,
    )
    alpha_scale: float = _setting(
        "Scale of the posterior α (Dirichlet)",
        "The encoder's output is multiplied by it. Higher: surer codes and sharper pictures, since large "
        "concentrations do not have to be learned step by step.",
        default=1.0,
        ge=1,
        le=10_000,
    )
    sampler: Literal["pathwise", "laplace"] = _setting(
        "Sampler (Dirichlet)",
        "pathwise: draws from the Dirichlet itself. laplace: its approximation by a softmax of Gaussians, "
        "which needs no special gradient; another posterior, so not the same β.",
        default="pathwise",
    )
    spacing_mm: float = _setting(
        "Pixel spacing (mm)",
        "Slices are resampled to it, so that a lesion's size in pixels is its size in mm. 0: native pixels.",
        default=0.0,
        ge=0,
        le=5,
    )

    @property
    def family(self) -> type[Latent]:
        """The latent family that the prior names."""
        from lungvae_core.vae.latents import FAMILIES

        return FAMILIES[self.prior]

    @property
    def guided_dimensions(self) -> int:
        """Of how many dimensions, the first ones, a decoder with a lesion layer reads coordinates."""
        return len(get_args(Measured)) + self.rating_dimensions if self.lesion_layer else 0

    @model_validator(mode="after")
    def _consistent(self) -> ModelConfig:
        if self.hu_low >= self.hu_high:
            raise ValueError("hu_low must be below hu_high")
        if self.lesion_layer and (self.network != "lean" or not self.linear_path):
            raise ValueError("lesion_layer needs network=lean and linear_path=true")
        if self.lesion_layer and self.dimensions <= len(get_args(Measured)):
            raise ValueError("lesion_layer needs more dimensions than the four of its geometry")
        if self.rating_dimensions and not self.lesion_layer:
            raise ValueError("rating_dimensions needs lesion_layer=true")
        if (self.rating_density or self.rating_gain != 1) and not self.rating_dimensions:
            raise ValueError("rating_density and rating_gain need rating_dimensions")
        if self.linear_rank and not self.linear_path:
            raise ValueError("linear_rank needs linear_path=true")
        if self.linear_rank >= self.dimensions:
            raise ValueError("linear_rank must be below dimensions, or 0 for a full matrix")
        return self


def _listed(value: Any) -> Any:
    """Also `diameter,density`, as on a command line."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


class ObjectiveConfig(_Frozen):
    """The weights of the training objective; see `lungvae_core.vae.objective`."""

    form: Literal["elbo", "released"] = _setting(
        "Kind of objective",
        "elbo: one β for both priors. released: the weights of the paper's code.",
        default="elbo",
    )
    l1: NonNegativeFloat = _setting("Weight of L1", "Mean absolute difference of pixels.", default=0.5)
    ssim: NonNegativeFloat = _setting("Weight of 1 − SSIM", "Structural similarity.", default=0.5)
    ms_ssim: NonNegativeFloat = _setting("Weight of 1 − MS-SSIM", "SSIM on five scales.", default=0.0)
    mse: NonNegativeFloat = _setting("Weight of MSE", "Mean squared difference of pixels.", default=0.0)
    bce: NonNegativeFloat = _setting(
        "Weight of BCE",
        "Binary cross-entropy of pixels, 0..1 of the window: the continuous Bernoulli.",
        default=0.0,
    )
    focal_frequency: NonNegativeFloat = _setting(
        "Weight of the focal frequency loss",
        "Squared differences of the images' spectra, of which those that are furthest off count most (arXiv "
        "2012.12821).",
        default=0.0,
    )
    feature: NonNegativeFloat = _setting(
        "Weight of the feature loss",
        "How differently a small network sees slice and reconstruction. It learns first, from labels of the "
        "training patients alone, to tell malignant from benign.",
        default=0.0,
    )
    adversarial: float = _setting(
        "Weight of the discriminator",
        "Of a network, trained beside the VAE, that tells slices from reconstructions. 1: it moves a pixel "
        "as much as the rest of the loss. Sharper, but the fine texture is invented. 0: none.",
        default=0.0,
        ge=0,
        le=10,
    )
    focus: NonNegativeFloat = _setting(
        "Focus on the middle", "Pixels of L1, MSE and BCE count 1 + this in the crop's middle.", default=0.0
    )
    mask_focus: NonNegativeFloat = _setting(
        "Focus on the lesion",
        "Pixels of L1, MSE and BCE count 1 + this inside the readers' mask.",
        default=0.0,
    )
    tissue: Share = _setting(
        "Share in the tissue window",
        "So much of the pixel and SSIM terms is taken in -500 to 400 HU, the window in which lesions are "
        "shown. Sharper there; a little less so in the lung.",
        default=0.0,
    )
    beta: NonNegativeFloat = _setting(
        "β, weight of the KL", "Higher: smoother, more separate dimensions; blurrier pictures.", default=1.0
    )
    reversed_kl: bool = _setting(
        "Reversed KL", "KL(prior || posterior), as in the paper's code; then not an ELBO.", default=False
    )
    warmup_epochs: NonNegativeFloat = _setting(
        "Warm-up (epochs)", "β rises linearly from 0 over these; guards against collapse.", default=0.0
    )
    warmup: Literal["linear", "cyclical"] = _setting(
        "Shape of the warm-up",
        "linear: one rise, then β holds. cyclical: rises over the warm-up, holds as long, begins again "
        "(arXiv 1903.10145).",
        default="linear",
    )
    free_bits: NonNegativeFloat = _setting(
        "Free bits (nats a dimension)",
        "A dimension's KL costs nothing below this; guards against collapse (arXiv 1606.04934). 0: every nat "
        "costs.",
        default=0.0,
    )
    # One dimension each, in this order; see `lungvae_core.training.guided`
    guided: Annotated[tuple[Measured | Rated, ...], BeforeValidator(_listed)] = _setting(
        "Guided by",
        "The first dimensions follow these, one each: measured in the readers' mask (diameter to "
        "elongation), or the readers' mean rating. Training patients' alone.",
        default=(),
    )
    guided_weight: NonNegativeFloat = _setting(
        "Weight of the guides",
        "Nats of loss for a dimension that does not follow its guide at all.",
        default=50.0,
    )
    guided_slope: float = _setting(
        "Slope of the guides",
        "Higher: values that lie closer together count as in order.",
        default=1.0,
        gt=0,
        le=100,
    )
    guided_apart: NonNegativeFloat = _setting(
        "Keep the others free of it",
        "Nats of loss where the other dimensions correlate with a guide by 1. 0: they may.",
        default=0.0,
    )
    guided_layers: NonNegativeFloat = _setting(
        "Weight of the outlines",
        "Of the mean absolute difference of the lesion's share of each pixel from the readers' outline, and "
        "of the background inside it from lung. With the lesion apart only.",
        default=0.0,
    )
    guided_ratings: NonNegativeFloat = _setting(
        "Weight of the readers' eye",
        "Nats of loss for steps along guides that are ratings in which a small network, which learns the "
        "ratings of the training slices first, sees no change, and for steps that multiply the fine detail "
        "by e. 0: no such network.",
        default=0.0,
    )
    guided_anchor: NonNegativeFloat = _setting(
        "Weight of the guides' values",
        "Nats of loss for a guided dimension that is a standard deviation off its value.",
        default=0.0,
    )

    @field_validator("guided")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("each guide can be named once")
        return value


class TrainingConfig(_Frozen):
    """How long and how fast to train, and on what."""

    epochs: int = _setting("Epochs", "How often every training slice is seen.", default=30, ge=1, le=10_000)
    batch_size: int = _setting(
        "Batch size (slices)", "Slices a step. Larger ones need more memory.", default=64, ge=1, le=65_536
    )
    learning_rate: float = _setting(
        "Learning rate", "Of AdamW, after a ramp over the first 100 steps.", default=1.5e-3, gt=0, le=1
    )
    weight_decay: Share = _setting("Weight decay", "Pull of the weights towards 0.", default=0.0)
    schedule: Literal["constant", "cosine"] = _setting(
        "Learning rate over time", "cosine: falls to 0 at the end.", default="cosine"
    )
    clip_norm: NonNegativeFloat = _setting(
        "Limit of the gradient's norm", "Longer gradients are shortened to it. 0: none.", default=0.0
    )
    on_nonfinite: Literal["stop", "halve"] = _setting(
        "Loss not finite",
        "stop: end with a sentence. halve: back to the last checkpoint at half the learning rate, 8 times at "
        "most.",
        default="stop",
    )
    flips: bool = _setting("Random flips", "Mirror slices left-right and up-down at random.", default=True)
    quarter_turns: bool = _setting(
        "Random quarter turns",
        "Turn slices by 0, 90, 180 or 270 degrees at random. Unlike other rotations, this does not smooth "
        "them.",
        default=False,
    )
    rotate_degrees: float = _setting(
        "Random rotation (degrees)",
        "Up to this, either way. It smooths the slices a little.",
        default=0.0,
        ge=0,
        le=180,
    )
    shift_px: float = _setting(
        "Random shift (pixels)", "Up to this along each axis, either way.", default=0.0, ge=0, le=16
    )
    jitter_hu: float = _setting(
        "Random offset (HU)", "One for the whole slice, up to this, either way.", default=0.0, ge=0, le=500
    )
    noise_hu: float = _setting(
        "Random noise (HU)",
        "White noise whose standard deviation is drawn from 0 to this. A scanner's noise is not white.",
        default=0.0,
        ge=0,
        le=500,
    )
    precision: Literal["auto", "float32", "bfloat16"] = _setting(
        "Precision",
        "auto: bfloat16 where it was measured to be faster on this device, else float32.",
        default="auto",
    )
    compile: Literal["auto", "on", "off"] = _setting(
        "Compile the networks", "torch.compile; slow to begin with. auto: on CUDA only.", default="auto"
    )
    pca_start: bool = _setting(
        "Start from principal components",
        "The linear path begins with a principal component analysis of the slices. Needs the linear path.",
        default=False,
    )
    ema: float = _setting(
        "Running mean of the weights",
        "Its decay a step, as 0.999: the run keeps the mean of its newest weights. 0: the last ones.",
        default=0.0,
        ge=0,
        le=0.99999,
    )
    validation_fraction: float = _setting(
        "Held-out patients (share)",
        "Patients whose slices are not trained on; the figures of a training are theirs.",
        default=0.15,
        gt=0,
        le=0.5,
    )
    seed: int = _setting(
        "Seed",
        "Of the split, the starting weights and the order of the slices.",
        default=0,
        ge=0,
        le=2**31 - 1,
    )


class JointConfig(_Frozen):
    """The joint ("EM") phase: the VAE trains on with a classifier's cross-entropy added to its loss.

    arXiv 2311.15719, section 3. A round is: fit a classifier on the codes, then train the VAE for
    `round_epochs` with the classifier fixed. The last classifier is fitted after the last round.
    """

    rounds: int = _setting(
        "Joint rounds",
        "After the epochs: fit a classifier on the codes, then train on with its loss added. 0: no labels.",
        default=0,
        ge=0,
        le=100,
    )
    round_epochs: int = _setting(
        "Epochs a round", "How long each round trains with its classifier fixed.", default=4, ge=1, le=10_000
    )
    round_rate: float = _setting(
        "Rate in rounds (share)", "Of the learning rate of the epochs before.", default=0.5, gt=0, le=1
    )
    label_weight: NonNegativeFloat = _setting(
        "Weight of the labels",
        "Nats of loss for a nat of the classifier's cross-entropy, malignant against benign.",
        default=20.0,
    )
    labels_of: Literal["training", "released"] = _setting(
        "Labels of",
        "training: held-out patients' labels are never seen. released: a random 70 % of all patients, as in "
        "the paper's code; figures of such a run leak.",
        default="training",
    )
    class_balanced: bool = _setting(
        "Balance the classes", "Malignant and benign weigh alike, however many there are.", default=False
    )
    task: Task = "mvb"
    label_rule: LabelRule = "median_high"
    head: Literal["fixed", "trained"] = _setting(
        "Classifier",
        "fixed: stays in a round as it was fitted, as in the paper. trained: goes on learning with the VAE, "
        "and is the run's classifier afterwards.",
        default="fixed",
    )
    soft_labels: bool = _setting(
        "Learn from the readers' mean",
        "The mean malignancy of all readers, 1..5 as 0..1, is the label whatever the task and label rule, so "
        "that indeterminate lesions teach as well.",
        default=False,
    )
    ratings_weight: NonNegativeFloat = _setting(
        "Weight of the other ratings",
        "With a trained classifier: nats for a squared deviation of the readers' other ratings and of the "
        "log diameter, all standardised, as it tells them from the code.",
        default=0.0,
    )

    @model_validator(mode="after")
    def _ratings(self) -> JointConfig:
        if self.ratings_weight and self.head != "trained":
            raise ValueError("ratings_weight needs head=trained")
        return self


class Config(_Frozen):
    """Everything that determines a run, except the data."""

    preset: str
    model: ModelConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    joint: JointConfig = JointConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        count, dimensions = len(self.objective.guided), self.model.dimensions
        if count >= dimensions:
            raise ValueError(f"guided names {count} of {dimensions} dimensions; at least one must be free")
        measured = get_args(Measured)
        if self.model.lesion_layer and self.objective.guided[: len(measured)] != measured:
            raise ValueError(
                f"lesion_layer needs guided to begin with {','.join(measured)}; name them first, or set "
                "lesion_layer=false"
            )
        ratings = self.objective.guided[len(measured) :]
        if self.model.rating_dimensions not in (0, len(ratings)) or (
            self.model.rating_dimensions and set(ratings) & set(measured)
        ):
            raise ValueError(
                f"rating_dimensions must be 0 or the {len(ratings)} guides that follow the first four"
            )
        if self.training.ema and self.joint.rounds and self.joint.head == "trained":
            raise ValueError("ema averages the VAE alone and needs head=fixed, or rounds=0")
        if self.training.pca_start and (not self.model.linear_path or self.model.linear_rank):
            raise ValueError("pca_start needs linear_path=true and linear_rank=0")
        return self

    @property
    def labels_shape_codes(self) -> bool:
        """Whether annotations of training patients shape the codes.

        Through a joint phase, guides, or the feature loss, whose network learned from labels.
        """
        return bool(self.joint.rounds) or self.labels_shape_first_phase

    @property
    def labels_shape_first_phase(self) -> bool:
        """Whether they shape the codes that the first phase ends with."""
        return bool(self.objective.guided or self.objective.feature)

    @property
    def labels_leak(self) -> bool:
        """Whether labels of held-out patients shape the codes, as in the paper's released joint phase."""
        return bool(self.joint.rounds) and self.joint.labels_of == "released"

    @property
    def epochs(self) -> int:
        """Epochs of the VAE in all: the first phase and every joint round."""
        return self.training.epochs + self.joint.rounds * self.joint.round_epochs


# Settings of dimensions that are ratings, without which they are at their defaults.
OF_RATINGS = ("rating_density", "rating_gain")
PARTS: dict[str, type[BaseModel]] = {
    "model": ModelConfig,
    "objective": ObjectiveConfig,
    "training": TrainingConfig,
    "joint": JointConfig,
}


def _changed(part: _Part, **changes: Any) -> _Part:
    """A copy of a part with some settings changed, checked like a new one."""
    return type(part).model_validate({**part.model_dump(), **changes})


# Found on LIDC-IDRI slices without the patients that the shipped models hold out; docs/training.md has what
# was tried. Small batches take more steps in the same time. Mirrors and quarter turns are the only changes of
# slices, since they smooth nothing.
_GAUSSIAN = ModelConfig(prior="gaussian", network="lean", dimensions=256, width=32, linear_path=True)
_DIRICHLET = _changed(_GAUSSIAN, prior="dirichlet", dimensions=192, prior_alpha=0.1, alpha_scale=100)
_OBJECTIVE = ObjectiveConfig(l1=0.0, mse=10, ssim=0.3, focus=1, tissue=0.5, beta=0.003, warmup_epochs=1)
_TRAINING = TrainingConfig(epochs=24, batch_size=32, learning_rate=1e-3, quarter_turns=True, pca_start=True)

# The first nine dimensions are tied to properties of lesions, from training patients' masks and ratings.
_LESION_APART = {"lesion_layer": True, "rating_dimensions": 5, "rating_networks": 3, "rating_density": 0.25}
_GUIDED_OBJECTIVE = _changed(
    _OBJECTIVE,
    guided=(*get_args(Measured), *get_args(Rated)[:5]),
    guided_weight=20,
    guided_anchor=10,
    guided_layers=1,
    guided_ratings=50,
)

# For evaluation with labels: slices in millimetres, at any rotation, and a head that learns with the VAE from
# all of the readers' ratings. No SSIM, which takes a third of a step's time on a CPU.
_JOINT_GAUSSIAN = ModelConfig(prior="gaussian", network="lean", dimensions=64, width=16, spacing_mm=0.7)
_JOINT_OBJECTIVE = ObjectiveConfig(l1=1.0, ssim=0.0, focus=4, beta=0.1, warmup_epochs=1)
_JOINT_TRAINING = TrainingConfig(
    epochs=2, batch_size=64, learning_rate=2e-3, weight_decay=0.01, rotate_degrees=180, shift_px=3
)
_JOINT = JointConfig(
    rounds=1,
    round_epochs=10,
    round_rate=1.0,
    head="trained",
    soft_labels=True,
    label_weight=1000,
    ratings_weight=500,
)

PRESETS: dict[str, Config] = {
    "gvae": Config(preset="gvae", model=_GAUSSIAN, objective=_OBJECTIVE, training=_TRAINING),
    "dirvae": Config(preset="dirvae", model=_DIRICHLET, objective=_OBJECTIVE, training=_TRAINING),
    "gvae-guided": Config(
        preset="gvae-guided",
        model=_changed(_GAUSSIAN, **_LESION_APART, rating_gain=4),
        objective=_GUIDED_OBJECTIVE,
        training=_TRAINING,
    ),
    "dirvae-guided": Config(
        preset="dirvae-guided",
        model=_changed(_DIRICHLET, **_LESION_APART),
        objective=_GUIDED_OBJECTIVE,
        training=_TRAINING,
    ),
    "gvae-sharp": Config(
        preset="gvae-sharp",
        model=_GAUSSIAN,
        objective=_changed(_OBJECTIVE, adversarial=0.5),
        training=_TRAINING,
    ),
    "gvae-joint": Config(
        preset="gvae-joint",
        model=_JOINT_GAUSSIAN,
        objective=_JOINT_OBJECTIVE,
        training=_JOINT_TRAINING,
        joint=_JOINT,
    ),
    "dirvae-joint": Config(
        preset="dirvae-joint",
        model=_changed(_JOINT_GAUSSIAN, prior="dirichlet", prior_alpha=0.1),
        objective=_JOINT_OBJECTIVE,
        training=_JOINT_TRAINING,
        joint=_JOINT,
    ),
    # arXiv 2311.15719 and its released code: best GVAE (base 128 x latent 4) and DirVAE (base 64 x 8).
    "paper-gvae": Config(
        preset="paper-gvae",
        model=ModelConfig(
            prior="gaussian", network="released", dimensions=512, width=128, hu_low=-500, hu_high=400
        ),
        objective=ObjectiveConfig(form="released", l1=0.5, ssim=0.5, beta=1.5),
        training=TrainingConfig(
            epochs=400, batch_size=64, learning_rate=1e-5, schedule="constant", flips=False
        ),
    ),
    "paper-dirvae": Config(
        preset="paper-dirvae",
        model=ModelConfig(
            prior="dirichlet",
            network="released",
            dimensions=512,
            width=64,
            hu_low=-1000,
            hu_high=500,
            prior_alpha=0.95,
            alpha_floor=1e-6,
        ),
        objective=ObjectiveConfig(form="released", l1=0.5, ssim=0.5, beta=2, reversed_kl=True),
        training=TrainingConfig(
            epochs=400, batch_size=128, learning_rate=5e-5, schedule="constant", flips=False
        ),
    ),
}


def preset(name: str) -> Config:
    """The preset of that name; UserError naming the choices when there is none."""
    if name not in PRESETS:
        raise UserError(f"There is no preset {name!r}. Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[name]


def override(config: Config, changes: dict[str, Any]) -> Config:
    """A copy of `config` with flat setting names (as `epochs` or `beta`) changed; UserError on a bad one.

    Names of settings are unique over all parts, so forms and flags need no prefix. `rating_dimensions`
    follows the guides, the other settings of ratings end with the last of these, and `pca_start` ends with a
    full linear path, unless they are changed themselves.
    """
    values = config.model_dump()
    for name, value in changes.items():
        part = next((p for p in PARTS if name in values[p]), None)
        if part is None:
            names = [key for p in PARTS for key in values[p]]
            raise UserError(f"There is no setting {name!r}. The settings are: {', '.join(names)}.")
        values[part][name] = value
    model = values["model"]
    if model["rating_dimensions"] and "rating_dimensions" not in changes:  # it follows the guides
        ratings = [name for name in _listed(values["objective"]["guided"]) if name not in get_args(Measured)]
        model["rating_dimensions"] = len(ratings) if model["lesion_layer"] else 0
    if not model["rating_dimensions"]:
        model |= {name: ModelConfig.model_fields[name].default for name in OF_RATINGS if name not in changes}
    if (not model["linear_path"] or model["linear_rank"]) and "pca_start" not in changes:
        values["training"]["pca_start"] = False
    return parse(values)


def parse(values: Any) -> Config:
    """Validate a configuration read from JSON or a form; UserError naming each bad setting."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'configuration'}: {item['msg']}"
            for item in error.errors()
        )
        raise UserError(f"The configuration is not valid: {problems}.") from error
