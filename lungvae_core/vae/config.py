"""Frozen configurations of a model and its training, with presets by name; unknown keys are errors."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lungvae_core.errors import UserError

# What a latent dimension can be guided by: measured in image and mask, and the readers' ratings.
Measured = Literal["diameter", "density", "edge", "elongation"]
Rated = Literal[
    "lobulation", "spiculation", "calcification", "texture", "malignancy", "margin", "sphericity", "subtlety"
]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Frozen):
    """What the network is and what an image means to it."""

    prior: Literal["gaussian", "dirichlet"]
    network: Literal["lean", "released"]
    dimensions: int = Field(ge=2, le=4096)  # K, the latent dimensions
    width: int = Field(ge=4, le=256)  # channels of the first stage; the paper's "base"
    # A linear map beside the convolutions, both ways: pixels to raw latents, code to the pixels' logits
    linear_path: bool = False
    linear_rank: int = Field(default=0, ge=0, le=4096)  # of the linear path's matrices; 0: full
    hu_low: float = -1000.0  # HU shown as 0
    hu_high: float = 400.0  # HU shown as 1
    prior_alpha: float = Field(default=0.6, gt=0, le=100)  # Dirichlet: the symmetric prior's concentration
    alpha_floor: float = Field(default=0.01, ge=1e-6, le=1)  # Dirichlet: least posterior concentration
    # Dirichlet: pathwise gradients of the Dirichlet itself, or its Laplace approximation in the softmax basis
    sampler: Literal["pathwise", "laplace"] = "pathwise"
    spacing_mm: float = Field(default=0.0, ge=0, le=5)  # slices are resampled to it; 0: native pixels

    @model_validator(mode="after")
    def _window(self) -> ModelConfig:
        if self.hu_low >= self.hu_high:
            raise ValueError("hu_low must be below hu_high")
        return self

    @model_validator(mode="after")
    def _rank(self) -> ModelConfig:
        if self.linear_rank and not self.linear_path:
            raise ValueError("linear_rank needs linear_path=true")
        if self.linear_rank >= self.dimensions:
            raise ValueError("linear_rank must be below dimensions, or 0 for a full matrix")
        return self


class ObjectiveConfig(_Frozen):
    """The weights of the training objective; see `lungvae_core.vae.objective`."""

    form: Literal["elbo", "released"] = "elbo"
    l1: float = Field(default=0.5, ge=0)
    ssim: float = Field(default=0.5, ge=0)
    ms_ssim: float = Field(default=0.0, ge=0)
    mse: float = Field(default=0.0, ge=0)
    bce: float = Field(default=0.0, ge=0)
    # The focal frequency loss: squared differences of the spectrum, those that are furthest off first
    focal_frequency: float = Field(default=0.0, ge=0)
    # Difference of what the project's supervised network sees in both; see `lungvae_core.training.features`
    feature: float = Field(default=0.0, ge=0)
    focus: float = Field(default=0.0, ge=0)  # L1, MSE and BCE count 1 + focus times in the crop's middle
    mask_focus: float = Field(default=0.0, ge=0)  # they count 1 + mask_focus times inside the readers' mask
    beta: float = Field(default=1.0, ge=0)
    reversed_kl: bool = False  # the released DirVAE's KL(prior || posterior); not an ELBO
    warmup_epochs: float = Field(default=0.0, ge=0)  # beta rises linearly from 0 over these
    warmup: Literal["linear", "cyclical"] = "linear"  # cyclical: the rise repeats every 2 * warmup_epochs
    free_bits: float = Field(default=0.0, ge=0)  # nats a dimension that cost nothing
    # What the first dimensions are guided by, one each, in this order; see `lungvae_core.training.guided`
    guided: tuple[Measured | Rated, ...] = ()
    guided_weight: float = Field(default=50.0, ge=0)  # nats for a dimension that is in no order at all
    guided_slope: float = Field(default=1.0, gt=0, le=100)  # how close together two values count as ordered
    guided_apart: float = Field(default=0.0, ge=0)  # nats for free dimensions that correlate with a guide

    @field_validator("guided", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Also `diameter,density`, as on a command line."""
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("guided")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("each guide can be named once")
        return value


