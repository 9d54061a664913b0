"""A small supervised network on pixels: the baseline that shows the cost of a latent space.

The lean encoder of `vae.networks` with a head instead of a latent space, trained on targets of slices only,
without outlines or reconstruction. `fit_cnn` fits it to malignancy, `fit_network` to any targets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lungvae_core.errors import UserError
from lungvae_core.training.augment import augment, draw
from lungvae_core.training.classifier import one_thread
from lungvae_core.vae.config import TrainingConfig
from lungvae_core.vae.networks import Regression, mirrors
from lungvae_core.vae.objective import label_loss

_WARM_UP = 200  # steps
# A lesion in a slice has no up; three pixels are how far two readers' outlines move the crop.
_CHANGES = TrainingConfig(flips=True, rotate_degrees=180, shift_px=3)
Loss = Callable[[Tensor, Tensor], Tensor]  # outputs and answers (B, outputs) -> a scalar
Watch = Callable[[float], None]  # given the share of a fit that is done, 0..1; what it raises ends the fit


@dataclass(frozen=True)
class CnnConfig:
    """The network and its training; chosen once, on one fold."""

    width: int = 16
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    dropout: float = 0.3
    smoothing_px: float = 0.0  # deviation of the Gaussian with which it sees slices smoothed
    hu_low: float = -1000.0  # HU that 0 stands for
    hu_high: float = 400.0  # HU that 1 stands for


class Cnn(Regression):
    """Images (N, 1, 64, 64) in 0..1 of the window to `outputs` numbers each, (N, outputs)."""

    def __init__(self, config: CnnConfig, outputs: int = 1) -> None:
        super().__init__(outputs, config.width, dropout=config.dropout, smoothing=config.smoothing_px)
        self.config, self.count = config, outputs

    def images(self, hu: Tensor) -> Tensor:
        """(N, 1, 64, 64) in 0..1 of slices hu (N, 64, 64)."""
        low, high = self.config.hu_low, self.config.hu_high
        x = ((hu.float() - low) / (high - low)).clamp(0, 1)
        return x[:, None].contiguous(memory_format=torch.channels_last)

    def logits(self, hu: np.ndarray) -> np.ndarray:
        """(N,) float64 logits of slices hu (N, 64, 64) HU, of a network with one output."""
        return self.outputs(hu)[:, 0]

    @torch.inference_mode()
    def outputs(self, hu: np.ndarray, *, mirrored: bool = True) -> np.ndarray:
        """(N, outputs) float64 of slices hu (N, 64, 64) HU; `mirrored`: the mean with its three mirrors."""
        assert not self.training
        rows = []
        with one_thread():
            for start in range(0, len(hu), 256):
                x = self.images(torch.tensor(np.asarray(hu[start : start + 256])))
                views = mirrors(x) if mirrored else (x,)
                rows.append(torch.stack([self(one) for one in views]).mean(0).numpy())
        return np.concatenate(rows).astype(float) if rows else np.empty((0, self.count))


def fit_cnn(
    hu: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int,
    config: CnnConfig | None = None,
    watch: Watch = lambda share: None,
) -> Cnn:
    """Train on slices hu (N, 64, 64) HU with labels (N,) of 0 and 1; the same seed gives the same network.

    Raises UserError when only one class is there.
    """
    labels = np.asarray(labels, np.float32)
    if len(labels) < 2 or set(labels.tolist()) != {0.0, 1.0}:
        raise UserError("The network needs both malignant and benign slices to learn from, and no others.")
    config = config or CnnConfig()
    return fit_network(hu, labels[:, None], _cross_entropy, seed=seed, config=config, watch=watch)


def fit_network(
    hu: np.ndarray,
    answers: np.ndarray,
    loss: Loss,
    *,
    seed: int,
    config: CnnConfig,
    watch: Watch = lambda share: None,
) -> Cnn:
    """Train on slices hu (N, 64, 64) HU with targets (N, outputs); the same seed gives the same network.

    One thread trains it, so that the network does not depend on the machine's cores. The caller's random
    state is left as it was.
    """
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = Cnn(config, answers.shape[1])
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        slices, target = torch.tensor(np.asarray(hu)), torch.tensor(np.asarray(answers, np.float32))
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        total = config.epochs * -(-len(target) // config.batch_size)
        warm = min(_WARM_UP, total // 4 + 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total))),
        )
        model.train()
        for _ in range(config.epochs):
            for rows in torch.randperm(len(target)).split(config.batch_size):
                x = model.images(augment(slices[rows].float(), _CHANGES, draw(len(rows), _CHANGES)))
                cost = loss(model(x), target[rows])
                optimiser.zero_grad(set_to_none=True)
                cost.backward()
                optimiser.step()
                schedule.step()
                watch(schedule.last_epoch / total)
    return model.eval()


def squared_error(outputs: Tensor, answers: Tensor) -> Tensor:
    """Mean squared error of outputs (B, R) over the targets (B, R) that are not NaN."""
    rated = ~torch.isnan(answers)
    error = torch.where(rated, outputs - torch.where(rated, answers, 0.0), 0.0)
    return error.square().sum() / rated.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return label_loss(logits[:, 0], labels[:, 0], (1.0, 1.0))
