"""A small network that predicts the guides' ratings from an image, by which guided steps are trained.

It learns once, before the VAE begins, the normal scores of the ratings of training patients. Then a step
along a guide that is a rating must change its prediction by as much, in its own standard deviations. It is
stored in the run, so that a resumed training uses the same one. The judge of a finished model
(`explore.measured`) is another network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lungvae_core.training.checkpoints import READER, Run, load_network, save_tensors
from lungvae_core.training.cnn import Cnn, CnnConfig, fit_network, squared_error
from lungvae_core.vae.config import ModelConfig
from lungvae_core.vae.lesion import KINDS

_WIDTH, _EPOCHS = 8, 10
_MOST = 2.0  # normal scores: how far a step goes


class Reader(nn.Module):
    """Images (N, 1, 64, 64) in 0..1 of the window to R ratings, in standard deviations of its predictions."""

    deviation: Tensor

    def __init__(self, network: Cnn) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("deviation", torch.ones(network.count))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) / self.deviation


def rated(names: tuple[str, ...]) -> list[int]:
    """The indices of the guides that are ratings."""
    return [at for at, name in enumerate(names) if name not in KINDS]


def fit_reader(run: Run, hu: np.ndarray, scores: np.ndarray) -> None:
    """Fit it on slices hu (N, 64, 64) in HU with normal scores (N, R), NaN where there is none; keep it."""
    has = np.isfinite(scores).any(1)
    network = fit_network(
        hu[has],
        scores[has],
        squared_error,
        seed=run.config.training.seed,
        config=_of(run.config.model),
    )
    reader = Reader(network)
    read = network.outputs(hu[has], mirrored=False)
    reader.deviation.copy_(torch.tensor(read.std(0)).clamp(min=1e-3))
    save_tensors(run.folder / READER, reader.state_dict(), {})


def load_reader(run: Run, device: torch.device) -> Reader:
    """The run's stored reader; UserError if it is missing or damaged."""
    count = len(rated(run.config.objective.guided))
    reader = load_network(run.folder / READER, lambda _: Reader(Cnn(_of(run.config.model), count)))
    return reader.requires_grad_(False).to(device)


def draw_rated_steps(names: tuple[str, ...], drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of N slices a guide that is a rating, from numbers drawn (2, N), uniform in 0..1.

    (N,) its place among the ratings, (N,) among the guides, and (N,) by how much its coordinate moves.
    """
    places = torch.tensor(rated(names), device=drawn.device)
    rating = (drawn[0] * len(places)).long().clamp(max=len(places) - 1)
    return rating, places[rating], (2 * drawn[1] - 1) * _MOST


def rating_loss(before: Tensor, after: Tensor, rating: Tensor, size: Tensor, weight: float) -> Tensor:
    """How far predicted ratings (N, R) lag behind steps `size` (N,) along `rating` (N,), in nats: a scalar.

    A step without effect costs `weight` on average.
    """
    change = (after - before).gather(1, rating[:, None])[:, 0]
    return weight * (change - size).square().mean() / (_MOST**2 / 3)


def _of(model: ModelConfig) -> CnnConfig:
    return CnnConfig(width=_WIDTH, epochs=_EPOCHS, hu_low=model.hu_low, hu_high=model.hu_high)
