"""Frozen configurations of a model and its training, with presets by name; unknown keys are errors."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lungvae_core.errors import UserError


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(_Frozen):
    """What the network is and what an image means to it."""

    prior: Literal["gaussian", "dirichlet"]
    network: Literal["lean", "released"]
    dimensions: int = Field(ge=2, le=4096)  # K, the latent dimensions
    width: int = Field(ge=4, le=256)  # channels of the first stage; the paper's "base"
    hu_low: float = -1000.0  # HU shown as 0
    hu_high: float = 400.0  # HU shown as 1
    prior_alpha: float = Field(default=0.6, gt=0, le=100)  # Dirichlet: the symmetric prior's concentration
    alpha_floor: float = Field(default=0.01, ge=1e-6, le=1)  # Dirichlet: least posterior concentration

    @model_validator(mode="after")
    def _window(self) -> ModelConfig:
        if self.hu_low >= self.hu_high:
            raise ValueError("hu_low must be below hu_high")
        return self


class ObjectiveConfig(_Frozen):
    """The weights of the training objective; see `lungvae_core.vae.objective`."""

    form: Literal["elbo", "released"] = "elbo"
    l1: float = Field(default=0.5, ge=0)
    ssim: float = Field(default=0.5, ge=0)
    ms_ssim: float = Field(default=0.0, ge=0)
    mse: float = Field(default=0.0, ge=0)
    focus: float = Field(default=0.0, ge=0)  # L1 and MSE count 1 + focus times in the crop's middle
    beta: float = Field(default=1.0, ge=0)
    reversed_kl: bool = False  # the released DirVAE's KL(prior || posterior); not an ELBO
    warmup_epochs: float = Field(default=0.0, ge=0)  # beta rises linearly from 0 over these


class TrainingConfig(_Frozen):
    """How long and how fast to train, and on what."""

    epochs: int = Field(default=30, ge=1, le=10_000)
    batch_size: int = Field(default=64, ge=1, le=65_536)
    learning_rate: float = Field(default=1.5e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    schedule: Literal["constant", "cosine"] = "cosine"
    clip_norm: float = Field(default=0.0, ge=0)  # 0: no clipping of the gradient's norm
    flips: bool = True  # random horizontal and vertical flips
    precision: Literal["float32", "bfloat16"] = "float32"
    validation_fraction: float = Field(default=0.15, gt=0, le=0.5)  # of the patients
    seed: int = Field(default=0, ge=0, le=2**31 - 1)


class Config(_Frozen):
    """Everything that makes a run, but the data."""

    preset: str
    model: ModelConfig
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()


PRESETS: dict[str, Config] = {
    "gvae": Config(
        preset="gvae",
        model=ModelConfig(prior="gaussian", network="lean", dimensions=64, width=32),
        objective=ObjectiveConfig(l1=1.0, ssim=0.15, focus=4, beta=0.1, warmup_epochs=3),
    ),
    "dirvae": Config(
        preset="dirvae",
        model=ModelConfig(prior="dirichlet", network="lean", dimensions=64, width=32),
        objective=ObjectiveConfig(l1=1.0, ssim=0.15, focus=4, beta=0.1, warmup_epochs=3),
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

    Every setting's name is unique over the three parts, so that a form or a flag can name it alone.
    """
    values = config.model_dump()
    for name, value in changes.items():
        part = next((p for p in ("model", "objective", "training") if name in values[p]), None)
        if part is None:
            known = [key for p in ("model", "objective", "training") for key in values[p]]
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