class TrainingConfig(_Frozen):
    """How long and how fast to train, and on what."""

    epochs: int = Field(default=30, ge=1, le=10_000)
    batch_size: int = Field(default=64, ge=1, le=65_536)
    learning_rate: float = Field(default=1.5e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    schedule: Literal["constant", "cosine"] = "cosine"
    clip_norm: float = Field(default=0.0, ge=0)  # 0: no clipping of the gradient's norm
    on_nonfinite: Literal["stop", "halve"] = "stop"  # halve: back to the last good epoch at half the rate
    flips: bool = True  # random horizontal and vertical flips
    rotate_degrees: float = Field(default=0.0, ge=0, le=180)  # random rotation up to this, either way
    shift_px: float = Field(default=0.0, ge=0, le=16)  # random shift up to this, each axis, either way
    jitter_hu: float = Field(default=0.0, ge=0, le=500)  # one random offset a slice up to this, either way
    noise_hu: float = Field(default=0.0, ge=0, le=500)  # white noise, its deviation drawn from 0 to this
    # auto: bfloat16 where it was measured to help (GPUs; the released network on CPUs that have it)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"  # torch.compile; auto: on CUDA only
    pca_start: bool = False  # the linear path starts from a principal component analysis of the slices
    ema: float = Field(default=0.0, ge=0, le=0.99999)  # a step's decay of the kept weights' mean; 0: the last
    validation_fraction: float = Field(default=0.15, gt=0, le=0.5)  # of the patients
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class JointConfig(_Frozen):
    """The joint ("EM") phase: the VAE goes on with a classifier's cross-entropy added to its loss.

    arXiv 2311.15719, section 3. A round is: fit a classifier on the codes, then train the VAE for
    `round_epochs` with the classifier fixed. The last classifier is fitted after the last round.
    """

    rounds: int = Field(default=0, ge=0, le=100)
    round_epochs: int = Field(default=4, ge=1, le=10_000)
    round_rate: float = Field(default=0.5, gt=0, le=1)  # times learning_rate
    label_weight: float = Field(default=20.0, ge=0)  # nats of loss for a nat of cross-entropy
    # training: labels of held-out patients are never seen. released: a random 70 % of all patients, held-out
    # ones among them, as in the paper's code; figures of such a run leak.
    labels_of: Literal["training", "released"] = "training"
    class_balanced: bool = False  # both classes weigh alike in the cross-entropy, however many there are
    task: Literal["mvb", "mvr"] = "mvb"  # malignant against benign, or against the rest
    label_rule: Literal["median_high", "mean", "three_readers", "strict"] = "median_high"
    # fixed: the paper's; the round's classifier stays as it was fitted. trained: it goes on learning with the
    # VAE, and is the run's classifier afterwards.
    head: Literal["fixed", "trained"] = "fixed"
    # The label is the readers' mean malignancy, 1..5 as 0..1, so that indeterminate lesions teach as well; it
    # is the same whatever the task and the label rule.
    soft_labels: bool = False
    # With a trained head: nats for a squared deviation of the readers' other ratings and of the log diameter,
    # all standardised, as the head tells them from the code. Targets of the training alone.
    ratings_weight: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _ratings(self) -> JointConfig:
        if self.ratings_weight and self.head != "trained":
            raise ValueError("ratings_weight needs head=trained")
        return self


class Config(_Frozen):
    """Everything that makes a run, but the data."""

    preset: str
    model: ModelConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    joint: JointConfig = JointConfig()

    @model_validator(mode="after")
    def _guided(self) -> Config:
        count, dimensions = len(self.objective.guided), self.model.dimensions
        if count >= dimensions:
            raise ValueError(f"guided names {count} of {dimensions} dimensions; at least one must be free")
        return self

    @model_validator(mode="after")
    def _averaged(self) -> Config:
        if self.training.ema and self.joint.rounds and self.joint.head == "trained":
            raise ValueError("ema averages the VAE alone and needs head=fixed, or rounds=0")
        return self

    @model_validator(mode="after")
    def _pca(self) -> Config:
        if self.training.pca_start and (not self.model.linear_path or self.model.linear_rank):
            raise ValueError("pca_start needs linear_path=true and linear_rank=0")
        return self

    @property
    def labels_shape_codes(self) -> bool:
        """Whether annotations of patients that it trains on shape the codes.

        By a joint phase, guides, or the feature loss, whose network learned from labels.
        """
        return bool(self.joint.rounds or self.objective.guided or self.objective.feature)

    @property
    def labels_leak(self) -> bool:
        """Whether labels of held-out patients shape the codes, as in the paper's released joint phase."""
        return bool(self.joint.rounds) and self.joint.labels_of == "released"

    @property
    def epochs(self) -> int:
        """Epochs of the VAE in all: the first phase and every joint round."""
        return self.training.epochs + self.joint.rounds * self.joint.round_epochs


PARTS = ("model", "objective", "training", "joint")


# Found on LIDC-IDRI slices without the patients that the shipped models hold out; docs/training.md has what
# was tried. Small batches take more steps in the same time; small turns and shifts keep codes from depending
# on where the crop's rule put the lesion.
_LEAN_OBJECTIVE = ObjectiveConfig(l1=1.0, ssim=0.15, focus=4, beta=0.1, warmup_epochs=3)
_LEAN_TRAINING = TrainingConfig(batch_size=32, rotate_degrees=15, shift_px=1.5)

# The first nine dimensions are tied to what people say of lesions, from training patients' masks and ratings.
_GUIDED_OBJECTIVE = _LEAN_OBJECTIVE.model_copy(
    update={
        "beta": 0.03,
        "guided": (*get_args(Measured), *get_args(Rated)[:5]),
    }
)

# For evaluation with labels: what a training sees of lesions in millimetres, any way round, and a head that
# learns with the VAE from all that the readers said. No SSIM, which takes a third of a step's time on a CPU.
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
    "gvae": Config(
        preset="gvae",
        model=ModelConfig(prior="gaussian", network="lean", dimensions=64, width=32),
        objective=_LEAN_OBJECTIVE,
        training=_LEAN_TRAINING,
    ),
    "dirvae": Config(
        preset="dirvae",
        model=ModelConfig(prior="dirichlet", network="lean", dimensions=64, width=32, prior_alpha=0.1),
        objective=_LEAN_OBJECTIVE,
        training=_LEAN_TRAINING,
    ),
    "gvae-guided": Config(
        preset="gvae-guided",
        model=ModelConfig(prior="gaussian", network="lean", dimensions=256, width=32, linear_path=True),
        objective=_GUIDED_OBJECTIVE,
        training=_LEAN_TRAINING,
    ),
    "dirvae-guided": Config(
        preset="dirvae-guided",
        model=ModelConfig(
            prior="dirichlet", network="lean", dimensions=64, width=32, linear_path=True, prior_alpha=0.1
        ),
        objective=_GUIDED_OBJECTIVE,
        training=_LEAN_TRAINING,
    ),
    "gvae-joint": Config(
        preset="gvae-joint",
        model=ModelConfig(prior="gaussian", network="lean", dimensions=64, width=16, spacing_mm=0.7),
        objective=_JOINT_OBJECTIVE,
        training=_JOINT_TRAINING,
        joint=_JOINT,
    ),
    "dirvae-joint": Config(
        preset="dirvae-joint",
        model=ModelConfig(
            prior="dirichlet", network="lean", dimensions=64, width=16, spacing_mm=0.7, prior_alpha=0.1
        ),
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

    Every setting's name is unique over the parts, so that a form or a flag can name it alone.
    """
    values = config.model_dump()
    for name, value in changes.items():
        part = next((p for p in PARTS if name in values[p]), None)
        if part is None:
            known = [key for p in PARTS for key in values[p]]
            raise UserError(f"There is no setting {name!r}. The settings are: {', '.join(known)}.")
        values[part][name] = value
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
